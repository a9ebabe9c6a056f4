"""The embedded sound network as it ships."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from model_server.audio.mel import BANDS, frames, log_mel
from model_server.engines.embedded import sounds
from model_server.engines.embedded.sounds import EmbeddedClassifier, WeightsError
from model_server.evaluation import synthesis
from model_server.evaluation.sounds import windows
from tests.server.recordings import needs_recordings, unseen_clips

FOLDER = Path(sounds.__file__).parent
WEIGHTS = FOLDER / "sounds.onnx"
CARD = FOLDER / "MODEL_CARD.md"


def test_the_card_is_that_of_the_weights() -> None:
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()

    assert digest in CARD.read_text(encoding="utf-8")


def test_the_weights_are_small_enough_to_ship() -> None:
    assert WEIGHTS.stat().st_size <= 6 * 1024 * 1024


def test_scores_are_between_0_and_1_and_do_not_depend_on_the_batch() -> None:
    classifier = EmbeddedClassifier()
    batch = np.stack(
        [
            synthesis.noise(2.0, "pink"),
            synthesis.music(2.0),
            synthesis.silence(2.0),
        ]
    )

    together = classifier.classify(batch)
    alone = np.concatenate([classifier.classify(one[None]).scores for one in batch])

    assert together.scores.shape == (3, len(classifier.labels))
    assert together.embeddings.shape[0] == 3
    assert together.scores.dtype == np.float32
    assert np.all((together.scores >= 0) & (together.scores <= 1))
    assert together.scores == pytest.approx(alone, abs=1e-5)


def test_every_label_comes_from_a_class_of_the_network() -> None:
    classifier = EmbeddedClassifier()

    assert len(set(classifier.labels)) == len(classifier.labels)
    assert set(classifier.labels) == set(sounds.SLUGS.values())
    assert set(sounds.SLUGS) < set(classifier.classes)


@needs_recordings
@pytest.mark.parametrize("name", ["crying_baby", "clapping", "dog", "siren", "speech"])
def test_an_unseen_recording_gets_its_own_label(name: str) -> None:
    classifier = EmbeddedClassifier()
    slug = sounds.SLUGS[name]
    right = 0
    clips = unseen_clips(name, 8)
    for clip in clips:
        scores = classifier.classify(windows(clip.samples, classifier.window)).scores
        right += classifier.labels[int(scores.max(axis=0).argmax())] == slug

    assert len(clips) == 8
    assert right >= 6


@pytest.mark.parametrize("shape", [(32_000,), (1, 16_000)])
def test_windows_of_another_length_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="batch, 32000"):
        EmbeddedClassifier().classify(np.zeros(shape, dtype=np.float32))


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sounds.onnx"
    path.write_bytes(b"not a network")

    with pytest.raises(WeightsError, match=r"sounds\.onnx is not"):
        EmbeddedClassifier(path)
    with pytest.raises(WeightsError):
        EmbeddedClassifier(tmp_path / "none.onnx")


def test_weights_for_another_rate_are_refused(tmp_path: Path) -> None:
    model = onnx.load(str(WEIGHTS))
    told = {one.key: one.value for one in model.metadata_props}
    assert json.loads(told["classes"])
    onnx.helper.set_model_props(model, {**told, "sample_rate": "44100"})
    path = tmp_path / "sounds.onnx"
    onnx.save(model, str(path))

    with pytest.raises(WeightsError, match="44100 Hz"):
        EmbeddedClassifier(path)


def test_a_tone_is_loudest_in_its_own_band_at_about_its_level() -> None:
    mel = log_mel(synthesis.tone(1.0, 1000.0))

    assert mel.shape == (frames(16_000), BANDS) == (49, 64)
    band = int(mel.mean(axis=0).argmax())
    higher = log_mel(synthesis.tone(1.0, 2000.0)).mean(axis=0).argmax()
    assert higher > band
    assert mel.max() == pytest.approx(0, abs=4)
    assert log_mel(
        synthesis.tone(1.0, 1000.0) * np.float32(0.1)
    ).max() == pytest.approx(mel.max() - 20, abs=0.1)


def test_silence_is_the_floor_and_too_little_audio_no_frame() -> None:
    assert log_mel(synthesis.silence(1.0)) == pytest.approx(-100, abs=1e-3)
    assert log_mel(np.zeros(399, dtype=np.float32)).shape == (0, BANDS)
    assert frames(399) == 0
