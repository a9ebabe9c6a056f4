"""The server's wake words in Assist pipelines."""

from collections.abc import AsyncIterable, Callable
from typing import Any

from homeassistant.components import wake_word
from homeassistant.components.wake_word import DetectionResult
from homeassistant.core import HomeAssistant
import pytest

from .conftest import set_up, wait_for
from .fake_server import WAKE_WORDS, FakeServer

ENTITY = "wake_word.server_wake_words"
CHUNK = 3200
"""Bytes: a tenth of a second."""


@pytest.fixture
async def alert(hass: HomeAssistant, server: FakeServer) -> FakeServer:
    """A server that hears wake words, set up."""
    server.info["wake_words"] = WAKE_WORDS
    await set_up(hass, server)
    return server


async def detect(
    hass: HomeAssistant, audio: AsyncIterable[tuple[bytes, int]], word: str | None
) -> DetectionResult | None:
    """Do what a pipeline does."""
    entity = wake_word.async_get_wake_word_detection_entity(hass, ENTITY)
    assert entity is not None
    return await entity.async_process_audio_stream(audio, word)


class Microphone:
    """Audio that goes on after a wake word, as a pipeline's does."""

    def __init__(self, server: FakeServer, **when: Callable[[], Any]) -> None:
        """Do things once so many chunks were heard."""
        self.server = server
        self.when = when
        self.count = 0
        self.closed = False

    async def audio(self) -> AsyncIterable[tuple[bytes, int]]:
        """Every chunk is its own number, over and over."""
        try:
            while self.count < 100:
                if (act := self.when.get(f"after_{self.count}")) is not None:
                    await act()
                self.count += 1
                yield bytes([self.count]) * CHUNK, 100 * self.count
        finally:
            self.closed = True


async def test_its_words_are_offered(hass: HomeAssistant, alert: FakeServer) -> None:
    entity = wake_word.async_get_wake_word_detection_entity(hass, ENTITY)
    assert entity is not None
    words = await entity.get_supported_wake_words()
    assert [(word.id, word.name, word.phrase) for word in words] == [
        ("okay_nabu", "Okay Nabu", "Okay Nabu"),
        ("alexa", "Alexa", "Alexa"),
    ]


async def test_what_was_said_since_the_word_goes_on_to_the_pipeline(
    hass: HomeAssistant, alert: FakeServer
) -> None:
    async def called() -> None:
        stream = await alert.stream()
        await wait_for(lambda: len(stream.pcm) == 20 * CHUNK)
        await stream.wake("okay_nabu", after_s=1.65)

    microphone = Microphone(alert, after_20=called)
    audio = microphone.audio()
    found = await detect(hass, audio, "okay_nabu")
    assert found is not None
    assert (found.wake_word_id, found.wake_word_phrase) == ("okay_nabu", "Okay Nabu")
    assert found.queued_audio is not None
    said = b"".join(pcm for pcm, _ in found.queued_audio)
    # 1.65 s is in the middle of the 17th chunk.
    assert said[: 2 * CHUNK] == bytes([17]) * (CHUNK // 2) + bytes([18]) * CHUNK + (
        bytes([19]) * (CHUNK // 2)
    )
    assert found.queued_audio[0][1] == 1700
    # Not one chunk is lost, and the pipeline's audio goes on.
    assert said[-1] == microphone.count
    assert not microphone.closed
    assert (await anext(aiter(audio)))[0][0] == microphone.count
    assert hass.states.get(ENTITY).state != "unknown"
    stream = await alert.stream()
    assert stream.start["tasks"] == ["wake"]
    assert stream.start["wake"] == {"okay_nabu": None}
    await stream.closed.wait()


async def test_a_late_word_brings_the_last_seconds(
    hass: HomeAssistant, alert: FakeServer
) -> None:
    async def called() -> None:
        await (await alert.stream()).wake("alexa", after_s=1)

    found = await detect(hass, Microphone(alert, after_80=called).audio(), None)
    assert found is not None
    assert found.wake_word_id == "alexa"
    assert found.queued_audio is not None
    seconds = sum(len(pcm) for pcm, _ in found.queued_audio) / 32000
    assert seconds == pytest.approx(5, abs=0.3)
    assert (await alert.stream()).start["wake"] == {"okay_nabu": None, "alexa": None}


async def test_audio_without_a_word_ends_without_one(
    hass: HomeAssistant, alert: FakeServer
) -> None:
    microphone = Microphone(alert)
    assert await detect(hass, microphone.audio(), "okay_nabu") is None
    stream = await alert.stream()
    assert len(stream.pcm) == 100 * CHUNK
    assert stream.ended.is_set()
    assert hass.states.get(ENTITY).state == "unknown"


async def test_a_server_that_vanishes_is_no_word_and_costs_no_audio(
    hass: HomeAssistant, alert: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def vanish() -> None:
        await (await alert.stream()).drop()

    microphone = Microphone(alert, after_5=vanish)
    audio = microphone.audio()
    assert await detect(hass, audio, "okay_nabu") is None
    assert "could not listen for a wake word" in caplog.text
    assert not microphone.closed
    await anext(aiter(audio))


async def test_a_pipeline_that_gives_up_is_not_held(
    hass: HomeAssistant, alert: FakeServer
) -> None:
    async def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await detect(hass, Microphone(alert, after_5=give_up).audio(), None)
    await (await alert.stream()).closed.wait()


async def test_a_word_of_another_server_is_not_listened_for(
    hass: HomeAssistant, alert: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert await detect(hass, Microphone(alert).audio(), "hey_jarvis") is None
    assert "does not know the wake word hey_jarvis" in caplog.text
    assert alert.streams == []


async def test_a_server_without_wake_words_has_no_entity(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)
    assert hass.states.get(ENTITY) is None
