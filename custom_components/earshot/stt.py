"""The server as a speech-to-text engine for every Assist pipeline."""

import asyncio
from collections.abc import AsyncIterable
import logging
from typing import override

from homeassistant.components import stt
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import UNAVAILABLE, ConnectionLost, EarshotError, Start, Stream, Transcript
from .coordinator import EarshotConfigEntry
from .entity import ServerEntity

_LOGGER = logging.getLogger(__name__)

PARALLEL_UPDATES = 0

MICROPHONE = "assist"


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the entity if the server understands speech."""
    if entry.runtime_data.coordinator.data.speech is not None:
        async_add_entities([EarshotSpeechToText(entry)])


class EarshotSpeechToText(ServerEntity, stt.SpeechToTextEntity):
    """Streams to the server while the person still speaks."""

    _attr_translation_key = "speech"

    def __init__(self, entry: EarshotConfigEntry) -> None:
        """Attach to the server."""
        super().__init__(entry, "speech")

    @property
    @override
    def supported_languages(self) -> list[str]:
        """Return the server's languages."""
        speech = self.coordinator.data.speech
        return list(speech.languages) if speech else []

    @property
    @override
    def supported_formats(self) -> list[stt.AudioFormats]:
        """Return WAV, which in a pipeline means PCM without a header."""
        return [stt.AudioFormats.WAV]

    @property
    @override
    def supported_codecs(self) -> list[stt.AudioCodecs]:
        """Return PCM."""
        return [stt.AudioCodecs.PCM]

    @property
    @override
    def supported_bit_rates(self) -> list[stt.AudioBitRates]:
        """Return 16 bit."""
        return [stt.AudioBitRates.BITRATE_16]

    @property
    @override
    def supported_sample_rates(self) -> list[stt.AudioSampleRates]:
        """Return 16 kHz."""
        return [stt.AudioSampleRates.SAMPLERATE_16000]

    @property
    @override
    def supported_channels(self) -> list[stt.AudioChannels]:
        """Return mono."""
        return [stt.AudioChannels.CHANNEL_MONO]

    @override
    async def async_process_audio_stream(
        self, metadata: stt.SpeechMetadata, stream: AsyncIterable[bytes]
    ) -> stt.SpeechResult:
        """Send what is said as it is said; return the text when it ends."""
        start = Start(MICROPHONE, ("transcribe",), metadata.language)
        try:
            async with self.coordinator.client.open_stream(start) as connection:
                text = await _transcribe(connection, stream)
        except EarshotError as err:
            _LOGGER.warning("The server could not transcribe: %s", err)
            return stt.SpeechResult(None, stt.SpeechResultState.ERROR)
        # Assist takes an empty text for what it is: nothing was understood.
        return stt.SpeechResult(text, stt.SpeechResultState.SUCCESS)


async def _transcribe(connection: Stream, audio: AsyncIterable[bytes]) -> str:
    """Send audio and wait for its text at the same time."""
    upload = asyncio.create_task(_upload(connection, audio))
    text = ""
    try:
        async for result in connection.results():
            if isinstance(result, Transcript):
                if result.rejected == UNAVAILABLE:
                    raise EarshotError("its speech engine is away; see its log")
                text = result.text
    finally:
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
    if connection.stopped is None or connection.stopped.reason != "ended":
        raise ConnectionLost("the server shut down")
    return text


async def _upload(connection: Stream, audio: AsyncIterable[bytes]) -> None:
    """Send everything, then say so."""
    try:
        async for chunk in audio:
            await connection.send(chunk)
        await connection.end()
    except ConnectionLost:
        # Whoever waits for the text learns the reason.
        return
    except BaseException:
        await connection.close()
        raise
