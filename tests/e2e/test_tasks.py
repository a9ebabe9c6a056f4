"""Hands-free tasks: they are spoken, and a real house does them and says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import json
import re
import time
from typing import Any

import pytest
import pytest_asyncio

from demo import audio, home
from demo.house import House
from tests.e2e.speaking import say

HEATING, MOVIE = "climate.heating", "scene.movie_night"
JUKEBOX = "media_player.jukebox"
TIMER = "event.kitchen_kitchen_timer"
_DISCOVERED: dict[str, dict[str, object]] = {
    "climate": {
        "name": None,
        "device": {"identifiers": ["tasks_heating"], "name": "Heating"},
        "unique_id": "tasks_heating",
        "default_entity_id": HEATING,
        "modes": ["off", "heat"],
        "mode_command_topic": "tasks/heating/mode",
        "temperature_command_topic": "earshot/tasks/temperature",
        "temperature_unit": "C",
        "min_temp": 10,
        "max_temp": 30,
    },
    "scene": {
        "name": None,
        "device": {"identifiers": ["tasks_movie"], "name": "Movie night"},
        "unique_id": "tasks_movie_night",
        "default_entity_id": MOVIE,
        "command_topic": "earshot/tasks/scene",
        "payload_on": "ON",
    },
}


@pytest_asyncio.fixture(loop_scope="session")
async def furnished(house: House) -> AsyncIterator[House]:
    """The house with heating and a scene."""
    client = house.client
    for platform, config in _DISCOVERED.items():
        await _discover(house, platform, config)
    await home.entities_appear(client, [HEATING, MOVIE])
    await home.furnish(
        client, dict.fromkeys((HEATING, MOVIE), "Kitchen"), (HEATING, MOVIE)
    )
    # The vocabulary is sent two quiet seconds after a change, and compiles.
    await asyncio.sleep(8)
    yield house
    for platform in _DISCOVERED:
        await _discover(house, platform, None)


async def test_hands_free_tasks(furnished: House) -> None:
    house = furnished

    # Which nobody told the server before: how it is spelt is a guess.
    done = await _say(house, "add gluten free pasta to my shopping list")
    assert done["intent"] == "HassListAddItem"
    items = await house.client.request("GET", "/api/shopping_list")
    (item,) = [item["name"] for item in items if item["name"].endswith("pasta")]

    done = await _say(house, "what is on my shopping list")
    assert item in done["response"]

    began = time.time()
    done = await _say(house, "set a timer for 5 minutes")
    (timer,) = house.journal.messages(began, "earshot/kitchen/timer")
    assert (timer.json()["state"], timer.json()["seconds"]) == ("started", 300)
    states = await house.client.states()
    assert states[TIMER]["attributes"]["id"] == timer.json()["id"]
    done = await _say(house, "cancel the timer")
    told = house.journal.messages(began, "earshot/kitchen/timer")
    assert [one.json()["state"] for one in told] == ["started", "cancelled"]

    began = time.time()
    done = await _say(house, "activate movie night")
    assert done["targets"] == [MOVIE]
    assert [one.payload for one in house.journal.messages(began, "earshot/tasks/scene")]

    done = await _say(house, "set the temperature to 21 degrees")
    assert done["intent"] == "HassClimateSetTemperature"
    states = await house.client.states()
    assert states[HEATING]["attributes"]["temperature"] == 21

    await _say(house, "turn on the kitchen lights")
    done = await _say(house, "are the kitchen lights on")
    assert done["response"].casefold().startswith("yes")


async def test_a_sentence_of_the_homes_own_starts_its_automation(
    furnished: House,
) -> None:
    house = furnished
    path = "/api/config/automation/config/tasks_party"
    await house.client.request(
        "POST",
        path,
        {
            "alias": "Party",
            "triggers": [
                {
                    "trigger": "conversation",
                    "command": [
                        "start party mode in [the] {area}",
                        "remind me to {thing}",
                    ],
                }
            ],
            "actions": [
                {"action": "scene.turn_on", "target": {"entity_id": MOVIE}},
                {"set_conversation_response": "Yes: {{ trigger.slots | tojson }}"},
            ],
        },
    )
    try:
        # It is told to the server, which compiles it.
        await asyncio.sleep(8)
        began = time.time()
        done = await _say(house, "start party mode in the kitchen")
        assert (done["intent"], done["source"]) == ("SentenceTrigger", "trigger")
        assert done["targets"] == ["automation.party"]
        assert '"kitchen"' in done["response"].casefold()
        scene = house.journal.messages(began, "earshot/tasks/scene")
        assert [one.payload for one in scene]
        done = await _say(house, "remind me to feed the cat")
        assert re.search(r'"thing": "\w+ the cat"', done["response"])
    finally:
        await house.client.request("DELETE", path)


async def test_music_is_played_by_voice(furnished: House) -> None:
    client = furnished.client
    await home.run_flow(client, "flow", "jukebox", {})
    await home.entities_appear(client, [JUKEBOX])
    await home.furnish(client, {JUKEBOX: "Kitchen"}, (JUKEBOX,))
    await asyncio.sleep(8)

    done = await _say(furnished, "play some jazz in the kitchen")
    assert done["intent"] == "HassMediaSearchAndPlay"
    playing = (await client.states())[JUKEBOX]
    assert playing["state"] == "playing"
    assert playing["attributes"]["media_title"].endswith("jazz")

    done = await _say(furnished, "next song")
    assert done["targets"] == [JUKEBOX]
    assert (await client.states())[JUKEBOX]["attributes"]["media_track"] == 2

    await _say(furnished, "set the volume to 30 percent")
    loud = (await client.states())[JUKEBOX]["attributes"]["volume_level"]
    assert loud == pytest.approx(0.3)

    await _say(furnished, "pause the music")
    assert (await client.states())[JUKEBOX]["state"] == "paused"


async def _say(house: House, text: str) -> dict[str, Any]:
    """Say something, by the first voice that is heard; return what was done."""
    heard: list[str] = []
    for voice in (audio.VOICES[2], audio.VOICES[3], audio.VOICES[0]):
        understood = await say(house, text, voice)
        if understood is None:
            continue
        heard.append(understood["text"])
        if understood["refused"] is None:
            # What follows from it follows at once.
            await asyncio.sleep(1)
            return understood
    raise AssertionError(f"{text!r} was not done; heard: {heard}")


async def _discover(
    house: House, platform: str, config: dict[str, object] | None
) -> None:
    """Announce a device over MQTT, or take it back."""
    await house.client.service(
        "mqtt",
        "publish",
        topic=f"homeassistant/{platform}/tasks/config",
        payload="" if config is None else json.dumps(config),
        retain=True,
    )
