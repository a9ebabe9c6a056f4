"""Bursts of equal beeps at one frequency: the groups of an alarm.

In a reverberant room beeps run into each other and fade in the middle, but each in
the same way. So little is asked of a beep's own form: what makes a burst is that it
comes after silence, and that its beeps are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_server.monitor.pattern import Pattern
from model_server.monitor.tones import (
    LevelHistory,
    Levels,
    frequency,
    outstanding,
    stands_out,
    tone_bins,
)

_FALL_DB = 6.0
_ONSET_DB = 8.0
_QUIET_DB = 10.0
_DEPTH_DB = 15.0
# How unlike beeps may be, on average and at worst, as shares of the level's range within one.
# The first rises out of silence, the others out of what the room holds on.
UNLIKE = 0.12
_UNLIKE_ONE = 0.25
_UNLIKE_FIRST = 0.3
# What is as like at a part of the step beeps that fast. Where a room cancels a tone but for
# its beginning and its end, each beep is like two, but not as like as the beeps themselves.
_ALIKE = 0.12
_ALIKE_TIMES = 2.5
_OUT_DB = 9.0
_STEADY_HZ = 20.0


@dataclass(frozen=True)
class Burst:
    """Equal beeps after a silence; times are rows, `step` is from beep to beep.

    It has as many beeps as a group of its pattern, or one more: then it is no
    group. `unlike` is 0 for perfectly equal beeps and UNLIKE at most; `shape` is
    the level of a step, dB.
    """

    onset: int
    end: int
    beeps: int
    step: float
    channel: int
    frequency: float
    level: float
    unlike: float
    shape: Levels


@dataclass(frozen=True)
class _Fit:
    unlike: float
    step: float
    beeps: int
    shape: Levels


class BurstFinder:
    """Follows every frequency; a burst is found as its last beep falls."""

    def __init__(self, pattern: Pattern, history: LevelHistory) -> None:
        """Begin with the history's next row."""
        row = pattern.row_s
        self._pattern = pattern
        self._history = history
        self._bins = tone_bins()
        self._steps = np.arange(
            round(2 * pattern.step[0] / row) / 2, pattern.step[1] / row + 0.01, 0.5
        )
        self._shortest = round(pattern.shortest / row)
        self._longest = round((pattern.beeps + 1) * self._steps[-1]) + 2
        self._least = int((pattern.beeps - 1) * self._steps[0]) + self._shortest
        self._quiet = round(pattern.quiet / row)
        self._blip = int(pattern.blip / row)
        self._recent = round(max(0.12, pattern.step[0] / 4) / row)
        self._below = np.ones(self._bins.size, dtype=np.bool_)

    def find(self, rows: int) -> list[Burst]:
        """The bursts that the newest rows of the history showed."""
        bursts: list[Burst] = []
        for end in range(self._history.rows - rows + 1, self._history.rows + 1):
            recent = self._history.until(end, self._recent)
            top = recent.max(axis=0)
            below = (recent[-1] <= top - _FALL_DB)[self._bins]
            channels = self._bins[below & ~self._below]
            self._below = below
            channels = channels[stands_out(top, channels, _OUT_DB - 3.0)]
            if channels.size:
                channels = self._began_after_silence(end, channels, top[channels])
                found = (self._burst(end, int(one)) for one in channels)
                bursts += [burst for burst in found if burst is not None]
        return bursts

    def _began_after_silence(
        self, end: int, channels: npt.NDArray[np.int64], top: Levels
    ) -> npt.NDArray[np.int64]:
        """Those channels in which some silence ended as long ago as a burst lasts."""
        span = self._history.until(end, self._longest + self._quiet)[:, channels]
        group = span[-self._least :].max(axis=0)
        lively = top >= group - _QUIET_DB
        alive: npt.NDArray[np.int64] = channels[lively]
        if not alive.size:
            return alive
        loud = span[:, lively] > group[lively] - _QUIET_DB
        count = _counted(loud, self._quiet)[: -self._least]
        began: npt.NDArray[np.int64] = alive[(count <= self._blip).any(axis=0)]
        return began

    def _burst(self, end: int, channel: int) -> Burst | None:
        span = self._history.until(end, self._longest + self._quiet)
        top = float(span[-self._least :, channel].max())
        onset = self._onset(span[:, channel], top)
        if onset is None:
            return None
        around = span[onset - 1 :]
        level = around[:, channel]
        on = level >= top - _FALL_DB
        mean = around[on, channel - 1 : channel + 2].mean(axis=0)
        if mean[1] < mean[0] or mean[1] < mean[2]:
            return None
        if outstanding(around[on], channel) < _OUT_DB:
            return None
        fit = self._fit(level, top)
        if fit is None or not _keeps_pitch(around, channel, on, fit):
            return None
        return Burst(
            onset=end - len(around) + 1,
            end=end,
            beeps=fit.beeps,
            step=fit.step,
            channel=channel,
            frequency=frequency(around[on], channel),
            level=top,
            unlike=fit.unlike,
            shape=fit.shape,
        )

    def _onset(self, level: Levels, top: float) -> int | None:
        """The last row, long enough ago, at which a silence ended."""
        loud = level > top - _QUIET_DB
        count = _counted(loud[:, None], self._quiet)[:, 0]
        rows = np.arange(self._quiet, level.size - self._least + 1)
        begins = (count[: rows.size] <= self._blip) & (level[rows] >= top - _ONSET_DB)
        places = np.flatnonzero(begins)
        if not places.size:
            return None
        # Where it rises slowly it began with the first of the rows that are all loud.
        place = places[-1]
        while place > 0 and begins[place - 1]:
            place -= 1
        return int(rows[place])

    def _fit(self, level: Levels, top: float) -> _Fit | None:
        """The step at which the beeps are most alike; None if at none they are."""
        clipped = np.maximum(level, top - _DEPTH_DB)
        fits = (self._alike(clipped, float(step), top) for step in self._steps)
        fitting = [fit for fit in fits if fit is not None and fit.unlike <= UNLIKE]
        return min(fitting, key=lambda fit: fit.unlike, default=None)

    def _alike(self, level: Levels, step: float, top: float) -> _Fit | None:
        """How alike the beeps are if this is the step; the level begins a row before the first."""
        beeps = int((level.size - 1 - self._shortest) // step) + 1
        if not self._pattern.beeps <= beeps <= self._pattern.beeps + 1:
            return None
        size = int(step)
        begins = [round(number * step) for number in range(beeps)]
        cells = [level[begin : begin + size] for begin in begins]
        if any(cell.max() < top - _FALL_DB for cell in cells):
            return None
        # A microphone's gain control may turn down what goes on: levels are aligned.
        cells = [cell + (top - cell.max()) for cell in cells]
        shape = np.median([cell for cell in cells if cell.size == size], axis=0)
        contrast = float(shape.max() - shape.min())
        low, high = self._pattern.sounding
        loud = np.flatnonzero(shape >= shape.max() - _ONSET_DB)
        long_enough = loud[-1] - loud[0] + 1 >= low * size
        if (
            contrast < self._pattern.contrast
            or not long_enough
            or loud.size > high * size
        ):
            return None
        away = [
            float(np.abs(cell - shape[: cell.size]).mean()) / contrast for cell in cells
        ]
        unlike = sum(away) / len(away)
        half = min(_ALIKE, max(self._pattern.twice, _ALIKE_TIMES * unlike))
        if (
            _unlike_itself(shape, step / 2) <= half * contrast
            or _unlike_itself(shape, step / 3) <= _ALIKE * contrast
        ):
            return None
        # One beep more than a group has must be a beep indeed, not an echo.
        whole = 1.0 if beeps == self._pattern.beeps else 0.5
        if away[0] > _UNLIKE_FIRST * whole or max(away[1:]) > _UNLIKE_ONE * whole:
            return None
        return _Fit(unlike, step, beeps, shape)


def _unlike_itself(shape: Levels, later: float) -> float:
    """How far a shape is from itself some rows later, dB: the least, as rows are coarse."""
    whole, part = divmod(later, 1)
    before, after = np.roll(shape, int(whole)), np.roll(shape, int(whole) + 1)
    shifted = (before, after, before + part * (after - before), (before + after) / 2)
    return min(float(np.abs(shape - each).mean()) for each in shifted)


def _counted(loud: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.int64]:
    """How many of the `size` rows before each row, from row `size` on, are loud."""
    total = np.zeros((loud.shape[0] + 1, loud.shape[1]), dtype=np.int64)
    np.cumsum(loud, axis=0, out=total[1:])
    return total[size:] - total[:-size]


def _keeps_pitch(
    around: Levels, channel: int, on: npt.NDArray[np.bool_], fit: _Fit
) -> bool:
    pitches = []
    for number in range(fit.beeps):
        begin = round(number * fit.step)
        cell = slice(begin, begin + int(fit.step))
        pitches.append(frequency(around[cell][on[cell]], channel))
    return max(pitches) - min(pitches) <= _STEADY_HZ
