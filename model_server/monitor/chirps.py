"""The chirp of an alarm whose battery is low: one short beep every half minute or so."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from model_server.monitor.tones import (
    BIN_HZ,
    HOP_S,
    LevelHistory,
    frequency,
    outstanding,
    stands_out,
)

LABEL = "low_battery"
EVERY = 2
ROW_S = EVERY * HOP_S

# The standard says nothing of it: what is sold chirps every 30 to 60 s.
_APART_S = (25.0, 75.0)
_UNEVEN = 0.03
_COUNT = 4
_RANGE_HZ = (2850.0, 3550.0)
_LONGEST_S = 0.3
_BEFORE_S = 2.0
_AFTER_S = 1.2
_FALL_DB = 6.0
_QUIET_DB = 10.0
_OUT_DB = 12.0
_SAME_HZ = 15.0
_SAME_DB = 6.0


@dataclass(frozen=True)
class Chirp:
    """One short tone with silence around it; the row it began in, Hz, dB."""

    row: int
    frequency: float
    level: float


@dataclass(frozen=True)
class Series:
    """Chirps at even intervals: the row of the first, rows from one to the next, score 0 to 1."""

    onset: int
    apart: float
    score: float


class ChirpFinder:
    """Finds chirps a second after they end, and how many other tones there were."""

    def __init__(self, history: LevelHistory) -> None:
        """Begin with the history's next row."""
        low, high = (round(edge / BIN_HZ) for edge in _RANGE_HZ)
        self._bins = np.arange(low, high + 1)
        self._history = history
        self._below = np.ones(self._bins.size, dtype=np.bool_)
        self._after = round(_AFTER_S / ROW_S)
        self._longest = round(_LONGEST_S / ROW_S)
        self._waiting: deque[tuple[int, int]] = deque()
        self.falls: deque[tuple[int, float, float]] = deque(maxlen=4096)
        """Row, Hz and dB of every tone that ended, chirp or not."""

    def find(self, rows: int) -> list[Chirp]:
        """The chirps that the newest rows of the history showed."""
        chirps: list[Chirp] = []
        for end in range(self._history.rows - rows + 1, self._history.rows + 1):
            recent = self._history.until(end, 6)
            top = recent.max(axis=0)
            below = (recent[-1] <= top - _FALL_DB)[self._bins]
            channels = self._bins[below & ~self._below]
            self._below = below
            for channel in channels[stands_out(top, channels, _OUT_DB)]:
                self.falls.append((end, channel * BIN_HZ, float(top[channel])))
                self._waiting.append((end, int(channel)))
            while self._waiting and self._waiting[0][0] <= end - self._after:
                chirp = self._chirp(*self._waiting.popleft())
                if chirp is not None:
                    chirps.append(chirp)
        return chirps

    def _chirp(self, end: int, channel: int) -> Chirp | None:
        before = round(_BEFORE_S / ROW_S)
        size = before + self._longest + self._after
        span = self._history.until(end + self._after, size)
        level = span[:, channel]
        chirp = slice(before - 1, before + self._longest + 1)
        top = float(level[chirp].max())
        loud = level > top - _QUIET_DB
        if loud.sum() > loud[chirp].sum() or not loud[chirp].any():
            return None
        rows = np.flatnonzero(loud)
        if rows[-1] - rows[0] >= self._longest:
            return None
        on = span[level > top - _FALL_DB]
        mean = on[:, channel - 1 : channel + 2].mean(axis=0)
        if mean[1] < mean.max() or outstanding(on, channel) < _OUT_DB:
            return None
        first = end + self._after - size + int(rows[0])
        return Chirp(first, frequency(on, channel), top)


class Chirps:
    """Remembers chirps and tells when one is the fourth of an even series."""

    def __init__(self, finder: ChirpFinder) -> None:
        """Begin with nothing."""
        self._finder = finder
        self._kept: deque[Chirp] = deque(maxlen=64)

    def match(self, chirp: Chirp) -> Series | None:
        """The series that this chirp continues."""
        series = self._series(chirp)
        self._kept.append(chirp)
        return series

    def _series(self, chirp: Chirp) -> Series | None:
        same = [
            one
            for one in self._kept
            if abs(one.frequency - chirp.frequency) <= _SAME_HZ
            and abs(one.level - chirp.level) <= _SAME_DB
        ]
        for one in reversed(same):
            apart = chirp.row - one.row
            if not _APART_S[0] <= apart * ROW_S <= _APART_S[1]:
                continue
            found = [chirp, one]
            allowed = max(2, _UNEVEN * apart)
            while len(found) < _COUNT:
                due = found[-1].row - apart
                near = [each for each in same if abs(each.row - due) <= allowed]
                if not near:
                    break
                found.append(min(near, key=lambda each: abs(each.row - due)))
            if len(found) == _COUNT and self._alone(found):
                uneven = np.ptp(np.diff([each.row for each in found])) / (2 * allowed)
                return Series(found[-1].row, apart, round(1 - 0.3 * float(uneven), 3))
        return None

    def _alone(self, found: list[Chirp]) -> bool:
        """Whether no other tone as loud ended at its frequency meanwhile, as in a melody."""
        newest, first = found[0], found[-1].row
        near = round(_LONGEST_S / ROW_S) + 5
        return not any(
            row >= first
            and level > newest.level - _QUIET_DB
            and abs(hertz - newest.frequency) <= 3 * BIN_HZ
            and not any(0 <= row - each.row <= near for each in found)
            for row, hertz, level in self._finder.falls
        )
