"""One microphone's life: source to stream to results, reconnecting for ever."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
import logging
from typing import Protocol

from .backoff import Backoff
from .buffer import PcmBuffer
from .client import (
    Attend,
    Client,
    Clip,
    ConnectionLost,
    EarshotError,
    InvalidAuth,
    Listen,
    Rules,
    Sensitivity,
    Sound,
    Start,
    Stream,
    Task,
    Wakes,
)
from .client.connection import StreamResult
from .const import HOME
from .open_sounds import OpenSounds
from .sources.base import Source, SourceError

_LOGGER = logging.getLogger(__name__)

SETTLED_S = 30.0
FINISH_S = 30.0


@dataclass(frozen=True)
class Settings:
    """What the server is asked to listen for."""

    slug: str
    tasks: tuple[Task, ...]
    language: str
    labels: tuple[str, ...]
    profile: str = HOME
    sensitivity: Sensitivity = "normal"
    rules: Rules = field(default_factory=dict)
    clips: bool = False
    wake: Wakes = field(default_factory=dict)
    partials: bool = False

    def start(self, time: datetime) -> Start:
        """Return the first frame of a stream whose audio begins at `time`."""
        return Start(
            self.slug,
            self.tasks,
            self.language,
            self.labels if "sounds" in self.tasks else None,
            time,
            profile=self.profile,
            sensitivity=self.sensitivity,
            rules=self.rules,
            clips=self.clips,
            wake=self.wake,
            partials=self.partials,
        )

    def listen(self) -> Listen:
        """Return what to ask of a stream that is open."""
        return Listen(
            self.labels, self.profile, self.sensitivity, self.rules, self.wake
        )


class Listener(Protocol):
    """Who is told what a microphone hears. Called in the event loop; never waits."""

    def heard(self, result: StreamResult) -> None:
        """Take a result."""

    def available(self, available: bool) -> None:
        """Take whether the microphone hears."""

    def connected(self) -> None:
        """Take that a stream began, perhaps in place of another."""

    def token_refused(self) -> None:
        """Take that the server wants another token."""


def utc_now() -> datetime:
    """Return the wall clock."""
    return datetime.now(UTC)


class Microphone:
    """Captures, streams and listens until its task is cancelled."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        source: Source,
        client: Client,
        listener: Listener,
        *,
        sounds: OpenSounds | None = None,
        backoff: Callable[[], Backoff] = Backoff,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Keep what to connect; nothing runs before `run`."""
        self._name = name
        self._settings = settings
        self._source = source
        self._client = client
        self._listener = listener
        self._sounds = sounds or OpenSounds()
        self._backoff = backoff
        self._clock = clock
        self._buffer = PcmBuffer()
        self._changes: asyncio.Queue[Listen | Attend] = asyncio.Queue()
        self._heard_until = clock()
        self._available: bool | None = None
        self._expiry: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Listen until cancelled; then every open sound event is ended."""
        # What was captured before it was last switched off is nobody's business.
        self._buffer = PcmBuffer()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._capture())
                group.create_task(self._stream())
        finally:
            if self._expiry is not None:
                self._expiry.cancel()
            self._tell(self._sounds.close(self._clock()))
            self._available = None
            self._listener.available(False)

    def listen_for(
        self, labels: tuple[str, ...], profile: str, sensitivity: Sensitivity
    ) -> None:
        """Listen for something else from now on; events of other labels end."""
        self._settings = replace(
            self._settings, labels=labels, profile=profile, sensitivity=sensitivity
        )
        if "sounds" in self._settings.tasks:
            self._changes.put_nowait(self._settings.listen())
        self._tell(self._sounds.drop(labels, self._clock()))
        self._schedule_expiry()

    def wake_by(self, wake: Wakes) -> None:
        """Wake by other scores from now on."""
        self._settings = replace(self._settings, wake=wake)
        self._changes.put_nowait(self._settings.listen())

    def attend(self, seconds: float) -> None:
        """Listen to what is said next, without a wake."""
        if self._settings.wake:
            self._changes.put_nowait(Attend(seconds))

    async def _capture(self) -> None:
        """Fill the buffer from the source, for ever."""
        loop = asyncio.get_running_loop()
        backoff = self._backoff()
        while True:
            began = loop.time()
            reason = "the source ended"
            try:
                async with aclosing(self._source.open()) as chunks:
                    async for pcm in chunks:
                        self._buffer.append(pcm, self._clock())
            except SourceError as err:
                reason = str(err)
            self._buffer.cut()
            self._down(reason)
            if loop.time() - began > SETTLED_S:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _stream(self) -> None:
        """Send what the buffer holds over one stream after the other, for ever."""
        backoff = self._backoff()
        while True:
            start = await self._buffer.hold()
            try:
                await self._one_stream(start, backoff)
            except EarshotError as err:
                if isinstance(err, InvalidAuth):
                    self._listener.token_refused()
                self._broken()
                self._down(str(err))
                self._buffer.release()
                await asyncio.sleep(backoff.next())
            else:
                # The audio broke off, not the server: go on with what follows.
                self._broken()

    async def _one_stream(self, time: datetime, backoff: Backoff) -> None:
        """Stream continuous audio from `time` on, until it breaks or the server does."""
        # What changes from here on, this stream has to be told.
        self._changes = asyncio.Queue()
        async with self._client.open_stream(self._settings.start(time)) as stream:
            self._up()
            self._listener.connected()
            self._sounds.resumed(self._clock())
            self._schedule_expiry()
            tasks = (
                asyncio.create_task(self._pump(stream, time)),
                asyncio.create_task(self._steer(stream, self._changes)),
            )
            try:
                async for result in stream.results():
                    backoff.reset()
                    self._result(result)
            finally:
                for task in tasks:
                    task.cancel()
                # Awaited by themselves, their end would hide that this is to end, too.
                ends = await asyncio.gather(*tasks, return_exceptions=True)
            for end in ends:
                if isinstance(end, Exception) and not isinstance(end, ConnectionLost):
                    raise end
            if stream.stopped is None or stream.stopped.reason != "ended":
                raise ConnectionLost("the server shut down")

    async def _steer(
        self, stream: Stream, changes: asyncio.Queue[Listen | Attend]
    ) -> None:
        """Have the server listen for something else whenever that is asked."""
        while True:
            await stream.ask(await changes.get())

    async def _pump(self, stream: Stream, time: datetime) -> None:
        """Send audio while it is continuous, then let the server finish."""
        try:
            while chunks := await self._buffer.take(time):
                time = chunks[-1].end
                await stream.send(b"".join(chunk.pcm for chunk in chunks))
                self._heard_until = time
            await stream.end()
            await asyncio.sleep(FINISH_S)
        finally:
            # Whoever waits for results learns from it that none will come.
            await stream.close()

    def _result(self, result: StreamResult) -> None:
        """Pass a result on, unless it repeats what is known."""
        if isinstance(result, Clip):
            first = self._sounds.first_id(result.id)
            self._listener.heard(replace(result, event=first))
        elif not isinstance(result, Sound):
            self._listener.heard(result)
        elif result.label not in self._settings.labels:
            # Decided before the server knew that nobody listens for it now.
            return
        elif (change := self._sounds.receive(result)) is not None:
            self._listener.heard(change)

    def _broken(self) -> None:
        """Let open sound events wait for the next stream."""
        self._sounds.lost(self._heard_until, self._clock())
        self._schedule_expiry()

    def _schedule_expiry(self) -> None:
        """Have events ended in time that no stream continues."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if (deadline := self._sounds.deadline) is not None:
            wait = (deadline - self._clock()).total_seconds()
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(max(0.0, wait), self._expire)

    def _expire(self) -> None:
        """End what was not continued."""
        self._expiry = None
        self._tell(self._sounds.expire(self._clock()))
        self._schedule_expiry()

    def _tell(self, ends: list[Sound]) -> None:
        """Pass on the ends of sound events."""
        for end in ends:
            self._listener.heard(end)

    def _up(self) -> None:
        """Say once that the microphone hears."""
        if self._available is False:
            _LOGGER.info("Microphone %s hears again", self._name)
        if not self._available:
            self._available = True
            self._listener.available(True)

    def _down(self, reason: str) -> None:
        """Say once that the microphone is deaf, and why."""
        if self._available is not False:
            _LOGGER.warning("Microphone %s does not hear: %s", self._name, reason)
            self._available = False
            self._listener.available(False)
