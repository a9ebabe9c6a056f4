"""Training runs from recordings to weights that the engine loads, in a few steps."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
import sys
from types import ModuleType

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from model_server.audio.mel import log_mel
from model_server.engines.embedded.sounds import EmbeddedClassifier
from model_server.evaluation import synthesis
from model_server.evaluation.recordings import (
    CLASSES,
    DataError,
    load,
    read_manifest,
    split,
)
from model_server.training import export as exporting, sounds as training
from model_server.training.__main__ import app
from model_server.training.examples import WINDOW, Mixer
from model_server.training.network import SoundNet
from model_server.training.teacher import TeacherError, Yamnet

SETTINGS = training.Settings(examples=8, epochs=2, batch=4, width=4)
COLUMNS = ["file", "subset", "label", "licence", "attribution", "seconds"]
MADE = [
    ("bark.flac", "esc50-fold1", "dog", "CC0", "nobody"),
    ("short.flac", "esc50-fold2", "cat", "CC-BY", "cat.wav by a friend of cats"),
    ("rain.flac", "esc50-fold4", "rain", "CC-BY", "rain.wav by a friend of rain"),
    ("hello.flac", "speech-negative", "hello", "Apache-2.0", "some speakers"),
    ("yes.flac", "speech-negative", "yes", "Apache-2.0", "some speakers"),
    ("bell.flac", "soundmonster", "doorbell", "CC0", "nobody"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six made recordings with a manifest."""
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "MANIFEST.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for row in MADE:
            rows.writerow([*row, "3.0"])
    for seed, (name, *_) in enumerate(MADE):
        seconds = 0.6 if name == "short.flac" else 3.0
        soundfile.write(folder / name, synthesis.music(seconds, seed=seed), 16_000)
    return folder


def _run(*arguments: object) -> tuple[int, str]:
    # Wide enough that no message is cut into lines.
    wide = CliRunner(env={"COLUMNS": "400"})
    result = wide.invoke(app, [str(one) for one in arguments])
    return result.exit_code, result.output


def _sounds(data: Path, out: Path, *more: object) -> tuple[int, str]:
    return _run(
        "sounds", "--data", data, "--out", out, "--examples", 8, "--epochs", 1,
        "--width", 4, *more,
    )  # fmt: skip


def test_from_recordings_to_weights_that_the_engine_runs(
    data: Path, tmp_path: Path
) -> None:
    out, package = tmp_path / "out", tmp_path / "package"
    package.mkdir()

    assert _sounds(data, out)[0] == 0
    assert _run("export", "--data", data, "--out", out, "--to", package)[0] == 0

    classifier = EmbeddedClassifier(package / "sounds.onnx")
    window = synthesis.music(2.0)[None]
    net, _ = training.averaged(out)
    with torch.inference_mode():
        logits, _ = net(torch.from_numpy(log_mel(window)))
    assert classifier.classes == CLASSES
    assert classifier.classify_all(window) == pytest.approx(
        torch.sigmoid(logits).numpy(), abs=1e-4
    )
    card = (package / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert hashlib.sha256((package / "sounds.onnx").read_bytes()).hexdigest() in card
    assert "cat.wav by a friend of cats" in card
    # What was held out has taught nothing, and CC0 asks for no credit.
    assert "a friend of rain" not in card
    assert "nobody" not in card


def test_a_second_version_goes_on_from_the_first_and_its_card_says_so(
    data: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert _sounds(data, tmp_path / "a")[0] == 0
    for folder in (first, second):
        folder.mkdir()
    _run("export", "--data", data, "--out", tmp_path / "a", "--to", first)

    # No step is large enough to change what it began with.
    code, told = _sounds(
        data, tmp_path / "b", "--start", first / "sounds.onnx", "--rate", 1e-12
    )

    assert code == 0, told
    _run("export", "--data", data, "--out", tmp_path / "b", "--to", second)
    card = (second / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Made from earlier weights of its own" in card
    window = synthesis.music(2.0)[None]
    before, after = (
        EmbeddedClassifier(folder / "sounds.onnx").classify_all(window)
        for folder in (first, second)
    )
    assert after == pytest.approx(before, abs=0.1)
    code, told = _sounds(data, tmp_path / "c", "--start", tmp_path / "none.onnx")
    assert (code, "none.onnx" in told) == (2, True)


def test_a_blend_lies_between_and_hears_what_the_earlier_weights_lacked(
    data: Path, tmp_path: Path
) -> None:
    out, earlier, later = tmp_path / "out", tmp_path / "earlier", tmp_path / "later"
    earlier.mkdir()
    later.mkdir()
    assert _sounds(data, out)[0] == 0
    exporting.export(_unlike(SoundNet(54, SETTINGS.width)), earlier)
    to = ("export", "--data", data, "--out", out, "--to", later)
    assert _run(*to)[0] == 0
    alone = _initializers(later / "sounds.onnx")
    before = _initializers(earlier / "sounds.onnx")

    code, told = _run(*to, "--earlier", earlier / "sounds.onnx", "--share", 0.25)

    assert code == 0, told
    blended = _initializers(later / "sounds.onnx")
    weight = "net.head.weight"
    assert blended[weight][:54] == pytest.approx(
        0.25 * alone[weight][:54] + 0.75 * before[weight], abs=1e-6
    )
    assert not np.allclose(blended[weight][54:], alone[weight][54:])
    examples = training.prepared(out, SETTINGS, taught=False)
    rare = examples.target.mean(axis=0)[54:]
    silence = EmbeddedClassifier(later / "sounds.onnx").classify_all(
        np.zeros((1, WINDOW), np.float32)
    )[0, 54:]
    assert np.all(silence[rare < 0.01] < 0.1)
    card = (later / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Of each weight 25% are of this training" in card


def test_other_networks_are_not_blended(data: Path, tmp_path: Path) -> None:
    out, earlier = tmp_path / "out", tmp_path / "earlier"
    earlier.mkdir()
    assert _sounds(data, out)[0] == 0
    exporting.export(SoundNet(54, 2 * SETTINGS.width), earlier)
    to = ("export", "--data", data, "--out", out, "--to", tmp_path)

    code, told = _run(*to, "--earlier", earlier / "sounds.onnx")
    assert (code, "another network" in " ".join(told.split())) == (2, True)

    (earlier / "sounds.onnx").write_bytes(b"no network")
    code, told = _run(*to, "--earlier", earlier / "sounds.onnx")
    assert (code, "no ONNX file" in " ".join(told.split())) == (2, True)


def _unlike(net: SoundNet) -> SoundNet:
    """Fresh norms are all alike, and an exporter writes what is alike only once."""
    for one in net.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(one.bias)
    return net


def _initializers(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    graph = onnx.load(str(path)).graph
    return {one.name: numpy_helper.to_array(one) for one in graph.initializer}


@pytest.mark.parametrize("half", [False, True])
def test_training_lowers_the_loss(data: Path, tmp_path: Path, half: bool) -> None:
    settings = training.Settings(examples=32, epochs=8, batch=8, width=8, half=half)
    learn, _ = split(read_manifest(data))
    run = training.Run(settings, training.prepare(learn, tmp_path, settings, None, 1))

    losses = [run.one_epoch() for _ in range(settings.epochs)]

    assert losses[-1] < losses[0] / 2


def test_a_run_that_was_stopped_goes_on_where_it_was(
    data: Path, tmp_path: Path
) -> None:
    whole = training.train(data, tmp_path / "whole", SETTINGS)
    learn, _ = split(read_manifest(data))
    out = tmp_path / "parts"
    out.mkdir()
    first = training.Run(SETTINGS, training.prepare(learn, out, SETTINGS, None, 1))
    first.one_epoch()
    first.save(out / "checkpoint.pt")

    resumed = training.train(data, out, SETTINGS)

    for name, value in whole.state_dict().items():
        assert torch.allclose(value, resumed.state_dict()[name], atol=1e-5), name


def test_a_checkpoint_of_other_settings_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _sounds(data, out)[0] == 0

    code, told = _sounds(data, out, "--seed", 2)

    assert code != 0
    assert "other settings" in told


def test_two_processes_make_all_examples(data: Path, tmp_path: Path) -> None:
    learn, _ = split(read_manifest(data))

    made = training.prepare(learn, tmp_path, SETTINGS, None, 2)

    assert made.mel.shape == (8, 99, 64)
    assert made.target.shape == (8, len(CLASSES))
    assert made.teacher is None


def test_examples_are_repeatable_and_say_what_is_in_them(data: Path) -> None:
    clips = [load(one) for one in split(read_manifest(data))[0]]
    mixer, again = Mixer(clips, 3, songs=2), Mixer(clips, 3, songs=2)

    drawn = [mixer.draw() for _ in range(40)]

    assert np.array_equal(drawn[0].audio, again.draw().audio)
    assert all(one.audio.shape == (WINDOW,) for one in drawn)
    assert all(np.abs(one.audio).max() <= 1 for one in drawn)
    heard = {
        CLASSES[place] for one in drawn for place in np.flatnonzero(one.target > 0.5)
    }
    assert {"dog", "speech", "music"} <= heard
    assert "rain" not in heard


def test_the_split_keeps_the_fold_and_some_speech_unseen(data: Path) -> None:
    learn, unseen = split(read_manifest(data))

    assert {one.path.name for one in unseen} == {"rain.flac", "hello.flac"}
    assert {one.path.name for one in learn} == {"bark.flac", "short.flac", "yes.flac"}


def test_recordings_that_are_not_as_said_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"MANIFEST\.csv cannot be read"):
        read_manifest(tmp_path)
    recordings = read_manifest(data)
    soundfile.write(recordings[0].path, synthesis.tone(1.0, 500.0), 8000)
    with pytest.raises(DataError, match="8000 Hz"):
        load(recordings[0])
    recordings[1].path.write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"short\.flac cannot be decoded"):
        load(recordings[1])
    (data / "MANIFEST.csv").write_text("file,label\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns"):
        read_manifest(data)


def test_the_command_says_what_is_missing(data: Path, tmp_path: Path) -> None:
    code, told = _sounds(tmp_path / "nowhere", tmp_path / "out")
    assert (code, "cannot be read" in told) == (2, True)

    code, told = _run("export", "--data", data, "--out", tmp_path / "nothing")
    assert code == 2


class _Interpreter:
    """Stands for YAMNet's runtime, which the test environment need not have."""

    def __init__(self, path: str, **_: object) -> None:
        self._name = json.loads(Path(path).read_text(encoding="utf-8"))
        self._loud = 0.0

    def allocate_tensors(self) -> None:
        pass

    def get_tensor_details(self) -> list[dict[str, object]]:
        return [{"name": self._name, "index": 5, "quantization": (0.5, -128)}]

    def set_tensor(self, _: int, window: npt.NDArray[np.float32]) -> None:
        self._loud = float(np.abs(window).max())

    def invoke(self) -> None:
        pass

    def get_tensor(self, _: int) -> npt.NDArray[np.int8]:
        return np.full((1, 1, 1, 1024), round(100 * self._loud) - 128, dtype=np.int8)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package ai-edge-litert."""
    module = ModuleType("ai_edge_litert.interpreter")
    module.__dict__["Interpreter"] = _Interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert", ModuleType("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)


def _model(path: Path, name: str = "tower0/network/layer28/reduce_mean") -> Path:
    path.write_text(json.dumps(name), encoding="utf-8")
    return path


@pytest.mark.usefixtures("runtime")
def test_a_teachers_embeddings_are_learnt_too(data: Path, tmp_path: Path) -> None:
    teacher = _model(tmp_path / "yamnet.tflite")
    learn, _ = split(read_manifest(data))
    examples = training.prepare(learn, tmp_path, SETTINGS, teacher, 1)
    run = training.Run(SETTINGS, examples)

    assert examples.teacher is not None
    assert examples.teacher.shape == (8, 1024)
    before = run.one_epoch()
    assert run.one_epoch() < before
    run.save(tmp_path / "checkpoint.pt")
    assert training.averaged(tmp_path)[1]["taught"] is True


@pytest.mark.usefixtures("runtime")
def test_a_teacher_hears_every_window_at_the_same_level(tmp_path: Path) -> None:
    teacher = Yamnet(_model(tmp_path / "yamnet.tflite"))
    audio = synthesis.noise(2.0, "white")

    loud, quiet = teacher.embed(audio), teacher.embed(audio * np.float32(0.01))

    assert loud == pytest.approx(quiet, abs=0.6)
    assert loud.max() == pytest.approx(25, abs=2)


@pytest.mark.usefixtures("runtime")
def test_a_teacher_that_is_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="no file"):
        Yamnet(tmp_path / "none.tflite")
    with pytest.raises(TeacherError, match="not the YAMNet"):
        Yamnet(_model(tmp_path / "other.tflite", "layer1"))


def test_without_its_package_a_teacher_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)

    with pytest.raises(TeacherError, match="ai-edge-litert"):
        Yamnet(tmp_path / "yamnet.tflite")


def test_the_network_takes_any_batch_and_length() -> None:
    net = SoundNet(5, width=4).eval()

    for batch, count in ((1, 99), (3, 50)):
        logits, embedding = net(torch.zeros(batch, count, 64))
        assert logits.shape == (batch, 5)
        assert embedding.shape == (batch, 32)
