"""Night listens for more, and the alarm panel says when it is night."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
import json
import time

import pytest_asyncio

from demo import audio, home
from demo.house import House
from demo.journal import Entry, Message, State
from demo.scenes import SIREN

_SOON_S = 30.0
_HALL = "earshot/hall/sound"
_HALL_SMOKE = f"{_HALL}/smoke"
_PANEL = "alarm_control_panel.house"
_PROFILE = "select.127_0_0_1_profile"


@pytest_asyncio.fixture(loop_scope="session")
async def hall(house: House) -> AsyncIterator[House]:
    """The house with a microphone that listens for smoke alarms at night only."""
    client = house.client
    (entry,) = await client.call("config_entries/get", domain="earshot")
    flow = await home.run_flow(
        client,
        "subentries/flow",
        [entry["entry_id"], "microphone"],
        {"next_step_id": "url"},
        {
            "name": "Hall",
            "url": house.url,
            "labels": ["co"],
            "commands": False,
            "night": {
                "watch": "chosen",
                "labels": ["smoke", "co"],
                "sensitivity": "high",
            },
            "tuning": {"rules": [{"label": "bark", "sustain_s": 600}]},
        },
    )
    assert flow["type"] == "create_entry"
    await home.entities_appear(client, ["binary_sensor.hall_smoke_alarm", _PROFILE])
    yield house
    house.air.hush()
    await _panel(house, None)
    for subentry in await client.call(
        "config_entries/subentries/list", entry_id=entry["entry_id"]
    ):
        if subentry["title"] == "Hall":
            await client.call(
                "config_entries/subentries/delete",
                entry_id=entry["entry_id"],
                subentry_id=subentry["subentry_id"],
            )
    await _follow(house, None)
    await _choose(house, "home")
    await client.service("siren", "turn_off", entity_id=house.entities[SIREN])
    await home.entities_appear(client, [house.entities["event"]])


async def test_night_hears_what_home_does_not_and_the_panel_ends_it(
    hall: House,
) -> None:
    house = hall
    await _panel(house, "disarmed")
    await _follow(house, _PANEL)
    await home.entities_appear(house.client, ["binary_sensor.hall_smoke_alarm"])
    assert await _profile(house) == "home"

    began = time.time()
    house.air.play(audio.smoke_alarm(60.0))
    assert await house.journal.until(_told("earshot/kitchen/sound"), began, _SOON_S)
    # The same sound at the same time, but nobody listens for it here.
    assert house.journal.messages(began, _HALL) == []

    night = time.time()
    await _choose(house, "night")
    assert await house.journal.until(_told(_HALL), night, _SOON_S)
    (onset,) = (message.json() for message in house.journal.messages(began, _HALL))
    assert (onset["label"], onset["state"]) == ("smoke", "start")
    assert onset["profile"] == "night"
    assert "rhythm" in onset["gates"]
    assert await house.journal.until(_is("on"), night, _SOON_S)
    event = [e for e in house.journal.since(night) if _of(e, "event.hall_sound")][-1]
    assert event.attributes["id"] == onset["id"]
    assert event.attributes["profile"] == "night"
    assert event.attributes["gates"] == onset["gates"]

    away = time.time()
    await _panel(house, "armed_away")
    assert await house.journal.until(_is("off"), away, _SOON_S)
    assert await _profile(house) == "away"
    assert await house.journal.until(_told(_HALL), away, _SOON_S)
    (end,) = (message.json() for message in house.journal.messages(away, _HALL))
    assert (end["id"], end["state"]) == (onset["id"], "end")
    # Published right after the event's end.
    assert await house.journal.until(_kept("OFF"), away, _SOON_S)
    kept = house.journal.messages(began, _HALL_SMOKE)
    assert [message.payload for message in kept] == ["ON", "OFF"]
    # No other microphone lost anything by it, and none had to connect again.
    kitchen = house.journal.messages(began, "earshot/kitchen/sound")
    assert [message.json()["state"] for message in kitchen] == ["start"]
    availability = house.journal.messages(began, "earshot/hall/availability")
    assert "offline" not in [message.payload for message in availability]

    house.air.hush()
    assert await house.journal.until(_ended, began, _SOON_S)
    assert len(house.journal.messages(began, _HALL)) == 2


def _told(topic: str) -> Callable[[list[Entry]], bool]:
    return lambda entries: any(
        isinstance(entry, Message) and entry.topic == topic for entry in entries
    )


def _kept(payload: str) -> Callable[[list[Entry]], bool]:
    return lambda entries: any(
        isinstance(entry, Message)
        and (entry.topic, entry.payload) == (_HALL_SMOKE, payload)
        for entry in entries
    )


def _is(state: str) -> Callable[[list[Entry]], bool]:
    return lambda entries: any(
        _of(entry, "binary_sensor.hall_smoke_alarm") and entry.state == state
        for entry in entries
    )


def _of(entry: Entry, entity: str) -> bool:
    return isinstance(entry, State) and entry.entity == entity


def _ended(entries: list[Entry]) -> bool:
    return any(
        isinstance(entry, Message)
        and entry.topic == "earshot/kitchen/sound"
        and entry.json()["state"] == "end"
        for entry in entries
    )


async def _profile(house: House) -> str:
    return str((await house.client.states())[_PROFILE]["state"])


async def _choose(house: House, profile: str) -> None:
    await house.client.service(
        "select", "select_option", entity_id=_PROFILE, option=profile
    )


async def _panel(house: House, state: str | None) -> None:
    """Have a panel over MQTT say its state; None removes it."""
    topic = "homeassistant/alarm_control_panel/house/config"
    config = {
        "name": "House",
        "unique_id": "house_panel",
        "state_topic": "house/panel",
        "command_topic": "house/panel/set",
        "default_entity_id": _PANEL,
    }
    await _publish(house, topic, json.dumps(config) if state else "")
    if state is None:
        await _publish(house, "house/panel", "")
        return
    async with asyncio.timeout(_SOON_S):
        while _PANEL not in await house.client.states():
            await asyncio.sleep(0.1)
    await _publish(house, "house/panel", state)


async def _publish(house: House, topic: str, payload: str) -> None:
    # Kept, for the panel may subscribe a moment later.
    await house.client.service(
        "mqtt", "publish", topic=topic, payload=payload, retain=True
    )


async def _follow(house: House, panel: str | None) -> None:
    """Have the profile follow a panel, by the integration's options."""
    (entry,) = await house.client.call("config_entries/get", domain="earshot")
    answer = {"base_topic": "earshot", "publish_level": False}
    await home.run_flow(
        house.client,
        "options/flow",
        entry["entry_id"],
        answer | ({"alarm_panel": panel} if panel else {}),
    )
