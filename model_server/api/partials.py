"""What is being said, told while somebody still speaks: no stream waits for it.

A look that has begun ends, though, before the same engine does anything else.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from model_server.api.lanes import Stream
from model_server.api.messages import Partial
from model_server.api.refusals import EngineFailedError
from model_server.api.service import Service
from model_server.audio import Pcm
from model_server.engines.base import EngineError, Overhearing, SpeechRecognizer


class Partials:
    """Lets a stream's recogniser overhear its open utterance, one look at a time."""

    def __init__(
        self, service: Service, stream: Stream, recognizer: SpeechRecognizer
    ) -> None:
        """Nothing was said."""
        self._service = service
        self._stream = stream
        self._engine = recognizer if isinstance(recognizer, Overhearing) else None
        self._task: asyncio.Task[None] | None = None
        self._newest: tuple[str, Pcm, int] | None = None
        self._told = ""

    def offer(self, utterance: str, pcm: Pcm | None, at: int) -> None:
        """Tell of an open utterance up to sample `at`, once it was looked at before."""
        if self._engine is None or pcm is None:
            return
        self._newest = utterance, pcm, at
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(self._engine))

    def stop(self) -> None:
        """The utterance ended: nothing more is told of it."""
        self._newest = None
        self._told = ""
        if self._task is not None:
            self._task.cancel()

    async def _look(self, engine: Overhearing) -> None:
        while self._newest is not None:
            (utterance, pcm, at), self._newest = self._newest, None
            # It was logged and counted; the utterance is recognised all the same.
            with suppress(EngineError, EngineFailedError):
                text = await self._service.work(
                    "speech", engine.overhear, pcm, self._stream.language
                )
                await self._tell(utterance, text, at)

    async def _tell(self, utterance: str, text: str, at: int) -> None:
        if text in ("", self._told):
            return
        self._told = text
        await self._stream.say(
            Partial(
                id=utterance,
                time=self._stream.at(at),
                microphone=self._stream.microphone,
                text=text,
            )
        )
