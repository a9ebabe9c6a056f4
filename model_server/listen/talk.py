"""Whether somebody speaks in a recording: what decides if it may be kept."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.vad import SileroVoice
from model_server.engines.base import SoundClassifier

VOICE: Final = 0.5
"""From this probability on, a piece of 32 ms counts as voice."""
VOICED_S: Final = 0.3
"""So much voice in all is speech; a syllable has about 0.2 s."""
SPEAKING: Final = "speaking"
BATCH: Final = 4
"""Windows scored at once, so that live sounds never wait long for the classifier."""


def has_voice(pcm: Pcm) -> bool:
    """Whether the voice activity network hears speech in samples, (samples,)."""
    voice = SileroVoice()
    pieces = (
        pcm[at : at + voice.chunk]
        for at in range(0, pcm.size - voice.chunk + 1, voice.chunk)
    )
    voiced = sum(voice.chunk for piece in pieces if voice(piece) >= VOICE)
    return voiced >= VOICED_S * SAMPLE_RATE


def batches(classifier: SoundClassifier, pcm: Pcm) -> list[npt.NDArray[np.float32]]:
    """All windows of samples, (samples,), in batches of up to 4, (batch, window)."""
    audio = np.zeros(max(pcm.size, classifier.window), np.float32)
    audio[: pcm.size] = pcm
    windows = np.lib.stride_tricks.sliding_window_view(audio, classifier.window)
    windows = windows[:: classifier.hop]
    return [
        windows[at : at + BATCH] / np.float32(32768)
        for at in range(0, len(windows), BATCH)
    ]


def speaking(classifier: SoundClassifier, windows: npt.NDArray[np.float32]) -> float:
    """How much any of these windows sounds like speech, 0 to 1. Raises EngineError."""
    index = classifier.labels.index(SPEAKING)
    return float(classifier.classify(windows).scores[:, index].max())
