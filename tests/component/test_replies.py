"""Replies are spoken where a command was heard, and never taken for commands."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, override

from homeassistant.components import media_player, tts
from homeassistant.components.media_player import (
    MediaPlayerEntity,
    MediaPlayerEntityFeature,
)
from homeassistant.components.tts import TextToSpeechEntity
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import area_registry as ar, entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_mock_service,
)

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer, FakeStream
from .house import Furnish

QUESTION = "Unlock front door? Say yes please, or no thank you."
ALOUD = "Unlock front door?"
"""Without the answers: the embedded engine hears `say yes please, or …` as a yes."""
SPOKEN_S = 1 + len(ALOUD) / 14


class Voice(TextToSpeechEntity):
    """A text-to-speech engine of British English."""

    _attr_name = "Voice"
    _attr_unique_id = "voice"
    _attr_supported_languages = ["en-GB", "de"]
    _attr_default_language = "de"


class Speaker(MediaPlayerEntity):
    """A smart speaker that keeps what it is asked to play."""

    _attr_supported_features = (
        MediaPlayerEntityFeature.PLAY_MEDIA | MediaPlayerEntityFeature.MEDIA_ANNOUNCE
    )

    def __init__(self, name: str) -> None:
        """Begin with silence."""
        self._attr_name = self._attr_unique_id = name
        self.played: list[tuple[str, Any]] = []
        self.broken = False

    @override
    async def async_play_media(
        self, media_type: str, media_id: str, **kwargs: Any
    ) -> None:
        """Keep it."""
        if self.broken:
            raise HomeAssistantError("out of order")
        self.played.append((media_id, kwargs["announce"]))


class Home:
    """A kitchen with a microphone and a speaker."""

    speaker: Speaker
    stream: FakeStream

    def __init__(self, hass: HomeAssistant, witness: Witness) -> None:
        """Watch the lock; everything that has one is set up by now."""
        self.witness = witness
        self.unlocked = async_mock_service(hass, "lock", "unlock")
        async_mock_service(hass, "light", "turn_on")

    async def say(self, text: str, later_s: float = 0) -> None:
        """Say something in the kitchen."""
        await self.stream.transcript(text, seconds=0, later_s=later_s)

    async def intents(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many messages, and a moment for one too many."""
        topic = "earshot/kitchen/intent"
        await wait_for(lambda: len(self.witness.on(topic)) >= count)
        await asyncio.sleep(0.2)
        messages = self.witness.json(topic)
        assert len(messages) == count
        return messages


type SetUp = Callable[..., Coroutine[None, None, Home]]


@pytest.fixture
def home(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    furnish: Furnish,
    tone: Path,
) -> SetUp:
    """Set a kitchen up; `changes` are the microphone's."""

    async def build(engine: str | None = "tts.voice", **changes: Any) -> Home:
        assert await async_setup_component(hass, "tts", {})
        assert await async_setup_component(
            hass, "media_player", {"media_player": {"platform": "demo"}}
        )
        await hass.data[tts.DATA_COMPONENT].async_add_entities([Voice()])
        speaker = Speaker("kitchen_speaker")
        component = hass.data[media_player.DATA_COMPONENT]
        await component.async_add_entities([speaker])
        area = ar.async_get(hass).async_get_or_create("Kitchen").id
        er.async_get(hass).async_update_entity(speaker.entity_id, area_id=area)
        changes = {"area": area} | changes
        options = {} if engine is None else {"tts": engine}
        await set_up(
            hass, server, microphone({"url": str(tone)}, **changes), options=options
        )
        house = Home(hass, witness)
        house.speaker = speaker
        furnish("lock.door", "front door", "Kitchen", state="locked")
        furnish("light.lamp", "lamp", "Kitchen")
        house.stream = await server.stream()
        return house

    return build


async def test_a_reply_is_announced_in_the_area_of_the_microphone(home: SetUp) -> None:
    house = await home()
    await house.say("turn on the lamp")
    (done,) = await house.intents(1)
    await wait_for(lambda: house.speaker.played)
    ((media, announced),) = house.speaker.played
    assert media.startswith("media-source://tts/tts.voice?")
    assert f"message={done['response'].replace(' ', '+')}" in media
    assert "language=en-GB" in media
    assert announced is True


async def test_a_real_player_that_was_chosen_plays_the_reply(
    hass: HomeAssistant, home: SetUp
) -> None:
    house = await home(players=["media_player.living_room"])
    await house.say("turn on the lamp")
    playing = "media_player.living_room"

    def content() -> str:
        state = hass.states.get(playing)
        assert state is not None
        return str(state.attributes.get("media_content_id"))

    await wait_for(lambda: content().startswith("media-source://tts/"))
    assert house.speaker.played == []


@pytest.mark.parametrize(
    ("engine", "changes", "text"),
    [
        (None, {}, "turn on the lamp"),
        ("tts.voice", {"speak": False}, "turn on the lamp"),
        ("tts.gone", {}, "turn on the lamp"),
        ("tts.voice", {"area": None}, "turn on the lamp"),
        ("tts.voice", {"place": "outdoor"}, "unlock the front door"),
    ],
)
async def test_where_nothing_is_to_be_spoken_nothing_is(
    home: SetUp, engine: str | None, changes: dict[str, Any], text: str
) -> None:
    house = await home(engine, **changes)
    await house.say(text)
    await house.intents(1)
    assert house.speaker.played == []


async def test_what_cannot_speak_is_told_once_and_stops_no_command(
    home: SetUp, caplog: pytest.LogCaptureFixture
) -> None:
    house = await home()
    house.speaker.broken = True
    for number in range(2):
        await house.say("turn on the lamp", later_s=20 * number)
        done = await house.intents(number + 1)
    assert [each["refused"] for each in done] == [None, None]
    assert caplog.text.count("A reply was not spoken (tts.voice)") == 1


@pytest.mark.parametrize(
    "text", ["yes please", "no thank you", "unlock the front door", QUESTION]
)
async def test_what_is_heard_while_the_question_is_spoken_is_the_question(
    home: SetUp, text: str
) -> None:
    house = await home()
    await house.say("unlock the front door")
    (asked,) = await house.intents(1)
    assert asked["response"] == QUESTION
    await wait_for(lambda: house.speaker.played)
    ((media, _),) = house.speaker.played
    assert "message=Unlock+front+door?&" in media
    await house.say(text, later_s=SPOKEN_S - 1)
    await house.intents(1)
    assert house.unlocked == []
    # It did not end the question; who answers after it has been spoken is heard.
    await house.say("yes please", later_s=SPOKEN_S + 1)
    await house.intents(2)
    assert len(house.unlocked) == 1


@pytest.mark.parametrize(("after", "unlocked"), [(14, 1), (16, 0)])
async def test_the_answer_has_its_time_after_the_question(
    home: SetUp, after: float, unlocked: int
) -> None:
    house = await home()
    await house.say("unlock the front door")
    await house.intents(1)
    await house.say("yes please", later_s=SPOKEN_S + after)
    await house.intents(1 + unlocked)
    assert len(house.unlocked) == unlocked


async def test_a_late_piece_of_the_question_is_no_answer(home: SetUp) -> None:
    house = await home()
    await house.say("unlock the front door")
    await house.intents(1)
    await house.say("front door", later_s=SPOKEN_S + 2)
    await house.intents(1)
    await house.say("yes please", later_s=SPOKEN_S + 5)
    await house.intents(2)
    assert len(house.unlocked) == 1
