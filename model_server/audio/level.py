"""Loudness of each second of a stream, in dB relative to full scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm

FULL_SCALE = 32768.0
SILENCE_DBFS = -100.0

ACTIVE_DB = 15.9
"""So far below its loudest moment speech goes on: the margin of ITU-T P.56."""
BLOCK = 512
"""Samples of one moment, 32 ms."""


def dbfs(amplitude: float) -> float:
    """Amplitude (full scale is 32768) in dB; -100 for digital silence."""
    if amplitude <= 0:
        return SILENCE_DBFS
    return max(SILENCE_DBFS, float(20 * np.log10(amplitude / FULL_SCALE)))


def speech_dbfs(pcm: Pcm) -> float:
    """RMS in dBFS of the moments in which somebody speaks, (samples,): not of pauses."""
    whole = pcm[: pcm.size - pcm.size % BLOCK].astype(np.float32)
    if not whole.size:
        return SILENCE_DBFS
    squares = np.mean(whole.reshape(-1, BLOCK) ** 2, axis=1)
    active = squares[squares >= squares.max() * 10 ** (-ACTIVE_DB / 10)]
    return dbfs(float(np.sqrt(active.mean())))


@dataclass(frozen=True)
class SecondLevel:
    """RMS and peak in dBFS of the `SAMPLE_RATE` samples that end at index `end`."""

    end: int
    rms_dbfs: float
    peak_dbfs: float


class LevelMeter:
    """Measures every full second, however the samples are cut into pieces."""

    def __init__(self) -> None:
        """Start at sample 0."""
        self._end = 0
        self._squares = 0
        self._peak = 0

    def push(self, pcm: Pcm) -> list[SecondLevel]:
        """Take samples, (samples,); return the seconds they complete."""
        levels = []
        while pcm.size:
            missing = SAMPLE_RATE - self._end % SAMPLE_RATE
            # int64: the square of -32768 does not fit in 16 bits, nor its negative.
            piece = pcm[:missing].astype(np.int64)
            pcm = pcm[missing:]
            self._squares += int(piece @ piece)
            self._peak = max(self._peak, int(np.abs(piece).max()))
            self._end += piece.size
            if self._end % SAMPLE_RATE == 0:
                rms = float(np.sqrt(self._squares / SAMPLE_RATE))
                levels.append(SecondLevel(self._end, dbfs(rms), dbfs(self._peak)))
                self._squares = self._peak = 0
        return levels
