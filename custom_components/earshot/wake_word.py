"""The server's wake words for every Assist pipeline."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from datetime import timedelta
import logging
from typing import override

from homeassistant.components import wake_word
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import EarshotError, Start, Stream, Wake
from .client.connection import BYTES_PER_SECOND
from .coordinator import EarshotConfigEntry
from .entity import ServerEntity
from .microphone import utc_now

_LOGGER = logging.getLogger(__name__)

PARALLEL_UPDATES = 0

MICROPHONE = "assist_wake"
KEPT_S = 5
"""What was said since the wake word is kept so long until it is known."""

type Chunk = tuple[bytes, int]
"""PCM, and its time in ms."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the entity if the server hears wake words."""
    if entry.runtime_data.coordinator.data.wake_words:
        async_add_entities([EarshotWakeWords(entry)])


class EarshotWakeWords(ServerEntity, wake_word.WakeWordDetectionEntity):
    """Listens for one of the server's wake words, or for all."""

    _attr_translation_key = "wake_words"

    def __init__(self, entry: EarshotConfigEntry) -> None:
        """Attach to the server."""
        super().__init__(entry, "wake_words")

    @override
    async def get_supported_wake_words(self) -> list[wake_word.WakeWord]:
        """Return the server's wake words."""
        return [
            wake_word.WakeWord(word.name, word.phrase, word.phrase)
            for word in self.coordinator.data.wake_words
        ]

    @override
    async def _async_process_audio_stream(
        self, stream: AsyncIterable[Chunk], wake_word_id: str | None
    ) -> wake_word.DetectionResult | None:
        """Send what the microphone hears until a wake word was in it."""
        phrases = {
            word.name: word.phrase
            for word in self.coordinator.data.wake_words
            if wake_word_id in (None, word.name)
        }
        if not phrases:
            _LOGGER.warning("The server does not know the wake word %s", wake_word_id)
            return None
        begin = utc_now()
        start = Start(MICROPHONE, ("wake",), time=begin, wake=dict.fromkeys(phrases))
        try:
            async with self.coordinator.client.open_stream(start) as connection:
                sent = _Sent()
                found = await _first(connection, aiter(stream), sent)
        except EarshotError as err:
            _LOGGER.warning("The server could not listen for a wake word: %s", err)
            return None
        if found is None:
            return None
        return wake_word.DetectionResult(
            found.word,
            phrases.get(found.word, found.word),
            sent.time,
            # Who speaks on without a pause has begun already.
            sent.since(found.time - begin),
        )


class _Sent:
    """The last seconds of what was sent."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._bytes = 0
        """All that ever was sent."""
        self._held = 0

    def add(self, chunk: Chunk) -> None:
        """Take a chunk."""
        self._chunks.append(chunk)
        self._bytes += len(chunk[0])
        self._held += len(chunk[0])
        while self._held - len(self._chunks[0][0]) > KEPT_S * BYTES_PER_SECOND:
            self._held -= len(self._chunks.popleft()[0])

    @property
    def time(self) -> int | None:
        """The time of the last chunk."""
        return self._chunks[-1][1] if self._chunks else None

    def since(self, time: timedelta) -> list[Chunk]:
        """Return what followed a time after the first sample."""
        skip = int(time.total_seconds() * BYTES_PER_SECOND) // 2 * 2
        place = self._bytes - self._held
        left = []
        for pcm, stamp in self._chunks:
            if rest := pcm[max(0, skip - place) :]:
                left.append((rest, stamp))
            place += len(pcm)
        return left


async def _first(
    connection: Stream, audio: AsyncIterator[Chunk], sent: _Sent
) -> Wake | None:
    """Send audio until a wake word is heard in it; None if it ends before.

    Whoever waits for more audio is never cancelled: the pipeline goes on with the same
    iterator.
    """
    results = connection.results()
    heard = asyncio.ensure_future(_wake(results))
    chunk = asyncio.ensure_future(anext(audio, None))
    try:
        while True:
            await asyncio.wait({heard, chunk}, return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                return heard.result()
            if (said := chunk.result()) is None:
                await connection.end()
                return await heard
            sent.add(said)
            chunk = asyncio.ensure_future(anext(audio, None))
            await connection.send(said[0])
    finally:
        heard.cancel()
        await asyncio.gather(heard, return_exceptions=True)
        if (said := await chunk) is not None:
            sent.add(said)


async def _wake(results: AsyncIterator[object]) -> Wake | None:
    """Return the first wake word."""
    async for result in results:
        if isinstance(result, Wake):
            return result
    return None
