"""Smoke and CO alarms by their rhythm: events of a stream."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import EngineInfo, Pcm
from model_server.monitor.bursts import BurstFinder
from model_server.monitor.groups import Groups
from model_server.monitor.pattern import T3, T4, Pattern
from model_server.monitor.tones import FRAME, HOP, LevelHistory, Power, Spectrogram

ENGINE = EngineInfo("earshot-rhythm", "2")
THRESHOLD = 0.5
"""What the score of a match, 0 to 1, is never below."""

@dataclass(frozen=True)
class RhythmChange:
    """An alarm began or ended; `at` is the sample at which that was known."""

    label: str
    state: Literal["start", "end"]
    at: int
    onset: int
    release: int | None
    score: float


@dataclass
class _Alarm:
    onset: int
    last: int
    score: float


class _Listener:
    """One pattern: its levels, bursts and groups, and the alarm that goes on."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._history = LevelHistory(pattern.every)
        self._finder = BurstFinder(pattern, self._history)
        self._groups = Groups(pattern, self._history)
        self._alarm: _Alarm | None = None

    def push(self, power: Power) -> list[RhythmChange]:
        changes: list[RhythmChange] = []
        rows = self._history.push(power)
        for burst in self._finder.find(rows):
            at = self._sample(burst.end - 1)
            match = self._groups.match(burst)
            if self._alarm is not None:
                if burst.beeps == self._pattern.beeps:
                    self._alarm.last = at
            elif match is not None:
                onset = self._sample(match.onset)
                self._alarm = _Alarm(onset, at, match.score)
                changes.append(self._change("start", at, self._alarm, None))
        return changes + self._expire(self._sample(self._history.rows - 1))

    def _expire(self, now: int) -> list[RhythmChange]:
        alarm = self._alarm
        if alarm is None:
            return []
        slow = alarm.last - alarm.onset > self._pattern.slow_after * SAMPLE_RATE
        hold = self._pattern.slow_hold if slow else self._pattern.hold
        due = alarm.last + round(hold * SAMPLE_RATE)
        if now < due:
            return []
        self._alarm = None
        return [self._change("end", due, alarm, alarm.last)]

    def _change(
        self, state: Literal["start", "end"], at: int, alarm: _Alarm, release: int | None
    ) -> RhythmChange:
        return RhythmChange(
            self._pattern.label, state, at, alarm.onset, release, alarm.score
        )

    def _sample(self, row: int) -> int:
        """The middle of a row."""
        every = self._pattern.every
        return row * every * HOP + (every - 1) * HOP // 2 + FRAME // 2


class RhythmRecognizer:
    """Follows a stream; any cutting into chunks gives the same changes."""

    def __init__(self, labels: Collection[str] = ("smoke", "co")) -> None:
        """Listen for these from sample 0 on."""
        self._spectrogram = Spectrogram()
        self._listeners = [_Listener(one) for one in (T3, T4) if one.label in labels]

    def push(self, pcm: Pcm) -> list[RhythmChange]:
        """Take the next samples; returns the alarms that they began or ended, in order."""
        return [
            change
            for power in self._spectrogram.push(pcm)
            for listener in self._listeners
            for change in listener.push(power)
        ]
