"""Two groups of one sounder, a cycle apart, with silence around them: an alarm."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from model_server.monitor.bursts import UNLIKE, Burst
from model_server.monitor.pattern import Pattern
from model_server.monitor.tones import LevelHistory, Levels

_SAME_DB = 6.0
_SAME_HZ = 12.0
_SAME_STEP = 0.07
_QUIET_DB = 10.0
_SAME_SHAPE = 0.25
_ONSET_ROWS = 3
_OFF_BEAT = 0.1
_BESIDE = np.array([-2, -1, 1, 2])
_PEAK_DB = 3.0


@dataclass(frozen=True)
class Match:
    """Two groups of one sounder: the row of the first beep, how well they fit, 0 to 1."""

    onset: int
    score: float


class Groups:
    """Remembers the bursts of a pattern and tells when a new one continues an earlier one."""

    def __init__(self, pattern: Pattern, history: LevelHistory) -> None:
        """Begin with nothing."""
        self._pattern = pattern
        self._history = history
        self._kept: deque[Burst] = deque(maxlen=256)

    def match(self, burst: Burst) -> Match | None:
        """The alarm that this burst is the second complete group of, if there is one.

        Between the two a group may be that lacks a beep.
        """
        self._replace(burst)
        if burst.beeps != self._pattern.beeps:
            return None
        for one in reversed(self._kept):
            if one.end < burst.onset and self._one_sounder(one, burst):
                cycles = self._cycles(one, burst)
                if (
                    cycles
                    and self._silent(one, burst, cycles)
                    and not self._sounds_on(one, burst, cycles)
                ):
                    unlike = max(one.unlike, burst.unlike) / UNLIKE
                    score = 1 - 0.2 * (cycles - 1) - 0.3 * unlike
                    return Match(one.onset, round(score, 3))
        return None

    def _replace(self, burst: Burst) -> None:
        """Keep it instead of what was found of the same burst before it went on."""
        for one in list(self._kept):
            if (
                abs(one.channel - burst.channel) <= 1
                and abs(one.onset - burst.onset) <= _ONSET_ROWS
            ):
                self._kept.remove(one)
        if burst.beeps == self._pattern.beeps:
            self._kept.append(burst)

    def _one_sounder(self, one: Burst, other: Burst) -> bool:
        return (
            _one_tone(one, other)
            and abs(one.step - other.step) <= _SAME_STEP * other.step
            and _same_shape(one.shape, other.shape)
        )

    def _cycles(self, one: Burst, other: Burst) -> int:
        """How many cycles they are apart, 1 or 2; 0 if it is no such number."""
        row = self._pattern.row_s
        beeping = self._pattern.beeps * (one.step + other.step) / 2 * row
        low, high = self._pattern.rest
        for cycles in (1, 2):
            rest = (other.onset - one.onset) * row / cycles - beeping
            if low <= rest <= high:
                return cycles
        return 0

    def _sounds_on(self, one: Burst, other: Burst, cycles: int) -> bool:
        """Whether that tone began in between, too, at no cycle's beginning: it never rests."""
        cycle = (other.onset - one.onset) / cycles
        places = (
            (each.onset - one.onset) / cycle
            for each in self._kept
            if one.onset < each.onset < other.onset and _one_tone(each, other)
        )
        return any(abs(place - round(place)) > _OFF_BEAT for place in places)

    def _silent(self, one: Burst, other: Burst, cycles: int) -> bool:
        """Whether hardly any tone as loud sounds before and between them."""
        row = self._pattern.row_s
        loud = min(one.level, other.level) - _QUIET_DB
        before = round(self._pattern.before / row)
        level = self._history.until(other.onset - 1, other.onset - one.onset + before)
        beside = level[:, other.channel + _BESIDE].max(axis=1)
        level = level[:, other.channel]
        # What leaks from a tone close by is louder there.
        level = np.where(level >= beside - _PEAK_DB, level, loud)
        first = level.size - (other.onset - 1 - one.onset)
        decay = round(self._pattern.decay / row)
        stray = (level[: max(0, first - 1)] > loud).sum()
        between = (level[first + one.end - one.onset + decay :] > loud).sum()
        allowed = round(self._pattern.stray / row)
        group = (cycles - 1) * round(self._pattern.beeps * other.step)
        return bool(stray <= allowed and between <= allowed + group)


def _one_tone(one: Burst, other: Burst) -> bool:
    return (
        abs(one.channel - other.channel) <= 1
        and abs(one.frequency - other.frequency) <= _SAME_HZ
        and abs(one.level - other.level) <= _SAME_DB
    )


def _same_shape(one: Levels, other: Levels) -> bool:
    size = min(one.size, other.size)
    one, other = one[:size] - one.max(), other[:size] - other.max()
    contrast = float(other.max() - other.min())
    return float(np.abs(one - other).mean()) <= _SAME_SHAPE * contrast
