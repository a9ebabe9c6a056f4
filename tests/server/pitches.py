"""A classifier whose sounds are pure tones: what it scores, a test can play exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import Classification, EngineInfo
from tests.server.voices import silence

HERTZ = {"bark": 400, "meow": 1000, "glass_break": 3000, "speaking": 2000}


class Pitches:
    """Scores how much of a window's loudest half second is each label's tone."""

    info = EngineInfo("pitches", "1")
    labels = tuple(HERTZ)
    window = SAMPLE_RATE
    hop = SAMPLE_RATE // 2
    parallel = 1

    def classify(self, windows: npt.NDArray[np.float32]) -> Classification:
        """As the protocol says."""
        spectrum = np.abs(np.fft.rfft(windows, axis=1)) / (self.window / 2)
        scores = np.stack(
            [spectrum[:, hertz] * 4 for hertz in HERTZ.values()], axis=1
        ).clip(0, 1)
        return Classification(scores.astype(np.float32), scores.astype(np.float32))


def tone(label: str, seconds: float, *, level: float = 0.25) -> Pcm:
    """The tone that is this label's sound."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(level * 32767 * np.sin(2 * np.pi * HERTZ[label] * time), np.int16)


def scene(*parts: tuple[str, float] | float) -> Pcm:
    """Tones and, where only a length is given, silence, one after the other."""
    return np.concatenate(
        [
            silence(part) if isinstance(part, int | float) else tone(*part)
            for part in parts
        ]
    )
