"""Sound events of a stream, and the gestures that wake it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from model_server.api.choice import Choice
from model_server.api.ids import uuid7
from model_server.api.lanes import Stream
from model_server.api.messages import Sound
from model_server.api.schedule import Schedule
from model_server.api.service import Service, engine_message
from model_server.api.telling import Teller
from model_server.audio import Pcm
from model_server.monitor import rhythm
from model_server.monitor.journal import Facts, Journal
from model_server.monitor.monitor import SoundChange, SoundMonitor
from model_server.monitor.timeline import Gap, Timeline, place

Made: TypeAlias = Callable[[str, int, float], None]
"""Told of a gesture: its label, the sample after it, and its score."""


class SoundLane:
    """Sound events, on the sounds thread."""

    task = "sounds"

    def __init__(
        self,
        service: Service,
        stream: Stream,
        choice: Choice,
        *,
        clips: bool = False,
    ) -> None:
        """Watch for what was chosen; `clips` says that the client wants recordings."""
        self.made: Made | None = None
        """Who wants to know of gestures."""
        self._progress = asyncio.Event()
        self._over = False
        self._service = service
        self._stream = stream
        self._pushed = 0
        self._gaps = [Gap(0, 0)]
        self._journal = self._open_journal()
        self._monitor = SoundMonitor(
            service.classifier, choice.labels, choice.tuning, self._journal
        )
        self._choices: Schedule[Choice] = Schedule()
        self._open: dict[int, tuple[str, float]] = {}
        """Id and highest score of each event that has begun."""
        self._teller = Teller(service, stream, self._at, clips=clips)

    def listen(self, heard: int, choice: Choice) -> None:
        """Watch for others once the stream has come to this sample.

        Raises StreamError if too many wait for that.
        """
        self._choices.add(heard, choice, instead=True)

    async def take(self, pcm: Pcm) -> None:
        """Look for sounds that begin or end."""
        while pcm.size:
            await self._choose()
            size = self._choices.before(self._position, pcm.size)
            self._teller.hear(pcm[:size])
            changes = await self._service.work("sounds", self._monitor.push, pcm[:size])
            self._pushed += size
            pcm = pcm[size:]
            await self._say(changes)
            self._progress.set()

    async def reached(self, sample: int) -> None:
        """Wait until all gestures that can be known at a sample were told. For one."""
        while self._position < sample and not self._over:
            self._progress.clear()
            await self._progress.wait()

    async def _choose(self) -> None:
        """Watch for what was chosen up to here."""
        for choice in self._choices.due(self._position):
            await self._say(
                await self._service.work(
                    "sounds", self._monitor.listen, choice.labels, choice.tuning
                )
            )

    async def _say(self, changes: list[SoundChange]) -> None:
        for change in changes:
            sample = change.onset if change.release is None else change.release
            await self._teller.tell(self._message(change), sample)
            if self.made and change.release is not None and "gesture" in change.gates:
                over = place(self._gaps, change.release)
                self.made(change.label, over, change.score)
        self._teller.advance()

    @property
    def _position(self) -> int:
        """The stream's next sample."""
        return self._pushed + self._gaps[-1].lost

    async def skip(self, samples: int) -> None:
        """The monitor hears no gap; later times are moved by it."""
        self._gaps.append(Gap(self._pushed, self._gaps[-1].lost + samples))
        if self._journal is not None:
            self._journal.flush()
        self._progress.set()

    async def finish(self) -> None:
        """Events stay open: the next stream of the microphone may continue them."""
        await self._choose()
        self._over = True
        self._progress.set()
        await self._teller.finish()

    def close(self) -> None:
        """The stream is over, in order or not."""
        self._teller.close()
        if self._journal is not None:
            # Behind whatever its monitor still works on.
            self._service.release("sounds", self._journal.close)

    def _open_journal(self) -> Journal | None:
        """Where the stream's scores are kept, if they are."""
        log, classifier = self._service.score_log, self._service.classifier
        if log is None:
            return None
        facts = Facts(
            stream=uuid7(),
            microphone=self._stream.microphone,
            engine=rhythm.ENGINE if classifier is None else classifier.info,
            labels=() if classifier is None else tuple(classifier.labels),
            window=0 if classifier is None else classifier.window,
        )
        return log.journal(
            facts, lambda: Timeline(self._stream.at(0), tuple(self._gaps))
        )

    def _at(self, sample: int) -> datetime:
        """UTC time of the monitor's sample."""
        return self._stream.at(place(self._gaps, sample))

    def _message(self, change: SoundChange) -> Sound:
        """A change as sent."""
        if change.state == "start":
            self._open[change.event] = (uuid7(), change.score)
        event, highest = self._open[change.event]
        score = max(highest, change.score)
        if change.state == "end":
            del self._open[change.event]
        start = self._at(change.onset)
        end = None if change.release is None else self._at(change.release)
        known = start if change.state == "start" else self._at(change.at)
        return Sound(
            id=event,
            time=end or known,
            microphone=self._stream.microphone,
            state=change.state,
            label=change.label,
            score=score,
            threshold=change.threshold,
            scores=change.scores,
            windows=list(change.windows),
            gates=list(change.gates),
            start=start,
            end=end,
            engine=engine_message(change.engine),
            profile=change.profile,
        )
