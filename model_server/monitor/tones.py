"""How loud each frequency is that a sounder may have: what the rhythms are looked for in."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Pcm

HOP = 160
HOP_S = HOP / SAMPLE_RATE
FRAME = 512
BIN_HZ = SAMPLE_RATE / FRAME
# Frames are transformed by this many at a time, however the stream is cut, so that
# the same samples always give the same numbers.
_BLOCK = 5
# Domestic sounders are between 2 and 4 kHz, those for sleeping areas at 520 Hz, whose
# square wave has its next partial at three times that.
_RANGES_HZ = ((450.0, 600.0), (1350.0, 1800.0), (2000.0, 4000.0))
_BINS = 150
_FLOOR_DB = -90.0
_AROUND = np.array([-20, -15, -11, -8, -5, 5, 8, 11, 15, 20])

Power: TypeAlias = npt.NDArray[np.float64]
Levels: TypeAlias = npt.NDArray[np.float32]


class Spectrogram:
    """Power of overlapping frames, 32 ms every 10 ms."""

    def __init__(self) -> None:
        """Begin at sample 0."""
        window = np.hanning(FRAME + 1)[:-1]
        self._window = window * (2 / window.sum())
        self._pending = np.zeros(0, dtype=np.float64)

    def push(self, pcm: Pcm) -> list[Power]:
        """The blocks of five frames that these samples completed, each (5, bins)."""
        self._pending = np.concatenate([self._pending, pcm.astype(np.float64) / 32768])
        need = FRAME + (_BLOCK - 1) * HOP
        blocks = []
        at = 0
        while self._pending.size - at >= need:
            samples = self._pending[at : at + need]
            frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
            spectrum = np.fft.rfft(frames * self._window, axis=1)[:, :_BINS]
            blocks.append(spectrum.real**2 + spectrum.imag**2)
            at += _BLOCK * HOP
        self._pending = self._pending[at:]
        return blocks


class LevelHistory:
    """The last 20 s in dB, (rows, bins); a row is the mean power of some frames."""

    def __init__(self, every: int) -> None:
        """Begin before the first of rows of so many frames, after silence."""
        self.rows = 0
        self._every = every
        self._kept = 2000 // every
        self._at = self._kept
        self._levels = np.full((2 * self._kept, _BINS), _FLOOR_DB, dtype=np.float32)
        self._partial = np.zeros((0, _BINS))

    def push(self, power: Power) -> int:
        """Take a block of frames; returns how many rows it completed."""
        if self._every > 1:
            frames = np.concatenate([self._partial, power])
            count = len(frames) // self._every
            self._partial = frames[count * self._every :]
            power = frames[: count * self._every]
            power = power.reshape(count, self._every, _BINS).mean(axis=1)
        if self._at + len(power) > len(self._levels):
            self._levels[: self._kept] = self._levels[self._at - self._kept : self._at]
            self._at = self._kept
        self._levels[self._at : self._at + len(power)] = 10 * np.log10(
            power + 10 ** (_FLOOR_DB / 10)
        )
        self._at += len(power)
        self.rows += len(power)
        return len(power)

    def until(self, end: int, rows: int) -> Levels:
        """The `rows` before row `end`, which is at most a block ago."""
        last = self._at - (self.rows - end)
        return self._levels[max(0, last - rows) : last]


def tone_bins() -> npt.NDArray[np.int64]:
    """The bins in which sounders have their tone."""
    return np.concatenate(
        [
            np.arange(int(low / BIN_HZ) + 1, int(high / BIN_HZ) + 1)
            for low, high in _RANGES_HZ
        ]
    )


def frequency(levels: Levels, channel: int) -> float:
    """Hz of a tone in a channel, by the power of it and the two beside it."""
    power = 10 ** (levels[:, channel - 1 : channel + 2].astype(np.float64) / 10)
    weights = power.sum(axis=0)
    centre = (weights * (channel + np.arange(-1, 2))).sum() / weights.sum()
    return float(centre * BIN_HZ)


def outstanding(levels: Levels, channel: int) -> float:
    """By how many dB a channel stands out of the spectrum around it."""
    near = [
        one
        for one in range(max(1, channel - 20), channel + 21)
        if abs(one - channel) > 4
    ]
    return float((levels[:, channel] - np.median(levels[:, near], axis=1)).mean())


def stands_out(
    top: Levels, channels: npt.NDArray[np.int64], by_db: float
) -> npt.NDArray[np.bool_]:
    """Which channels are peaks of a spectrum, roughly: what spares looking closer."""
    level = top[channels]
    beside = np.maximum(top[channels - 1], top[channels + 1])
    around = np.median(top[np.clip(channels[:, None] + _AROUND, 1, _BINS - 1)], axis=1)
    out: npt.NDArray[np.bool_] = (level >= beside - 3.0) & (level >= around + by_db)
    return out
