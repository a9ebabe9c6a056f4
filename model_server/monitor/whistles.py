"""Whistles: one pure tone alone in a room, which glides up or down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Pcm

Float = npt.NDArray[np.float64]

HOP = 160
_FRAME = 256
_BIN_HZ = SAMPLE_RATE / _FRAME
# As in `transients`: the same samples are always transformed together.
_BLOCK = 20
_LOWEST = 5
_LIPS = slice(9, 60)
"""The bins from 560 Hz to 3.7 kHz, between which lips whistle."""
_NEAR = 2
_FLOOR = 10 ** (-95 / 10)

_TONAL = 0.55
_PURE = 0.72
_JUMP = 1.6
_GAP = 3
_SHORTEST, _LONGEST = 15, 120
_SEMITONES = 3.0
_BACKWARD = 0.2
_SUDDEN = 0.6
_HARMONIC_DB = -17.0
_QUIET_DB = 10.0
_EDGE, _BEFORE, _TAIL, _AFTER = 5, 40, 25, 60
_KEPT = _LONGEST + _BEFORE + _TAIL + _AFTER + 4 * _BLOCK


@dataclass(frozen=True)
class Glide:
    """A whistle: samples of its beginning and end, semitones up or down, purity 0 to 1."""

    onset: int
    release: int
    semitones: float
    purity: float

    @property
    def score(self) -> float:
        """0.5 for the least pure tone that is taken for a whistle, 1 for a sine."""
        return round(0.5 + 0.5 * (self.purity - _PURE) / (1 - _PURE), 3)


@dataclass(frozen=True)
class _Point:
    """The strongest tone of a frame: semitones above 1 Hz, its share, harmonics' shares."""

    frame: int
    semitones: float
    share: float
    harmonic: float


class WhistleTracker:
    """Finds whistles in a stream; any cutting into chunks gives the same ones."""

    def __init__(self) -> None:
        """Begin at sample 0."""
        self._window = np.hanning(_FRAME + 1)[:-1]
        self._window /= np.sqrt(np.sum(self._window**2) * _FRAME / 2)
        self._pending = np.zeros(0, dtype=np.int16)
        self._level = np.zeros(0)
        self._end = 0
        self._run: list[_Point] = []
        self._waiting: list[list[_Point]] = []

    def push(self, pcm: Pcm) -> list[Glide]:
        """Take the next samples; returns the whistles whose silence is over now."""
        self._pending = np.concatenate([self._pending, pcm])
        found: list[Glide] = []
        need = _FRAME + (_BLOCK - 1) * HOP
        while self._pending.size >= need:
            self._block(self._pending[:need].astype(np.float64) / 32768)
            self._pending = self._pending[_BLOCK * HOP :]
            found += self._due()
        return found

    def _block(self, samples: Float) -> None:
        cut = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::HOP]
        spectrum = np.fft.rfft(cut * self._window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        total = power[:, _LOWEST:].sum(axis=1) + _FLOOR
        self._level = np.concatenate([self._level, 10 * np.log10(total)])[-_KEPT:]
        peak = power[:, _LIPS].argmax(axis=1) + _LIPS.start
        near = peak[:, None] + np.arange(-_NEAR, _NEAR + 1)
        share = np.take_along_axis(power, near, axis=1).sum(axis=1) / total
        for index in np.flatnonzero(share >= _TONAL):
            frame = self._end + int(index)
            self._follow(_point(frame, power[index], int(peak[index]), total[index]))
        self._end += _BLOCK
        if self._run and self._end - self._run[-1].frame > _GAP:
            self._finish()

    def _follow(self, point: _Point) -> None:
        if self._run:
            last = self._run[-1]
            passed = point.frame - last.frame
            if passed > _GAP or abs(point.semitones - last.semitones) > _JUMP * passed:
                self._finish()
        self._run.append(point)

    def _finish(self) -> None:
        if _SHORTEST <= self._run[-1].frame - self._run[0].frame < _LONGEST:
            self._waiting.append(self._run)
        self._run = []

    def _due(self) -> list[Glide]:
        known = self._end - _TAIL - _AFTER
        due = [run for run in self._waiting if run[-1].frame < known]
        self._waiting = [run for run in self._waiting if run[-1].frame >= known]
        glides = [_glide(run) for run in due if self._alone(run)]
        return [glide for glide in glides if glide is not None]

    def _alone(self, run: Sequence[_Point]) -> bool:
        """Whether it is quiet before and after."""
        first, last = run[0].frame, run[-1].frame
        loud = float(np.median(self._levels(first, last))) - _QUIET_DB
        before = self._levels(first - _EDGE - _BEFORE, first - _EDGE)
        after = self._levels(last + _TAIL, last + _TAIL + _AFTER)
        around = np.concatenate([before, after])
        return float(around.max(initial=-120.0)) <= loud

    def _levels(self, begin: int, end: int) -> Float:
        first = self._end - self._level.size
        return self._level[max(0, begin - first) : max(0, end - first)]


def _point(frame: int, power: Float, peak: int, total: float) -> _Point:
    """The peak's place between the bins, and what stands at its double, triple and half."""
    low, here, high = np.log(power[peak - 1 : peak + 2] + 1e-12)
    curve = low - 2 * here + high
    place = peak + (np.clip(0.5 * (low - high) / curve, -1, 1) if curve < 0 else 0.0)
    harmonic = 0.0
    for multiple in (0.5, 2.0, 3.0):
        at = round(place * multiple)
        if abs(at - peak) > 2 * _NEAR and at < power.size - 1:
            harmonic = max(harmonic, float(power[at - 1 : at + 2].sum() / total))
    share = float(power[peak - _NEAR : peak + _NEAR + 1].sum() / total)
    return _Point(frame, 12 * float(np.log2(place * _BIN_HZ)), share, harmonic)


def _glide(run: Sequence[_Point]) -> Glide | None:
    """What a run of points is if it glides purely, steadily and far enough."""
    purity = float(np.mean([point.share for point in run]))
    harmonic = float(np.mean([point.harmonic for point in run]))
    if purity < _PURE or harmonic > purity * 10 ** (_HARMONIC_DB / 10):
        return None
    way = np.array([point.semitones for point in run])
    way = np.convolve(np.pad(way, 2, mode="edge"), np.full(5, 0.2), "valid")
    net = float(way[-1] - way[0])
    if abs(net) < _SEMITONES:
        return None
    steps = np.diff(way) * np.sign(net)
    backward = -float(steps[steps < 0].sum())
    sudden = float(np.max((way[4:] - way[:-4]) * np.sign(net)))
    if backward > _BACKWARD * abs(net) or sudden > _SUDDEN * abs(net):
        return None
    first, last = run[0].frame, run[-1].frame
    return Glide(first * HOP, last * HOP + _FRAME, net, purity)
