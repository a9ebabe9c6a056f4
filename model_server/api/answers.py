"""Answers about a clip: from the describer's thread to whoever asked, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from io import BytesIO
import json
import threading
from typing import Any, Final

import numpy as np
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from model_server.api.refusals import RefusedError
from model_server.api.service import Service
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.decode import decode_audio
from model_server.engines.base import CUT, AudioDescriber, EngineError

THE_FILE: Final = "The file"
"""What an upload is called in errors: its own name is the client's business."""


STOPPING: Final = "The server is being stopped: ask again when it is back."


@dataclass(frozen=True)
class Question:
    """What is asked about a clip, (samples,)."""

    pcm: Pcm
    instruction: str
    schema: Mapping[str, Any] | None
    max_tokens: int


def describer_of(service: Service) -> AudioDescriber:
    """The engine that answers. Raises RefusedError where there is none."""
    if service.describer is None:
        raise RefusedError(
            501,
            "no_descriptions",
            "This server has no engine that answers questions about audio: set "
            '`descriptions` to "midashenglm" or "remote" in its configuration.',
        )
    return service.describer


async def decoded(service: Service, data: bytes, max_seconds: float) -> Pcm:
    """A whole file as PCM, (samples,). Raises DecodeError."""
    limit = round(max_seconds * SAMPLE_RATE)

    def decode() -> Pcm:
        with decode_audio(BytesIO(data), THE_FILE, limit) as audio:
            return np.concatenate([np.zeros(0, np.int16), *audio.blocks])

    return await service.work("files", decode)


class Answer:
    """An answer on its way. `cut` tells, once it is over, that `max_tokens` ended it."""

    def __init__(
        self, service: Service, describer: AudioDescriber, question: Question
    ) -> None:
        """Ask nothing yet."""
        self.cut = False
        self._service = service
        self._describer = describer
        self._question = question
        # Not bounded but by the answer's tokens: a client that reads slowly must not
        # keep a thread and a place in the engine's batch.
        self._said: asyncio.Queue[str | None] = asyncio.Queue()
        self._left = threading.Event()

    def stop(self) -> None:
        """End it because the server stops."""
        self._said.put_nowait(None)

    async def pieces(self) -> AsyncGenerator[str]:
        """The text as it comes. Closing it frees what the engine holds for it.

        Raises EngineError and EngineFailedError.
        """
        service = self._service
        loop = asyncio.get_running_loop()
        asking = asyncio.create_task(service.work("describe", self._ask, loop))
        asking.add_done_callback(self._over)
        service.answers.add(self)
        try:
            while (piece := await self._said.get()) is not None:
                yield piece
            if not asking.done():
                raise EngineError(STOPPING)
            self.cut = await asking
        finally:
            service.answers.discard(self)
            self._left.set()
            # One that still waits for a thread never begins.
            asking.cancel()

    def _ask(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Iterate on one thread, as engines keep state by thread; whether it was cut."""
        asked = self._question
        answering = self._describer.describe(
            asked.pcm, asked.instruction, asked.schema, asked.max_tokens
        )
        try:
            while not self._left.is_set():
                piece = next(answering)
                loop.call_soon_threadsafe(self._said.put_nowait, piece)
        except StopIteration as end:
            return bool(end.value == CUT)
        finally:
            close = getattr(answering, "close", None)
            if close is not None:
                close()
        return False

    def _over(self, asking: asyncio.Task[bool]) -> None:
        # Looked at even if nobody waits any more, so that asyncio need not complain.
        if not asking.cancelled():
            asking.exception()
        self._said.put_nowait(None)


async def joined(pieces: AsyncIterator[str]) -> str:
    """All of an answer, or the rest of it."""
    return "".join([piece async for piece in pieces])


def event(content: Mapping[str, object]) -> str:
    """JSON as one server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


class EventStream(StreamingResponse):
    """Server-sent events that hold something open until the last one, or the client, went."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str], held: AsyncExitStack) -> None:
        """`held` is closed after the events, however they end."""
        super().__init__(events, headers={"Cache-Control": "no-cache"})
        self._held = held
        self._held.push_async_callback(events.aclose)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        async with self._held:
            await super().__call__(scope, receive, send)
