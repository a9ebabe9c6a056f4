"""Which sound events are open, across streams: one start and one end for each."""

from collections import OrderedDict
from collections.abc import Container
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from .client import Sound

REMEMBERED = 256

type Change = tuple[str, Literal["start", "sustained", "end"]]


class OpenSounds:
    """Turns the sound messages of successive streams into one start and end of each.

    An event that is open when its stream breaks waits: a start of the same label
    on the next stream continues it; after `grace_s` of the next stream, or
    `away_s` without one, it ends with the time of the loss. In between it may be
    told once that the sound is sustained.
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
        if not self._is_new((sound.id, sound.state)):
            return None
        if sound.state == "start":
            return self._started(sound)
        return self._ended(sound) if sound.state == "end" else self._sustained(sound)

    def _is_new(self, change: Change) -> bool:
        """Tell whether this change comes for the first time, and remember it."""
        if change in self._seen:
            return False
        self._seen[change] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True

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

    def _sustained(self, sound: Sound) -> Sound | None:
        """Tell that an open event lasts, unless that was told on an earlier stream."""
        first_id = self._continues.get(sound.id, sound.id)
        if (first := self._open.get(first_id)) is None:
            return None
        if first_id != sound.id and not self._is_new((first_id, "sustained")):
            return None
        # It lasts since the first of several events with short pauses between them.
        return replace(_under(first, sound), start=min(first.start, sound.start))

    def _ended(self, sound: Sound) -> Sound | None:
        """Close an event under the id with which it was opened."""
        first_id = self._continues.pop(sound.id, sound.id)
        if (first := self._open.pop(first_id, None)) is None:
            return None
        self._lost.pop(first_id, None)
        self._settle()
        return _under(first, sound)

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

    def drop(self, labels: Container[str], time: datetime) -> list[Sound]:
        """Close, at `time`, what is of none of these labels; return the ends."""
        ids = [
            event_id
            for event_id, sound in self._open.items()
            if sound.label not in labels
        ]
        for event_id in ids:
            self._lost.setdefault(event_id, time)
        return self._close(ids)

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


def _under(first: Sound, later: Sound) -> Sound:
    """Return what came later of an event, as of the event that was told first."""
    return replace(
        later,
        id=first.id,
        start=first.start,
        score=max(first.score, later.score),
    )
