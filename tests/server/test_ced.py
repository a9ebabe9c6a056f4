"""The CED classifier on tiny checkpoints of the official layout."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.torch import load_file
import torch

from model_server.build import Builder
from model_server.catalogue import load_catalogue
from model_server.engines import ced
from model_server.engines.base import EngineError
from model_server.engines.ced import CedClassifier, choose_device
from model_server.engines.midashenglm.config import CheckpointError
from model_server.engines.midashenglm.encoder import Tagger
from model_server.monitor.monitor import SoundMonitor
from model_server.settings import CedSettings, load_settings
from tests.server.checkpoints import audioset_names, write_ced, write_tensors


def classifier(folder: Path, **settings: Any) -> CedClassifier:
    return CedClassifier(CedSettings(model=str(folder), **settings), folder)


def windows(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.1, (count, 32000)).astype(np.float32)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> CedClassifier:
    return classifier(write_ced(tmp_path_factory.mktemp("ced") / "ced-tiny"))


def test_it_scores_every_label_that_audioset_has_but_alarms(
    engine: CedClassifier,
) -> None:
    catalogue = load_catalogue()

    scored = {slug for slug, one in catalogue.items() if one.source == "classifier"}
    assert scored - set(engine.labels) == {"washing_machine"}
    assert set(engine.labels) < scored
    assert engine.window == 32000
    assert engine.hop == 8000
    assert engine.parallel == 1
    assert engine.info.name == "ced"
    assert engine.info.version.startswith("ced-tiny@")


def test_a_label_has_the_score_of_the_loudest_of_its_classes(tmp_path: Path) -> None:
    # Each class's score is set by its bias alone.
    names = audioset_names(527)
    folder = write_ced(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["outputlayer.1.weight"].zero_()
    bias = torch.full((527,), -4.0)
    place = {name: place for place, name in names.items()}
    bias[place["Police car (siren)"]] = 2.0
    bias[place["Siren"]] = 1.0
    bias[place["Bow-wow"]] = 3.0
    bias[place["Class 1"]] = 9.0
    tensors["outputlayer.1.bias"] = bias
    write_tensors(folder, tensors, 1)

    engine = classifier(folder)
    scores = dict(
        zip(engine.labels, engine.classify(windows(1)).scores[0], strict=True)
    )

    def sigmoid(logit: float) -> float:
        return float(torch.tensor(logit).sigmoid())

    assert scores.pop("siren") == pytest.approx(sigmoid(2))
    assert scores.pop("bark") == pytest.approx(sigmoid(3))
    assert list(scores.values()) == pytest.approx([sigmoid(-4)] * len(scores))


def test_scores_do_not_depend_on_the_batch(
    engine: CedClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ced, "AT_ONCE", 4)
    batch = windows(6)

    together = engine.classify(batch)
    alone = [engine.classify(batch[place : place + 1]) for place in range(6)]

    assert together.scores.shape == (6, len(engine.labels))
    assert together.embeddings.shape == (6, 48)
    assert together.scores.dtype == together.embeddings.dtype == np.float32
    assert np.all((together.scores > 0) & (together.scores < 1))
    for place, each in enumerate(alone):
        assert each.scores[0] == pytest.approx(together.scores[place], abs=1e-5)
        assert each.embeddings[0] == pytest.approx(together.embeddings[place], abs=1e-4)
    assert not np.allclose(alone[0].scores, alone[1].scores, atol=1e-4)
    assert engine.classify(batch[:0]).scores.shape == (0, len(engine.labels))


@pytest.mark.parametrize("shape", [(32000,), (1, 16000)])
def test_other_windows_are_refused(
    engine: CedClassifier, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"windows must be \(batch, 32000\)"):
        engine.classify(np.zeros(shape, np.float32))


def test_names_with_and_without_the_encoders_prefix_are_the_same_model(
    tmp_path: Path,
) -> None:
    with_prefix = classifier(write_ced(tmp_path / "a", prefix="encoder."))
    without = classifier(write_ced(tmp_path / "b", prefix=""))

    batch = windows(2)
    assert np.array_equal(
        with_prefix.classify(batch).scores, without.classify(batch).scores
    )


def test_full_class_names_serve_as_those_cut_at_the_comma(
    engine: CedClassifier, tmp_path: Path
) -> None:
    full = {
        name.split(",")[0]: name
        for label in load_catalogue().values()
        for name in label.audioset
    }
    names = {place: full.get(name, name) for place, name in audioset_names(527).items()}
    assert "Baby cry, infant cry" in names.values()

    other = classifier(write_ced(tmp_path, names=names))

    assert np.array_equal(
        other.classify(windows(1)).scores, engine.classify(windows(1)).scores
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda names: names.pop("0"), "has 526 classes, and outputdim is 527"),
        (lambda names: names.update({"0": "Class 0"}), "has no class 'Shatter'.*glass"),
        (lambda names: names.update({"0": 3}), "id2label does not name the classes"),
        (lambda names: names.update({"x": "y"}), "id2label does not name the classes"),
    ],
)
def test_a_checkpoint_without_the_classes_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    folder = write_ced(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    change(config["id2label"])
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(CheckpointError, match=told):
        classifier(folder)

    del config["id2label"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="id2label does not name the classes"):
        classifier(folder)


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    folder = write_ced(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["outputlayer.1.bias"]
    write_tensors(folder, tensors, 1)

    with pytest.raises(CheckpointError, match=r"lacks outputlayer.1.bias"):
        classifier(folder)


def test_a_model_that_is_not_here_is_to_be_fetched(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, sounds="ced")

    with pytest.raises(
        EngineError, match="run `python -m model_server fetch ced-tiny`"
    ):
        Builder(settings).classifier()


def test_a_server_takes_it_by_its_settings_and_watches_with_it(tmp_path: Path) -> None:
    folder = write_ced(tmp_path / "ced-tiny")
    settings = load_settings(
        data_dir=tmp_path, sounds="ced", ced={"model": str(folder)}
    )
    engine = Builder(settings).classifier()
    labels = list(load_catalogue().values())

    monitor = SoundMonitor(engine, labels)
    samples = (windows(1)[0] * 32767).astype(np.int16)
    changes = [change for _ in range(3) for change in monitor.push(samples)]

    # Random weights find many sounds in noise; that they come out, and whose they are.
    assert {change.label for change in changes} <= set(engine.labels)
    assert changes
    assert all(change.engine == engine.info for change in changes)


def test_without_its_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "model_server.engines.ced")
    monkeypatch.setitem(sys.modules, "torch", None)
    settings = load_settings(data_dir=tmp_path, sounds="ced", speech="midashenglm")

    with pytest.raises(
        EngineError, match=r"package torch: run `scripts/setup --models`"
    ):
        Builder(settings).classifier()


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(
        EngineError, match=r"ced.device is cuda, but torch finds no GPU"
    ):
        choose_device("cuda")


def test_a_gpu_that_is_full_is_told_in_a_sentence(
    engine: CedClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Tagger, "forward", full)
    with pytest.raises(EngineError, match=r"set ced.device to cpu"):
        engine.classify(windows(1))
