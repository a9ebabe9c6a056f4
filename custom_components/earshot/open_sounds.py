"""Which sound events are open, across streams: one start and one end for each."""

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from .client import Sound

REMEMBERED = 256

type Change = tuple[str, Literal["start", "end"]]


class OpenSounds:
    """Turns the sound messages of successive streams into starts and ends.

    An event that is open when its stream breaks waits: a start of the same label
    on the next stream continues it; after `grace_s` of the next stream, or
    `away_s` without one, it ends with the time of the loss.
    """

    def __init__(self, grace_s: float = 15.0, away_s: float = 60.0) -> None:
        """Start with nothing open."""
        self._grace = timedelta(seconds=grace_s)
        self._away = timedelta(seconds=away_s)
        self._open: dict[str, Sound] = {}
        self._lost: dict[str, datetime] = {}
        self._continues: dict[str, str] = {}
        self._first: OrderedDict[str, str] = OrderedDict()
        self._deadline: datetime | None = None
        self._seen: OrderedDict[Change, None] = OrderedDict()

    @property
    def labels(self) -> frozenset[str]:
        """Return the labels that sound now."""
        return frozenset(sound.label for sound in self._open.values())

    def first_id(self, event: str) -> str:
        """Return under which id an event was published, even after its end."""
        return self._first.get(event, event)

    @property
    def deadline(self) -> datetime | None:
        """Return when `expire` has something to close."""
        return self._deadline

    def receive(self, sound: Sound) -> Sound | None:
        """Take one message; return what to publish, None for a repetition."""
        if (change := (sound.id, sound.state)) in self._seen:
            return None
        self._seen[change] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return self._started(sound) if sound.state == "start" else self._ended(sound)

    def _started(self, sound: Sound) -> Sound | None:
        """Open an event, or continue one that the last stream left open."""
        for first_id in self._lost:
            if self._open[first_id].label == sound.label:
                del self._lost[first_id]
                self._continues[sound.id] = first_id
                self._first[sound.id] = first_id
                while len(self._first) > REMEMBERED:
                    self._first.popitem(last=False)
                self._settle()
                return None
        self._open[sound.id] = sound
        return sound

    def _ended(self, sound: Sound) -> Sound | None:
        """Close an event under the id with which it was opened."""
        first_id = self._continues.pop(sound.id, sound.id)
        if (first := self._open.pop(first_id, None)) is None:
            return None
        self._lost.pop(first_id, None)
        self._settle()
        return replace(
            sound,
            id=first.id,
            start=first.start,
            score=max(first.score, sound.score),
        )

    def lost(self, time: datetime, now: datetime) -> None:
        """Note that the stream broke; audio was heard up to `time`."""
        self._continues.clear()
        for event_id in self._open:
            self._lost.setdefault(event_id, time)
        self._deadline = now + self._away if self._lost else None

    def resumed(self, now: datetime) -> None:
        """Note that the next stream is open: the grace begins."""
        if self._lost:
            self._deadline = now + self._grace

    def expire(self, now: datetime) -> list[Sound]:
        """Close what was not continued in time; return the ends to publish."""
        if self._deadline is None or now < self._deadline:
            return []
        return self._close(list(self._lost))

    def close(self, time: datetime) -> list[Sound]:
        """Close everything, at `time` or when it was lost; return the ends."""
        for event_id in self._open:
            self._lost.setdefault(event_id, time)
        return self._close(list(self._open))

    def _close(self, ids: list[str]) -> list[Sound]:
        """End events with the time at which they were last heard."""
        ends = []
        for event_id in ids:
            first = self._open.pop(event_id)
            # Never before it began: the loss may be noticed by an older clock.
            end = max(self._lost.pop(event_id), first.start)
            self._seen[(event_id, "end")] = None
            ends.append(replace(first, state="end", time=end, end=end))
        self._settle()
        return ends

    def _settle(self) -> None:
        """Forget the deadline when nothing waits for it."""
        if not self._lost:
            self._deadline = None
