"""Timers are set by voice, told everywhere, and said when they end."""

import asyncio
from typing import Any

from homeassistant.components.intent import TimerInfo
from homeassistant.core import HomeAssistant
import pytest

from custom_components.earshot.timers import done

from .conftest import Witness, wait_for
from .test_replies import Home, SetUp, home

assert home

EVENT = "event.kitchen_kitchen_timer"
TOPIC = "earshot/kitchen/timer"


async def told(witness: Witness, *states: str) -> list[dict[str, Any]]:
    """Wait for these states of timers, and nothing more."""
    await wait_for(lambda: len(witness.on(TOPIC)) >= len(states))
    await asyncio.sleep(0.1)
    messages = witness.json(TOPIC)
    assert [one["state"] for one in messages] == list(states)
    return messages


async def test_a_timer_is_set_asked_about_and_cancelled(
    hass: HomeAssistant, home: SetUp, witness: Witness
) -> None:
    house = await home(engine=None)
    await house.say("set a timer for 5 minutes")
    (message,) = await told(witness, "started")
    assert (message["seconds"], message["microphone"]) == (300, "kitchen")
    assert message["running"]
    state = hass.states.get(EVENT)
    assert state is not None
    assert state.attributes["event_type"] == "started"
    assert state.attributes["id"] == message["id"]
    assert 299 <= state.attributes["seconds_left"] <= 300

    await house.say("how much time is left")
    answers = await house.intents(2)
    assert answers[1]["refused"] is None
    assert "minute" in answers[1]["response"]

    await house.say("cancel the timer")
    await told(witness, "started", "cancelled")
    state = hass.states.get(EVENT)
    assert state is not None
    assert state.attributes["event_type"] == "cancelled"
    assert not state.attributes["running"]


async def test_a_timer_that_ends_is_said(home: SetUp, witness: Witness) -> None:
    house = await home()
    await house.say("set a timer for 1 second")
    await told(witness, "started", "finished")
    await wait_for(lambda: any("is+done" in media for media, _ in _spoken(house)))


async def test_a_microphone_that_is_not_to_speak_does_not(
    home: SetUp, witness: Witness
) -> None:
    house = await home(speak=False)
    await house.say("set a timer for 1 second")
    await told(witness, "started", "finished")
    assert _spoken(house) == []


async def test_commands_for_later_stay_refused(home: SetUp, witness: Witness) -> None:
    house = await home(engine=None)
    await house.say("unlock the front door in 1 second")
    (answer,) = await house.intents(1)
    assert answer["refused"] is not None
    await asyncio.sleep(1.2)
    assert witness.on(TOPIC) == []
    assert house.unlocked == []


async def test_from_outdoors_no_timer_is_set(home: SetUp, witness: Witness) -> None:
    house = await home(engine=None, place="outdoor")
    await house.say("set a timer for 1 second")
    (answer,) = await house.intents(1)
    assert answer["refused"] == "untrusted_microphone"
    assert witness.on(TOPIC) == []


async def test_without_commands_there_are_no_timers(
    hass: HomeAssistant, home: SetUp
) -> None:
    await home(commands=False)
    assert hass.states.get(EVENT) is None


async def test_unloaded_it_takes_no_timers(
    hass: HomeAssistant, home: SetUp, witness: Witness
) -> None:
    house = await home(engine=None)
    await house.say("set a timer for 1 second")
    await told(witness, "started")
    (entry,) = hass.config_entries.async_entries("earshot")
    assert await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.sleep(1.3)
    assert len(witness.on(TOPIC)) == 1


@pytest.mark.parametrize(
    ("language", "name", "text"),
    [
        ("en", None, "Your timer is done."),
        ("en-GB", "pizza", "Your pizza timer is done."),
        ("de", "Pizza", "Der Timer Pizza ist abgelaufen."),
        ("xx", None, "Your timer is done."),
    ],
)
def test_it_is_said_in_the_language_that_set_it(
    language: str, name: str | None, text: str
) -> None:
    timer = TimerInfo(
        id="1",
        name=name,
        seconds=0,
        device_id=None,
        start_hours=None,
        start_minutes=None,
        start_seconds=None,
        created_at=0,
        updated_at=0,
        language=language,
    )
    assert done(timer) == text


def _spoken(house: Home) -> list[tuple[str, Any]]:
    return house.speaker.played
