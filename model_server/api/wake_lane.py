"""Wake words of a stream, for who only wants to know of them."""

from __future__ import annotations

from model_server.api.lanes import Stream, woken
from model_server.api.service import Service
from model_server.audio import Pcm
from model_server.listen.attention import Words
from model_server.listen.wake import WakeDetector


class WakeLane:
    """Says each wake word when it has been heard."""

    task = "wake"

    def __init__(self, service: Service, stream: Stream, words: Words) -> None:
        """Listen for these words."""
        self._service = service
        self._stream = stream
        self._words = words
        self._detector: WakeDetector | None = None
        self._lost = 0

    async def take(self, pcm: Pcm) -> None:
        """Look for them on the listen thread."""
        work = self._service.work
        if self._detector is None:
            self._detector = await work("listen", WakeDetector, self._words)
        for found in await work("listen", self._detector.push, pcm):
            await self._stream.say(woken(self._service, self._stream, found))

    async def skip(self, samples: int) -> None:
        """What comes after a hole begins anew."""
        self._lost += samples
        self._detector = None

    async def finish(self) -> None:
        """Nothing is due."""
