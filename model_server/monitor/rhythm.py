"""Smoke and CO alarms and low batteries by their rhythm: events of a stream."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import EngineInfo, Pcm
from model_server.monitor import chirps
from model_server.monitor.bursts import BurstFinder
from model_server.monitor.groups import Groups
from model_server.monitor.pattern import T3, T4, Pattern
from model_server.monitor.tones import FRAME, HOP, LevelHistory, Power, Spectrogram

ENGINE = EngineInfo("earshot-rhythm", "2")
THRESHOLD = 0.5
"""What the score of a match, 0 to 1, is never below."""
LABELS = (T3.label, T4.label, chirps.LABEL)
"""What is known by its rhythm."""


@dataclass(frozen=True)
class RhythmChange:
    """An alarm began or ended; `at` is the sample at which that was known."""

    label: str
    state: Literal["start", "end"]
    at: int
    onset: int
    release: int | None
    score: float


@dataclass(frozen=True)
class _Found:
    """Something of a rhythm ended in this row; `onset` and `hold` if that tells an event."""

    row: int
    onset: int | None = None
    score: float = 0.0
    hold_s: float = 0.0


@dataclass
class _Event:
    onset: int
    last: int
    score: float
    hold_s: float


class _Listener(Protocol):
    """Finds one rhythm in a stream's spectra."""

    label: str
    every: int
    history: LevelHistory

    def find(self, rows: int) -> Iterator[_Found]: ...

    def hold_s(self, event: _Event) -> float: ...


class _Alarm:
    """Groups of beeps."""

    def __init__(self, pattern: Pattern) -> None:
        self.label = pattern.label
        self.every = pattern.every
        self.history = LevelHistory(pattern.every)
        self._pattern = pattern
        self._finder = BurstFinder(pattern, self.history)
        self._groups = Groups(pattern, self.history)

    def find(self, rows: int) -> Iterator[_Found]:
        for burst in self._finder.find(rows):
            match = self._groups.match(burst)
            row = burst.end - 1
            if match is not None:
                yield _Found(row, match.onset, match.score, self._pattern.hold)
            elif burst.beeps == self._pattern.beeps:
                yield _Found(row)

    def hold_s(self, event: _Event) -> float:
        slow = event.last - event.onset > self._pattern.slow_after * SAMPLE_RATE
        return self._pattern.slow_hold if slow else event.hold_s


class _LowBattery:
    """Chirps."""

    label = chirps.LABEL
    every = chirps.EVERY

    def __init__(self) -> None:
        self.history = LevelHistory(self.every)
        self._finder = chirps.ChirpFinder(self.history)
        self._chirps = chirps.Chirps(self._finder)

    def find(self, rows: int) -> Iterator[_Found]:
        for chirp in self._finder.find(rows):
            series = self._chirps.match(chirp)
            if series is not None:
                # One may be missed, and what is at the end of its charge is not regular.
                hold_s = 2.5 * series.apart * chirps.ROW_S
                yield _Found(chirp.row, series.onset, series.score, hold_s)

    def hold_s(self, event: _Event) -> float:
        return event.hold_s


class RhythmRecognizer:
    """Follows a stream; any cutting into chunks gives the same changes."""

    def __init__(self, labels: Collection[str] = LABELS) -> None:
        """Listen for these from sample 0 on."""
        self._spectrogram = Spectrogram()
        everything: list[_Listener] = [_Alarm(T3), _Alarm(T4), _LowBattery()]
        self._listeners = [one for one in everything if one.label in labels]
        self._events: dict[str, _Event] = {}

    def push(self, pcm: Pcm) -> list[RhythmChange]:
        """Take the next samples; returns the events that they began or ended, in order."""
        changes: list[RhythmChange] = []
        for power in self._spectrogram.push(pcm):
            for listener in self._listeners:
                self._listen(listener, power, changes)
        return changes

    def _listen(
        self, listener: _Listener, power: Power, changes: list[RhythmChange]
    ) -> None:
        label = listener.label
        rows = listener.history.push(power)
        for found in listener.find(rows):
            at = _sample(found.row, listener.every)
            event = self._events.get(label)
            if event is not None:
                event.last = max(event.last, at)
            elif found.onset is not None:
                now = _sample(listener.history.rows - 1, listener.every)
                onset = _sample(found.onset, listener.every)
                self._events[label] = _Event(onset, at, found.score, found.hold_s)
                changes.append(
                    RhythmChange(label, "start", now, onset, None, found.score)
                )
        event = self._events.get(label)
        if event is None:
            return
        due = event.last + round(listener.hold_s(event) * SAMPLE_RATE)
        if _sample(listener.history.rows - 1, listener.every) >= due:
            del self._events[label]
            changes.append(
                RhythmChange(label, "end", due, event.onset, event.last, event.score)
            )


def _sample(row: int, every: int) -> int:
    """The middle of a row of frames."""
    return row * every * HOP + (every - 1) * HOP // 2 + FRAME // 2
