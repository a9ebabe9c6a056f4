"""Steady tones that switch on and off: what an alarm's sounder leaves in a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Pcm

HOP = 160
_FRAME = 512
# Frames are transformed by this many at a time, however the stream is cut, so that
# the same samples always give the same numbers.
_BLOCK = 5
_BIN_HZ = SAMPLE_RATE / _FRAME
# Domestic sounders are between 2 and 4 kHz, those for sleeping areas at 520 Hz.
_RANGES_HZ = ((450.0, 600.0), (2000.0, 4000.0))
_WIDTH = 4
_NEIGHBOURS = 20
_GUARD = 4
_FLOOR_DB = -90.0
_APPEAR_DB = 9.0
_VANISH_DB = 5.0
# An echo may come back within a beep's pause, but not to near the beep's own level.
_ECHO_DB = 8.0
_FORGET_DB = 20.0 * HOP / SAMPLE_RATE


@dataclass(frozen=True)
class Pulse:
    """A tone that was on: samples since the stream began, Hz, dB."""

    on: int
    off: int
    frequency: float
    level: float


class ToneTracker:
    """Finds pulses in overlapping narrow channels, once for every step asked for.

    A channel switches on when it rises by a step from its last low and stands
    9 dB out of the spectrum around it, and off when it has fallen by a step from
    its last high. Steps are relative, to outlast reverberation and changing
    noise: a small one follows quick beeps, a large one ignores the fading that a
    room makes of a long one.
    """

    def __init__(self, steps_db: Sequence[float]) -> None:
        """Begin at sample 0; channel `c` of step `s` is number `s * bands + c`."""
        centres = np.concatenate(
            [
                np.arange(int(low / _BIN_HZ), int(high / _BIN_HZ) + 1, _WIDTH // 2)
                for low, high in _RANGES_HZ
            ]
        )
        self.bands = len(centres)
        self.channels = self.bands * len(steps_db)
        self._step_db = np.repeat(np.asarray(steps_db, dtype=np.float64), self.bands)
        self._bins = centres[:, None] + np.arange(_WIDTH) - _WIDTH // 2
        offsets = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
        offsets = offsets[np.abs(offsets) > _GUARD]
        self._around = np.clip(centres[:, None] + offsets, 1, _FRAME // 2 - 1)
        self._window = np.hanning(_FRAME + 1)[:-1] * (
            2 / np.hanning(_FRAME + 1)[:-1].sum()
        )
        self._pending = np.zeros(0, dtype=np.float64)
        self._frame = 0
        self._on = np.zeros(self.channels, dtype=bool)
        self._extreme = np.full(self.channels, _FLOOR_DB)
        self._peak = np.full(self.channels, _FLOOR_DB)
        self._since = np.zeros(self.channels, dtype=np.int64)
        self._sums = np.zeros((3, self.channels))

    def push(self, pcm: Pcm) -> list[tuple[int, Pulse]]:
        """The (channel, pulse) pairs that these samples completed, in order of their end."""
        self._pending = np.concatenate([self._pending, pcm.astype(np.float64) / 32768])
        need = _FRAME + (_BLOCK - 1) * HOP
        done: list[tuple[int, Pulse]] = []
        at = 0
        while self._pending.size - at >= need:
            self._block(self._pending[at : at + need], done)
            at += _BLOCK * HOP
        self._pending = self._pending[at:]
        return done

    def _block(
        self, samples: npt.NDArray[np.float64], done: list[tuple[int, Pulse]]
    ) -> None:
        frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::HOP]
        spectrum = np.fft.rfft(frames * self._window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        inside = power[:, self._bins]
        total = inside.sum(axis=2)
        level = 10 * np.log10(total + 10 ** (_FLOOR_DB / 10))
        around = _WIDTH * np.median(power[:, self._around], axis=2)
        out = level - 10 * np.log10(around + 10 ** (_FLOOR_DB / 10))
        centre = (inside * self._bins).sum(axis=2) / np.maximum(total, 1e-30)
        copies = self.channels // self.bands
        level, out = np.tile(level, copies), np.tile(out, copies)
        total, centre = np.tile(total, copies), np.tile(centre, copies)
        for index in range(_BLOCK):
            self._step(level[index], out[index], total[index], centre[index], done)
            self._frame += 1

    def _step(
        self,
        level: npt.NDArray[np.float64],
        out: npt.NDArray[np.float64],
        power: npt.NDArray[np.float64],
        centre: npt.NDArray[np.float64],
        done: list[tuple[int, Pulse]],
    ) -> None:
        on = self._on
        self._extreme = np.where(
            on, np.maximum(self._extreme, level), np.minimum(self._extreme, level)
        )
        ends = on & ((level < self._extreme - self._step_db) | (out < _VANISH_DB))
        self._peak -= _FORGET_DB
        begins = (
            ~on
            & (level > self._extreme + self._step_db)
            & (level > self._peak - _ECHO_DB)
            & (out > _APPEAR_DB)
        )
        self._peak = np.where(on, np.maximum(self._peak, level), self._peak)
        if ends.any():
            done += [
                (int(channel), self._pulse(channel)) for channel in np.flatnonzero(ends)
            ]
        turned = ends | begins
        self._extreme[turned] = level[turned]
        self._on = on ^ turned
        self._since[begins] = self._frame
        self._sums[:, begins] = 0
        self._sums += np.stack([self._on, power * self._on, power * centre * self._on])

    def _pulse(self, channel: np.intp) -> Pulse:
        frames, power, weighted = self._sums[:, channel]
        return Pulse(
            on=int(self._since[channel]) * HOP + _FRAME // 2,
            off=self._frame * HOP + _FRAME // 2,
            frequency=float(weighted / power * _BIN_HZ),
            level=float(10 * np.log10(power / frames)),
        )
