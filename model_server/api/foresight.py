"""Work ahead on an utterance that still goes on, which nothing ever waits for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from model_server.api.refusals import EngineFailedError
from model_server.api.service import Service
from model_server.audio import Pcm
from model_server.engines.base import EngineError, Recognition, SpeechRecognizer


class Foresight:
    """Offers a stream's open utterance to its recogniser, one piece of work at a time."""

    def __init__(self, service: Service, recognizer: SpeechRecognizer) -> None:
        """Nothing is open."""
        self._service = service
        self._recognizer = recognizer
        self._task: asyncio.Task[Recognition | None] | None = None

    def offer(self, pcm: Pcm | None) -> None:
        """Let the recogniser look at an open utterance, unless it still looks."""
        if pcm is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self.look(pcm))

    def stop(self) -> None:
        """The utterance ended: what has not begun is not needed."""
        if self._task is not None:
            self._task.cancel()

    async def look(self, pcm: Pcm) -> Recognition | None:
        """Wait for what was said so far, if the recogniser can tell so soon."""
        # It was logged and counted, and the utterance is recognised without it.
        with suppress(EngineError, EngineFailedError):
            return await self._service.work("speech", self._recognizer.foresee, pcm)
        return None
