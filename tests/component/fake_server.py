"""A model server that speaks protocol 1 but hears only what a test tells it."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
import json
from typing import Any
import uuid

from aiohttp import WSMsgType, web

TOKEN = "a-token-for-tests"
LABELS = [
    {
        "slug": "smoke",
        "name": "Smoke alarm",
        "group": "safety",
        "device_class": "smoke",
        "default": True,
    },
    {
        "slug": "co",
        "name": "Carbon monoxide alarm",
        "group": "safety",
        "device_class": "carbon_monoxide",
        "default": True,
    },
    {
        "slug": "bark",
        "name": "Barking dog",
        "group": "animals",
        "device_class": "sound",
        "default": True,
        "sustain_s": 600,
    },
    {
        "slug": "dripping_tap",
        "name": "Dripping tap",
        "group": "home",
        "device_class": "no_such_class",
        "default": False,
    },
]
LIMITS = {
    "max_streams": 8,
    "max_utterance_s": 15.0,
    "max_ahead_s": 15.0,
    "max_message_bytes": 65536,
    "idle_s": 30.0,
}
WAKE_WORDS = [
    {"name": "okay_nabu", "phrase": "Okay Nabu", "languages": ["en"], "cutoff": 0.85},
    {"name": "alexa", "phrase": "Alexa", "languages": ["en"], "cutoff": 0.9},
]
ENGINE = {"name": "fake", "version": "1"}


def default_info() -> dict[str, Any]:
    """Return what the server says about itself."""
    return {
        "name": "earshot",
        "id": "installation-1",
        "version": "0.1.0",
        "protocol": 1,
        "speech": {"engine": ENGINE, "languages": ["en"], "vocabulary": None},
        "sounds": {"engine": ENGINE, "labels": LABELS},
        "limits": LIMITS,
        "streams": 0,
    }


@dataclass
class FakeStream:
    """One stream as the server sees it."""

    socket: web.WebSocketResponse
    start: dict[str, Any]
    listens: list[dict[str, Any]] = field(default_factory=list)
    attends: list[float] = field(default_factory=list)
    pcm: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def begin(self) -> datetime:
        """Return the time of the first sample."""
        return datetime.fromisoformat(self.start["time"])

    async def say(self, message: dict[str, Any]) -> None:
        """Send a message."""
        await self.socket.send_str(json.dumps(message))

    def _head(self, kind: str, message_id: str | None) -> dict[str, Any]:
        return {
            "type": kind,
            "id": message_id or str(uuid.uuid4()),
            "time": datetime.now(UTC).isoformat(),
            "microphone": self.start["microphone"],
        }

    async def sound(
        self,
        label: str,
        state: str,
        event: str,
        score: float = 0.9,
        **evidence: Any,
    ) -> None:
        """Report a sound."""
        now = datetime.now(UTC)
        await self.say(
            self._head("sound", event)
            | {
                "state": state,
                "label": label,
                "score": score,
                "threshold": 0.5,
                "scores": {label: score},
                "start": now.isoformat(),
                "end": now.isoformat() if state == "end" else None,
                "engine": ENGINE,
            }
            | evidence
        )

    async def clip(self, label: str, event: str, seconds: float = 7.5) -> None:
        """Report that a recording is kept."""
        await self.say(
            self._head("clip", event)
            | {
                "label": label,
                "start": datetime.now(UTC).isoformat(),
                "seconds": seconds,
            }
        )

    async def transcript(
        self,
        text: str,
        rejected: str | None = None,
        intent: object = None,
        seconds: float = 1,
        level: float | None = None,
        later_s: float = 0,
    ) -> None:
        """Report an utterance, and what a model understood by it."""
        now = datetime.now(UTC) + timedelta(seconds=later_s)
        await self.say(
            self._head("transcript", None)
            | {
                "text": text,
                "confidence": 0.8,
                "rejected": rejected,
                "intent": intent,
                "language": "en",
                "start": (now - timedelta(seconds=seconds)).isoformat(),
                "end": now.isoformat(),
                "engine": ENGINE,
                "level_dbfs": level,
            }
        )

    async def speech(self, state: str) -> None:
        """Report that somebody began or ceased to speak."""
        await self.say(self._head("speech", None) | {"state": state})

    async def partial(self, text: str) -> None:
        """Report what was said so far."""
        await self.say(self._head("partial", None) | {"text": text})

    async def wake(self, word: str, after_s: float = 0) -> None:
        """Report a wake word that was over so long after the first sample."""
        time = self.begin + timedelta(seconds=after_s)
        await self.say(
            self._head("wake", None)
            | {"time": time.isoformat(), "word": word, "score": 0.97}
        )

    async def level(self, rms: float, later_s: float = 0) -> None:
        """Report loudness."""
        time = datetime.now(UTC) + timedelta(seconds=later_s)
        await self.say(
            {
                "type": "level",
                "time": time.isoformat(),
                "microphone": self.start["microphone"],
                "rms_dbfs": rms,
                "peak_dbfs": rms + 6,
            }
        )

    async def health(self, *problems: str) -> None:
        """Report all that is wrong with the microphone."""
        await self.say(
            {
                "type": "health",
                "time": datetime.now(UTC).isoformat(),
                "microphone": self.start["microphone"],
                "problems": problems,
            }
        )

    async def drop(self) -> None:
        """Break the connection without a word."""
        assert self.socket._req is not None
        if (transport := self.socket._req.transport) is not None:
            transport.abort()
        await self.closed.wait()


class FakeServer:
    """Listens on loopback; `streams` are those opened so far."""

    def __init__(self) -> None:
        """Prepare the answers, which tests may change."""
        self.info: Any = default_info()
        self.token = TOKEN
        self.port = 0
        self.status = 200
        self.refuse_stream: dict[str, Any] | None = None
        self.vocabularies: list[dict[str, Any]] = []
        self.vocabulary_status = 200
        self.compiled = asyncio.Event()
        """Cleared, it keeps who sends a vocabulary waiting."""
        self.compiled.set()
        self.streams: list[FakeStream] = []
        self.clips: list[dict[str, Any]] = []
        self.files: dict[str, Any] = {}
        """What is answered for a clip's file, by its name with suffix."""
        self.clips_status = 200
        self.asked: list[str] = []
        """The microphones whose clips were asked for."""
        self.utterance = "turn on the kitchen light"
        self.rejected: str | None = None
        self._opened = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application(middlewares=[self._check])
        app.router.add_get("/v1/info", self._info)
        app.router.add_put("/v1/vocabulary", self._vocabulary)
        app.router.add_get("/v1/stream", self._stream)
        app.router.add_get("/v1/clips", self._clips)
        app.router.add_get("/v1/clips/{file}", self._clip)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Vanish, with every connection."""
        if self._runner is not None:
            for stream in self.streams:
                if not stream.closed.is_set():
                    await stream.drop()
            await self._runner.cleanup()
            self._runner = None

    async def stream(self, number: int = 1) -> FakeStream:
        """Wait for the stream with this number."""
        async with self._opened:
            await self._opened.wait_for(lambda: len(self.streams) >= number)
        return self.streams[number - 1]

    @web.middleware
    async def _check(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPUnauthorized
        if self.status != 200:
            return web.Response(status=self.status)
        return await handler(request)

    async def _info(self, request: web.Request) -> web.Response:
        if isinstance(self.info, dict):
            return web.json_response(self.info)
        return web.Response(body=self.info)

    async def _vocabulary(self, request: web.Request) -> web.Response:
        if self.vocabulary_status != 200:
            return web.Response(status=self.vocabulary_status)
        self.vocabularies.append(await request.json())
        await self.compiled.wait()
        version = f"v{len(self.vocabularies)}"
        if isinstance(self.info, dict) and self.info["speech"]:
            self.info["speech"]["vocabulary"] = version
        return web.json_response(
            {
                "version": version,
                "sentences": 10,
                "words": 5,
                "guessed": [],
                "seconds": 0.1,
            }
        )

    async def _clips(self, request: web.Request) -> web.Response:
        self.asked.append(request.query["microphone"])
        return web.json_response({"clips": self.clips}, status=self.clips_status)

    async def _clip(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.query["microphone"])
        answer = self.files.get(request.match_info["file"])
        if answer is None or self.clips_status != 200:
            return web.Response(status=self.clips_status if answer else 404)
        if callable(answer):
            response: web.StreamResponse = await answer(request)
            return response
        return web.FileResponse(answer)

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        start = json.loads((await socket.receive()).data)
        if self.refuse_stream is not None:
            await socket.send_str(json.dumps(self.refuse_stream))
            await socket.close(code=1008)
            return socket
        await socket.send_str(
            json.dumps(
                {
                    "type": "ready",
                    "protocol": 1,
                    "session": "s",
                    "version": "0.1.0",
                    "labels": start.get("labels") or [],
                    "limits": LIMITS,
                }
            )
        )
        stream = FakeStream(socket, start)
        async with self._opened:
            self.streams.append(stream)
            self._opened.notify_all()
        try:
            await self._receive(stream)
        finally:
            stream.closed.set()
        return socket

    async def _receive(self, stream: FakeStream) -> None:
        async for frame in stream.socket:
            if frame.type is WSMsgType.BINARY:
                stream.pcm += frame.data
            elif frame.type is WSMsgType.TEXT:
                message = json.loads(frame.data)
                if message["type"] == "listen":
                    stream.listens.append(message)
                    asked = ("labels", "profile", "sensitivity")
                    await stream.say(
                        {"type": "listening"} | {name: message[name] for name in asked}
                    )
                    continue
                if message["type"] == "attend":
                    stream.attends.append(message["seconds"])
                    continue
                stream.ended.set()
                if "transcribe" in stream.start["tasks"]:
                    text = "" if self.rejected else self.utterance
                    await stream.transcript(text, self.rejected)
                await stream.say({"type": "stopped", "reason": "ended"})
                await stream.socket.close()
