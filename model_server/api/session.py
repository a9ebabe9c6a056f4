"""One stream's life: its client is read, its audio goes down the lanes, results go out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
import logging
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from model_server import __version__
from model_server.api.checkup import Rounds
from model_server.api.choice import Choice, choose
from model_server.api.command_lane import CommandLane
from model_server.api.dictation import DictationLane
from model_server.api.feed import Feed
from model_server.api.ids import uuid7
from model_server.api.intake import (
    Pace,
    PcmFrames,
    StreamError,
    check_start,
    parse_text,
)
from model_server.api.lanes import Lane
from model_server.api.messages import (
    Attend,
    Error,
    Health,
    Level,
    Listen,
    Listening,
    Message,
    Ready,
    Start,
    Stopped,
    Task,
)
from model_server.api.refusals import EngineFailedError
from model_server.api.service import FAREWELL_S, Service
from model_server.api.sound_lane import SoundLane
from model_server.api.wake_lane import WakeLane
from model_server.api.waking import Waking, waking
from model_server.audio import SAMPLE_RATE
from model_server.audio.health import Problem
from model_server.audio.level import LevelMeter
from model_server.engines.base import EngineError, SpeechRecognizer
from model_server.monitor.rules import Tuning

MAX_WAITING = 256
"""Messages that may wait for a slow client."""
CLOSE_NORMAL, CLOSE_GOING_AWAY, CLOSE_POLICY, CLOSE_ENGINE = 1000, 1001, 1008, 1011

_LOGGER = logging.getLogger(__name__)


class Session:
    """A connected client. `run` returns when the connection is over."""

    def __init__(self, service: Service, websocket: WebSocket) -> None:
        """Serve a WebSocket that was accepted."""
        limits = service.limits
        self._service = service
        self._websocket = websocket
        self._waiting: asyncio.Queue[Message | None] = asyncio.Queue(MAX_WAITING)
        self._stop = asyncio.Event()
        self._over = asyncio.Event()
        # Room for the largest backlog: it comes faster than any engine works.
        self._feed = Feed(
            2 + max(limits.max_ahead_s, limits.max_utterance_s), service.metrics
        )
        self._origin: datetime | None = None
        self._sounds: SoundLane | None = None
        self._commands: CommandLane | None = None
        self._rounds: Rounds | None = None
        self.microphone = ""
        self.language = ""

    def at(self, sample: int) -> datetime:
        """UTC time of a sample, by the audio clock."""
        if self._origin is None:
            self._origin = self._service.clock.now()
        return self._origin + timedelta(seconds=sample / SAMPLE_RATE)

    async def say(self, message: Message) -> None:
        """Send a message after those that wait already."""
        await self._waiting.put(message)

    def stop(self) -> asyncio.Task[bool]:
        """Stop because the server does; the task is done when the client knows."""
        self._stop.set()
        return asyncio.create_task(self._over.wait())

    async def run(self) -> None:
        """Serve until the client ends, breaks a rule or vanishes, or the server stops."""
        sessions = self._service.sessions
        full = len(sessions) >= self._service.settings.max_streams
        if not full:
            sessions.add(self)
            self._service.metrics.streams.set(len(sessions))
        writer = asyncio.create_task(self._write())
        try:
            last, code = await self._outcome(full)
            await self._farewell(last, code, writer)
        except WebSocketDisconnect:
            _LOGGER.info("%s left without `end`", self.microphone or "A client")
        finally:
            sessions.discard(self)
            if self._rounds is not None:
                self._rounds.end(self._service.clock.monotonic())
            self._service.metrics.streams.set(len(sessions))
            self._over.set()
            writer.cancel()
            # Whatever it failed with, the reader has met too.
            await asyncio.gather(writer, return_exceptions=True)

    async def _outcome(self, full: bool) -> tuple[Stopped | Error, int]:
        """Serve, and tell how it ended: the last message and the close code."""
        try:
            stopping = asyncio.create_task(self._stop.wait())
            if await _first(self._converse(full), stopping):
                return Stopped(reason="ended"), CLOSE_NORMAL
            return Stopped(reason="shutdown"), CLOSE_GOING_AWAY
        except StreamError as error:
            code = CLOSE_POLICY
            refusal = Error(code=error.code, message=error.message)
        except WebSocketDisconnect:
            raise
        except EngineError as error:
            code = CLOSE_ENGINE
            refusal = Error(code="engine_failed", message=str(error))
        except Exception as error:  # noqa: BLE001 - a defect must end one stream only
            # An engine's own failure was reported where it was caught.
            if not isinstance(error, EngineFailedError):
                self._service.report("stream", error)
            code = CLOSE_ENGINE
            refusal = Error(
                code="engine_failed",
                message="The engine failed on this stream: connect again; the "
                "server's log says where it failed.",
            )
        self._service.metrics.errors.labels(refusal.code).inc()
        return refusal, code

    async def _farewell(
        self, last: Stopped | Error, code: int, writer: asyncio.Task[None]
    ) -> None:
        """Send what still waits, then the last message, unless the client is deaf."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self.say(last)
                await self._waiting.put(None)
                await writer
                await self._websocket.close(code)

    async def _write(self) -> None:
        """The one writer."""
        while (message := await self._waiting.get()) is not None:
            await self._websocket.send_text(message.model_dump_json())

    async def _converse(self, full: bool) -> None:
        """Everything from `start` to the last result, unless the server is full."""
        if full:
            raise StreamError(
                "too_many_streams",
                f"All {self._service.settings.max_streams} streams are taken: end "
                "one, or start the server with a larger --max-streams.",
            )
        frame = await self._receive()
        if isinstance(frame, bytes):
            raise StreamError("bad_message", "Send `start` before audio.")
        start = check_start(parse_text(frame))
        wake = self._waking(start, start.tasks)
        choice = self._choice(start, wake)
        recognizer = self._recognizer(start)
        self.microphone = start.microphone
        self._origin = start.time
        _LOGGER.info("%s streams: %s", self.microphone, ", ".join(start.tasks))
        await self.say(
            Ready(
                session=uuid7(),
                version=__version__,
                labels=choice.slugs,
                limits=self._service.limits,
            )
        )
        lanes: list[Lane] = []
        closing = ExitStack()
        if "sounds" in start.tasks:
            self._sounds = SoundLane(self._service, self, choice, clips=start.clips)
            closing.callback(self._sounds.close)
            lanes.append(self._sounds)
        if recognizer and "commands" in start.tasks:
            self._commands = CommandLane(
                self._service,
                self,
                recognizer,
                wake,
                self._sounds,
                partials=start.partials,
            )
            lanes.append(self._commands)
        levels = bool(lanes)
        if levels:
            service = self._service
            self._rounds = Rounds(
                service.checkups,
                service.metrics.problems,
                self.microphone,
                service.clock.monotonic(),
            )
        elif recognizer:
            dictation = DictationLane(
                self._service, self, recognizer, partials=start.partials
            )
            lanes.append(dictation)
        elif wake:
            lanes.append(WakeLane(self._service, self, wake.words))
        with closing:
            work = self._feed.drive_all(lanes)
            await _first(work, asyncio.create_task(self._read(levels=levels)))

    def _choice(self, message: Start | Listen, wake: Waking | None) -> Choice:
        """The sounds that a stream reports, none if it has no task for them."""
        if isinstance(message, Start) and "sounds" not in message.tasks:
            return Choice([], Tuning())
        return choose(message, self._service.catalogue, wake.gestures if wake else ())

    def _waking(
        self, message: Start | Listen, tasks: Collection[Task]
    ) -> Waking | None:
        """What wakes a stream, which must have the tasks for it."""
        wake = waking(message, self._service.catalogue)
        if wake is None and "wake" not in tasks:
            return None
        if wake is None or not {"commands", "wake"} & set(tasks):
            raise StreamError(
                "bad_message",
                "`wake` names what wakes a stream with the task `commands` or `wake`.",
            )
        if wake.gestures and "sounds" not in tasks:
            raise StreamError(
                "bad_message", "A gesture wakes only a stream with the task `sounds`."
            )
        return wake

    async def _listen(self, message: Listen, heard: int) -> None:
        """Report other sounds and wake by others, of what follows `heard` samples."""
        lanes: dict[Task, Lane | None] = {
            "sounds": self._sounds,
            "commands": self._commands,
        }
        tasks = [task for task, lane in lanes.items() if lane]
        if not tasks:
            raise StreamError(
                "bad_message",
                "`listen` is for a stream with the task `sounds` or `commands`.",
            )
        wake = self._waking(message, tasks)
        slugs: list[str] = []
        if self._sounds is not None:
            choice = self._choice(message, wake)
            self._sounds.listen(heard, choice)
            slugs = choice.slugs
        if self._commands is not None:
            self._commands.listen(heard, wake)
        await self.say(
            Listening(
                labels=slugs,
                profile=message.profile,
                sensitivity=message.sensitivity,
                wake=list(message.wake),
            )
        )

    def _attend(self, message: Attend, heard: int) -> None:
        """Listen without a wake to what follows `heard` samples."""
        if self._commands is None:
            raise StreamError(
                "bad_message", "`attend` is for a stream with the task `commands`."
            )
        self._commands.attend(heard, message.seconds)

    def _recognizer(self, start: Start) -> SpeechRecognizer | None:
        """The engine of a stream that hears speech, in its language."""
        if not {"commands", "transcribe"} & set(start.tasks):
            return None
        recognizer = self._service.recognizer
        if recognizer is None:
            raise StreamError("unsupported_task", "This server has no speech engine.")
        language = self._service.spoken(start.language)
        if language is None:
            spoken = ", ".join(recognizer.languages)
            raise StreamError(
                "unsupported_language", f"The speech engine's languages: {spoken}."
            )
        self.language = language
        return recognizer

    async def _receive(self) -> str | bytes:
        """The next frame. Raises StreamError idle, WebSocketDisconnect."""
        idle_s = None if self._feed.ended else self._service.settings.idle_s
        try:
            async with asyncio.timeout(idle_s):
                event = await self._websocket.receive()
        except TimeoutError:
            raise StreamError(
                "idle",
                f"Nothing came for {idle_s:g} s: send zeros while a microphone is "
                "silent, and `end` when it stops.",
            ) from None
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1006))
        text: str | None = event.get("text")
        data: bytes | None = event.get("bytes")
        return text if text is not None else data or b""

    async def _read(self, *, levels: bool) -> None:
        """The one reader. Goes on after `end`, to notice a client that vanishes."""
        service = self._service
        limits = service.limits
        frames = PcmFrames()
        meter = LevelMeter()
        # A whole utterance may come at once, whatever the limit for microphones.
        ahead_s = (
            limits.max_ahead_s
            if levels
            else max(limits.max_ahead_s, limits.max_utterance_s)
        )
        pace = Pace(ahead_s, service.clock.monotonic())
        heard = 0
        while True:
            frame = await self._receive()
            if self._feed.ended:
                raise StreamError("bad_message", "Nothing may follow `end`.")
            if isinstance(frame, str):
                message = parse_text(frame)
                if isinstance(message, Start):
                    raise StreamError("bad_message", "A stream has one `start`.")
                if isinstance(message, Listen):
                    await self._listen(message, heard)
                elif isinstance(message, Attend):
                    self._attend(message, heard)
                else:
                    self._feed.end()
                continue
            pcm = frames.push(frame)
            heard += pcm.size
            pace.count(pcm.size, service.clock.monotonic())
            self.at(0)  # The audio clock starts with the first frame.
            self._feed.write(pcm)
            if self._rounds is not None:
                self._rounds.push(pcm, service.clock.monotonic(), self._say_health)
            for level in meter.push(pcm) if levels else ():
                self._say_level(
                    Level(
                        time=self.at(level.end),
                        microphone=self.microphone,
                        rms_dbfs=round(level.rms_dbfs, 1),
                        peak_dbfs=round(level.peak_dbfs, 1),
                    )
                )

    def _say_health(self, sample: int, problems: tuple[Problem, ...]) -> bool:
        """Say what is wrong with the microphone; False if the client is too slow."""
        if self._waiting.full():
            return False
        self._waiting.put_nowait(
            Health(
                time=self.at(sample),
                microphone=self.microphone,
                problems=list(problems),
            )
        )
        return True

    def _say_level(self, level: Level) -> None:
        """A level is worth nothing late: a client that is too slow loses it."""
        if self._waiting.qsize() < MAX_WAITING // 2:
            self._waiting.put_nowait(level)
        else:
            self._service.metrics.dropped_messages.inc()


async def _first(work: Coroutine[Any, Any, None], guard: asyncio.Task[Any]) -> bool:
    """Run `work` until it ends (True) or `guard` does (False); raises what they raise."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, guard}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        guard.result()
        return False
    finally:
        task.cancel()
        guard.cancel()
        await asyncio.gather(task, guard, return_exceptions=True)
