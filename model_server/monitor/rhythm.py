"""Smoke and CO alarms by their rhythm: events of a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import EngineInfo, Pcm
from model_server.monitor.pattern import T3, T4, Pattern, find_group, find_match
from model_server.monitor.tones import Pulse, ToneTracker

ENGINE = EngineInfo("earshot-rhythm", "1")
THRESHOLD = 0.5
"""What the score of a match, 0 to 1, is never below."""

_KEPT = 16 * SAMPLE_RATE


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


class RhythmRecognizer:
    """Follows a stream; any cutting into chunks gives the same changes."""

    def __init__(self, patterns: Sequence[Pattern] = (T3, T4)) -> None:
        """Listen for these patterns from sample 0 on."""
        self._patterns = tuple(patterns)
        self._tracker = ToneTracker([one.rise_db for one in self._patterns])
        self._pulses: list[deque[Pulse]] = [
            deque() for _ in range(self._tracker.channels)
        ]
        self._alarms: dict[str, _Alarm] = {}
        self._heard = 0

    def push(self, pcm: Pcm) -> list[RhythmChange]:
        """Take the next samples; returns the alarms that they began or ended, in order."""
        changes: list[RhythmChange] = []
        for channel, pulse in self._tracker.push(pcm):
            self._expire(pulse.off, changes)
            pulses = self._pulses[channel]
            pulses.append(pulse)
            while pulses[0].off < pulse.off - _KEPT:
                pulses.popleft()
            pattern = self._patterns[channel // self._tracker.bands]
            self._follow(pattern, pulses, changes)
        self._heard += len(pcm)
        # The tracker is at most a block behind the stream: what it may still report
        # must not come after an end that was given too early.
        self._expire(self._heard - SAMPLE_RATE // 8, changes)
        return changes

    def _follow(
        self, pattern: Pattern, pulses: deque[Pulse], changes: list[RhythmChange]
    ) -> None:
        alarm = self._alarms.get(pattern.label)
        newest = pulses[-1]
        if alarm is not None:
            if find_group(pattern, pulses):
                alarm.last = newest.off
            return
        match = find_match(pattern, pulses)
        if match is not None:
            self._alarms[pattern.label] = _Alarm(match.onset, newest.off, match.score)
            changes.append(
                RhythmChange(
                    pattern.label, "start", newest.off, match.onset, None, match.score
                )
            )

    def _expire(self, now: int, changes: list[RhythmChange]) -> None:
        for pattern in self._patterns:
            alarm = self._alarms.get(pattern.label)
            if alarm is None:
                continue
            slow = alarm.last - alarm.onset > pattern.slow_after * SAMPLE_RATE
            due = alarm.last + round(
                (pattern.slow_hold if slow else pattern.hold) * SAMPLE_RATE
            )
            if now >= due:
                del self._alarms[pattern.label]
                changes.append(
                    RhythmChange(
                        pattern.label, "end", due, alarm.onset, alarm.last, alarm.score
                    )
                )
