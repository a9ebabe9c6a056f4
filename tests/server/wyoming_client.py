"""A client of the Wyoming port, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.ping import Ping, Pong
from wyoming.wake import Detection

from model_server.audio import SAMPLE_RATE, Pcm
from tests.server.client import House

OPEN = {"port": 0}
"""The settings of a Wyoming port that any free one will do for."""


class Client:
    """A Wyoming client that sends audio as programs do."""

    def __init__(self, client: AsyncTcpClient) -> None:
        """Speak through this connection."""
        self.client = client

    async def send(self, *events: Eventable) -> None:
        """Send events."""
        for event in events:
            await self.client.write_event(event.event())

    async def next(self) -> Event | None:
        """The next event; None once the server has closed."""
        async with asyncio.timeout(60):
            return await self.client.read_event()

    async def transcript(self) -> str:
        """The text of the next event."""
        event = await self.next()
        assert event is not None
        assert Transcript.is_type(event.type), event
        return Transcript.from_event(event).text

    async def error(self) -> Error:
        """The next event, which must be an error."""
        event = await self.next()
        assert event is not None
        assert Error.is_type(event.type), event
        return Error.from_event(event)

    async def detections(self) -> list[Detection]:
        """What was detected up to the answer to a ping."""
        await self.send(Ping("done"))
        found = []
        while (event := await self.next()) is not None and not Pong.is_type(event.type):
            found.append(Detection.from_event(event))
        return found

    async def play(
        self,
        data: bytes | Pcm,
        rate: int = SAMPLE_RATE,
        width: int = 2,
        channels: int = 1,
        chunk: int = 640,
        start: bool = True,
    ) -> None:
        """Send audio in chunks of so many bytes, with `audio-start` before it."""
        raw = data if isinstance(data, bytes) else data.astype("<i2").tobytes()
        form: dict[str, Any] = {"rate": rate, "width": width, "channels": channels}
        if start:
            await self.send(AudioStart(**form))
        for first in range(0, len(raw), chunk):
            await self.send(AudioChunk(**form, audio=raw[first : first + chunk]))

    async def heard(self, pcm: Pcm, **options: Any) -> str:
        """What the server understands of one utterance."""
        await self.play(pcm, **options)
        await self.send(AudioStop())
        return await self.transcript()


@asynccontextmanager
async def connected(house: House) -> AsyncGenerator[Client]:
    """Connect to the Wyoming port of a server."""
    async with AsyncTcpClient("127.0.0.1", port(house)) as client:
        yield Client(client)


def port(house: House) -> int:
    """The Wyoming port."""
    assert house.server.wyoming is not None
    return int(house.server.wyoming.url.rpartition(":")[2])
