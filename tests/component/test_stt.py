"""The server as a speech-to-text engine."""

from collections.abc import AsyncIterable

from homeassistant.components import stt
from homeassistant.core import HomeAssistant
import pytest

from .conftest import set_up, wait_for
from .fake_server import FakeServer

ENTITY = "stt.server_speech_to_text"
METADATA = stt.SpeechMetadata(
    language="en",
    format=stt.AudioFormats.WAV,
    codec=stt.AudioCodecs.PCM,
    bit_rate=stt.AudioBitRates.BITRATE_16,
    sample_rate=stt.AudioSampleRates.SAMPLERATE_16000,
    channel=stt.AudioChannels.CHANNEL_MONO,
)


async def speech(seconds: int = 2) -> AsyncIterable[bytes]:
    """Say something."""
    for _ in range(seconds):
        yield bytes(32000)


async def recognise(
    hass: HomeAssistant, audio: AsyncIterable[bytes]
) -> stt.SpeechResult:
    """Do what a pipeline does."""
    entity = stt.async_get_speech_to_text_entity(hass, ENTITY)
    assert entity is not None
    assert entity.check_metadata(METADATA)
    return await entity.internal_async_process_audio_stream(METADATA, audio)


async def test_what_is_said_becomes_text(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)
    result = await recognise(hass, speech())
    assert result.text == "turn on the kitchen light"
    assert result.result is stt.SpeechResultState.SUCCESS
    (stream,) = server.streams
    assert stream.start["tasks"] == ["transcribe"]
    assert stream.start["language"] == "en"
    assert len(stream.pcm) == 64000


async def test_audio_goes_up_while_the_person_speaks(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)

    async def slow() -> AsyncIterable[bytes]:
        yield bytes(3200)
        stream = await server.stream()
        await wait_for(lambda: len(stream.pcm) == 3200)
        yield bytes(3200)

    assert (await recognise(hass, slow())).text


async def test_what_is_not_understood_is_an_empty_text(
    hass: HomeAssistant, server: FakeServer
) -> None:
    server.rejected = "no_command"
    await set_up(hass, server)
    result = await recognise(hass, speech())
    assert result.text == ""
    assert result.result is stt.SpeechResultState.SUCCESS


async def test_an_engine_that_is_away_is_an_error(
    hass: HomeAssistant, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.rejected = "unavailable"
    await set_up(hass, server)
    result = await recognise(hass, speech())
    assert result.text is None
    assert result.result is stt.SpeechResultState.ERROR
    assert "its speech engine is away" in caplog.text


async def test_an_error_of_the_server_is_an_error(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)
    server.refuse_stream = {"type": "error", "code": "too_many_streams", "message": ""}
    result = await recognise(hass, speech())
    assert result.result is stt.SpeechResultState.ERROR


async def test_a_server_that_vanishes_is_an_error(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)

    async def interrupted() -> AsyncIterable[bytes]:
        yield bytes(3200)
        await (await server.stream()).drop()
        for _ in range(100):
            yield bytes(3200)

    result = await recognise(hass, interrupted())
    assert result.result is stt.SpeechResultState.ERROR


async def test_a_server_that_shuts_down_is_an_error(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)

    async def interrupted() -> AsyncIterable[bytes]:
        yield bytes(3200)
        stream = await server.stream()
        await stream.say({"type": "stopped", "reason": "shutdown"})
        await stream.closed.wait()

    result = await recognise(hass, interrupted())
    assert result.result is stt.SpeechResultState.ERROR


async def test_a_speaker_that_vanishes_leaves_no_stream(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)

    async def broken() -> AsyncIterable[bytes]:
        yield bytes(3200)
        raise OSError("satellite gone")

    result = await recognise(hass, broken())
    assert result.result is stt.SpeechResultState.ERROR
    await server.streams[0].closed.wait()
