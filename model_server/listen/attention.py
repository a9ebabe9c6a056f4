"""When a stream is listened to: always, or for a while after somebody asked for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
import math
from typing import TypeAlias

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.ring import Ring
from model_server.listen.endpoint import (
    Endpointer,
    EndpointEvent,
    Pause,
    SpeechStart,
    pause_of,
)
from model_server.listen.wake import Wake, WakeDetector

Words: TypeAlias = Mapping[str, float | None]
"""Wake words, and the score each must exceed; None is its model's own."""

ATTENTION = 5 * SAMPLE_RATE
"""Samples after a wake in which a command may begin."""
KEPT = 4 * SAMPLE_RATE
"""Samples that are kept: a gesture is known only after the silence that follows it."""
_LINGER = SAMPLE_RATE
"""Samples after the attention's end until what began before it is surely found."""


@dataclass(frozen=True)
class Forgotten:
    """What was said up to sample `end` does not count: somebody began anew."""

    end: int


AttentionEvent: TypeAlias = EndpointEvent | Wake | Forgotten


class Attention:
    """Finds utterances: all, or with wake words those that begin soon after a wake.

    Synchronous and deterministic, as the endpointer is, which rests meanwhile.
    """

    def __init__(self, endpointer: Endpointer, wake: Words | None) -> None:
        """Start at sample 0; `wake` is None to listen always.

        It may be empty: then only others wake it, by `attend`.
        """
        self.endpointer = endpointer
        self._ring = Ring(KEPT)
        self._lost = 0
        """Samples that were skipped: positions in here do not count them."""
        self._words = wake
        self._detector = WakeDetector(wake) if wake else None
        self._heard: Pcm = np.zeros(0, np.int16)
        """What came and waits behind a pause that somebody is asked about."""
        self._wakes: deque[Wake] = deque()
        """Found in that, or just now."""
        self._until: float | None = math.inf if wake is None else None
        """Up to where an utterance may begin; None while nobody listens."""
        self._told = False
        """Whether the open utterance has been told of."""
        self.asked = False
        """Whether a wake, not a question, is why it listens."""

    @property
    def told(self) -> bool:
        """Whether somebody speaks of whom it was told."""
        return self._told and self.endpointer.open_samples > 0

    def push(self, pcm: Pcm) -> list[AttentionEvent]:
        """Take samples, (samples,); return what they complete, up to a pause.

        After a `Pause`, `resume` must follow.
        """
        if self._detector is not None:
            self._wakes += self._detector.push(pcm)
        self._heard = np.concatenate([self._heard, pcm])
        return self._advance([])

    def resume(self, pause_s: float | None) -> list[AttentionEvent]:
        """Go on behind a pause, with so long a one as the utterance's end; None: who knows."""
        endpointer = self.endpointer
        if self._until is None:
            # What was heard before it was a command: nobody is listened to any more.
            events = self._forget()
            endpointer.restart(self._ring.end + self._lost)
            return self._advance(events)
        events = self._filter(endpointer.resume(pause_s))
        events += self._filter(endpointer.push(self._heard[:0]))
        return self._advance(events)

    def _advance(self, events: list[AttentionEvent]) -> list[AttentionEvent]:
        """Hear what waits, up to a pause."""
        while not pause_of(events):
            size = self._heard.size
            if self._wakes:
                size = min(size, max(0, self._wakes[0].at - self._ring.end))
            piece, self._heard = self._heard[:size], self._heard[size:]
            events += self._hear(piece)
            if pause_of(events) or not self._wakes:
                break
            wake = self._wakes.popleft()
            moved = replace(wake, at=wake.at + self._lost, end=wake.end + self._lost)
            events += self.attend(moved.end, moved.end + ATTENTION, moved)
        return events

    def attend(
        self, since: int, until: int, wake: Wake | None = None
    ) -> list[AttentionEvent]:
        """Listen to what was said from sample `since` on and begins up to `until`.

        After a wake to one command; else to all, as the first that is heard may be the
        house's own question. Without a wake word all is listened to anyway.
        """
        if self._words is None:
            return []
        if self._until is not None and wake is None:
            self._until = max(self._until, until - self._lost)
            return []
        events = self._forget()
        if wake is not None:
            events.append(wake)
        start = min(max(since - self._lost, self._ring.oldest), self._ring.end)
        self._until = until - self._lost
        self.asked = wake is not None
        self.endpointer.restart(start + self._lost)
        heard = self._ring.read(start, self._ring.end)
        return [*events, *self._filter(self.endpointer.push(heard))]

    def change(self, wake: Words | None) -> None:
        """Listen for other words, with other cutoffs, or always."""
        before, self._words = self._words, wake
        if self._detector and wake and before and wake.keys() == before.keys():
            self._detector.change(wake)
        else:
            self._detector = WakeDetector(wake, self._ring.end) if wake else None
        if wake is None:
            if self._until is None:
                self.endpointer.restart(self._ring.end + self._lost)
            self._until = math.inf
            self.asked = False
        elif before is None:
            # Who speaks already is heard to the end.
            self._until = self._ring.end

    def rest(self) -> None:
        """A command was heard: the next one takes a wake of its own."""
        self._until = None

    def skip(self, samples: int) -> list[AttentionEvent]:
        """Samples were lost: close what is open and go on after the gap."""
        events = self._rest()
        if self._until is not None:
            events += self._filter(self.endpointer.skip(samples))
        self._lost += samples
        return events

    def finish(self) -> list[AttentionEvent]:
        """No more samples follow."""
        events = self._rest()
        if self._until is not None:
            events += self._filter(self.endpointer.finish())
        return events

    def _rest(self) -> list[AttentionEvent]:
        """What still waits, whatever pauses there are in it."""
        events: list[AttentionEvent] = []
        while self._heard.size:
            events += self._advance([])
        return [event for event in events if not isinstance(event, Pause)]

    def _hear(self, pcm: Pcm) -> list[AttentionEvent]:
        self._ring.write(pcm)
        if self._until is None:
            return []
        events = self._filter(self.endpointer.push(pcm))
        late = self._ring.end > self._until + _LINGER
        if late and not self.endpointer.open_samples:
            self._until = None
        return events

    def _filter(self, events: list[EndpointEvent]) -> list[AttentionEvent]:
        """Leave out what began too late."""
        return list(self._counted(events))

    def _counted(self, events: list[EndpointEvent]) -> Iterator[AttentionEvent]:
        assert self._until is not None
        for event in events:
            if event.start - self._lost <= self._until:
                if not isinstance(event, Pause):
                    self._told = isinstance(event, SpeechStart)
                yield event

    def _forget(self) -> list[AttentionEvent]:
        """Nobody waits any more for what is open."""
        told, self._told = self._told, False
        if not told:
            return []
        return [Forgotten(self._ring.end + self._lost)]
