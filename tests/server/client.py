"""A running server and a client of its protocol, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from model_server.api.app import create_app
from model_server.api.auth import TokenFile
from model_server.api.server import EarshotServer, bind
from model_server.api.service import Clock, Service
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import (
    AudioDescriber,
    Engines,
    SoundClassifier,
    SpeechRecognizer,
)
from model_server.settings import Settings
from tests.server.voices import say, silence

VOCABULARY: dict[str, Any] = {
    "entities": [
        {
            "id": "light.kitchen",
            "domain": "light",
            "names": ["Kitchen Lights"],
            "area": "kitchen",
        },
        {
            "id": "light.office",
            "domain": "light",
            "names": ["Office Lamp", "Desk Lamp"],
            "area": "office",
        },
    ],
    "areas": [
        {"id": "kitchen", "names": ["Kitchen"], "floor": "ground"},
        {"id": "office", "names": ["Office"]},
    ],
    "floors": [{"id": "ground", "names": ["Ground Floor"]}],
}


@dataclass
class House:
    """A running server."""

    url: str
    token: str
    service: Service
    server: EarshotServer

    @property
    def headers(self) -> dict[str, str]:
        """What lets a client in."""
        return {"Authorization": f"Bearer {self.token}"}

    def http(self, **options: Any) -> httpx.AsyncClient:
        """An HTTP client that may enter."""
        return httpx.AsyncClient(
            base_url=self.url, timeout=60, **({"headers": self.headers} | options)
        )

    async def furnish(self) -> None:
        """Tell the server what may be said."""
        async with self.http() as http:
            response = await http.put("/v1/vocabulary", json=VOCABULARY)
            assert response.status_code == 200, response.text

    async def metric(self, name: str, **labels: str) -> float:
        """One number of /metrics."""
        value = self.service.metrics.registry.get_sample_value(name, labels)
        return value or 0.0

    @asynccontextmanager
    async def stream(self, *tasks: str, **fields: Any) -> AsyncGenerator[Stream]:
        """Open a stream and wait until it is ready."""
        async with self.connect() as stream:
            await stream.start(*tasks, **fields)
            stream.ready = await stream.next()
            assert stream.ready["type"] == "ready", stream.ready
            yield stream

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncGenerator[Stream]:
        """Connect without a word."""
        url = self.url.replace("http", "ws", 1) + "/v1/stream"
        options = {"additional_headers": self.headers, "compression": None} | options
        async with connect(url, **options) as websocket:
            yield Stream(websocket)


class Stream:
    """A client's side of one stream."""

    ready: dict[str, Any]

    def __init__(self, websocket: ClientConnection) -> None:
        """Speak through this connection."""
        self.websocket = websocket
        self.passed: list[dict[str, Any]] = []
        """What `next` was not asked for."""

    async def start(self, *tasks: str, **fields: Any) -> None:
        """Send `start`."""
        message = {"type": "start", "microphone": "hall", "tasks": tasks} | fields
        await self.send(message)

    async def send(self, message: dict[str, Any]) -> None:
        """Send any message."""
        await self.websocket.send(json.dumps(message))

    async def play(self, pcm: Pcm, frame: int = 4096) -> Self:
        """Send samples at once, in frames."""
        data = pcm.astype("<i2").tobytes()
        for first in range(0, len(data), frame):
            await self.websocket.send(data[first : first + frame])
        return self

    async def end(self) -> list[dict[str, Any]]:
        """Send `end` and collect what is still due."""
        await self.websocket.send('{"type": "end"}')
        return await self.rest()

    async def next(self, kind: str | None = None) -> dict[str, Any]:
        """The next message, of a kind if one is given."""
        while True:
            async with asyncio.timeout(60):
                message: dict[str, Any] = json.loads(await self.websocket.recv())
            if kind in {None, message["type"]}:
                return message
            self.passed.append(message)

    async def rest(self) -> list[dict[str, Any]]:
        """All messages until the server closes."""
        messages = []
        with suppress(ConnectionClosed):
            while True:
                messages.append(await self.next())
        return messages

    @property
    def close_code(self) -> int | None:
        """How the server closed."""
        return self.websocket.close_code


@asynccontextmanager
async def running(
    data_dir: Path,
    *,
    recognizer: SpeechRecognizer | None,
    classifier: SoundClassifier | None,
    describer: AudioDescriber | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncGenerator[House]:
    """A server on a free loopback port, stopped in order at the end."""
    made = Settings(**({"data_dir": data_dir, "port": 0} | settings))
    TokenFile(data_dir).ensure()
    engines = Engines(recognizer, classifier, describer)
    app = create_app(made, engines, clock)
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = EarshotServer(app, bind(made.host, made.port), address.set_result)
    task = asyncio.create_task(server.serve())
    await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    yield House(await address, TokenFile(data_dir).read(), app.state.service, server)
    server.should_exit = True
    await task


def of_kind(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Messages of one type."""
    return [message for message in messages if message["type"] == kind]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    """What was understood."""
    return [message["text"] for message in of_kind(messages, "transcript")]


class Offset:
    """A clock that a test moves forward without waiting."""

    def __init__(self) -> None:
        """Begin with the real time."""
        self.seconds = 0.0
        real = Clock()
        self.clock = Clock(lambda: real.monotonic() + self.seconds, real.now)


def command(text: str = "turn on the kitchen lights") -> Pcm:
    """A spoken command with silence around it."""
    return np.concatenate([silence(1), say(text), silence(1)])


def seconds_of(pcm: Pcm) -> float:
    """Length."""
    return pcm.size / SAMPLE_RATE


Serve = Callable[..., Any]
