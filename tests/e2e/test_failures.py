"""Brokers and servers go away and come back; nothing is lost and nothing comes twice."""

from __future__ import annotations

import asyncio
import time

from demo import audio
from demo.devices import Act
from demo.house import House
from demo.journal import Entry, Message, State
from demo.scenes import KITCHEN_LIGHTS, SIREN, Scene, switch
from tests.e2e.conftest import Stage

_EVENT = "earshot/kitchen/sound"
_SOON_S = 60.0
_RECONNECT_S = 10.0
"""Home Assistant's MQTT client tries every ten seconds."""


async def test_a_server_killed_in_an_alarm_makes_neither_a_gap_nor_a_second_alarm(
    house: House,
) -> None:
    began = time.time()
    house.air.play(audio.smoke_alarm(60.0))
    assert await house.journal.until(_began("smoke"), began, _SOON_S)

    await house.stack.server.kill()
    assert await house.journal.until(_is(house, "unavailable"), began, _SOON_S)
    back = time.time()
    await house.stack.server.start()
    assert await house.journal.until(_is(house, "on"), back, _SOON_S)
    await asyncio.sleep(10)
    house.air.hush()
    assert await house.journal.until(_ended("smoke"), began, _SOON_S)

    events = [m.json() for m in house.journal.messages(began, _EVENT)]
    assert [e["state"] for e in events] == ["start", "end"]
    assert len({e["id"] for e in events}) == 1
    commands = [e for e in house.journal.since(began) if _told(e, SIREN)]
    assert len(commands) == 1
    await _silence_siren(house)


async def test_after_the_server_s_return_commands_work_again(
    house: House, stage: Stage
) -> None:
    await _command_works(stage, 0, "turn on the kitchen lights", "ON")


async def test_what_is_heard_while_the_broker_is_away_is_published_on_its_return(
    house: House, stage: Stage
) -> None:
    began = time.time()
    await house.stack.broker.kill()
    away = time.time()
    house.air.play(audio.co_alarm(60.0))
    assert await house.journal.until(_is(house, "on", "co"), began, _SOON_S)
    # The journal must be back before Home Assistant, or it would miss the message.
    into = (time.time() - away) % _RECONNECT_S
    if into > _RECONNECT_S - 4:
        await asyncio.sleep(_RECONNECT_S - into + 0.5)
    await house.stack.broker.start()
    assert await house.journal.until(_began("co"), began, _SOON_S)
    house.air.hush()
    assert await house.journal.until(_ended("co"), began, _SOON_S)
    await asyncio.sleep(1)

    events = [m.json() for m in house.journal.messages(began, _EVENT)]
    assert [(e["state"], e["label"]) for e in events] == [
        ("start", "co"),
        ("end", "co"),
    ]
    kept = {
        m.topic: m.payload for m in house.journal.since(began) if isinstance(m, Message)
    }
    assert kept["earshot/status"] == "online"
    assert kept["earshot/kitchen/availability"] == "online"
    assert kept["earshot/kitchen/sound/co"] == "OFF"


async def test_after_the_broker_s_return_commands_reach_the_lamp_again(
    house: House, stage: Stage
) -> None:
    await _silence_siren(house)
    await _command_works(stage, 1, "turn off the kitchen lights", "OFF")


async def test_a_source_that_breaks_off_is_opened_again(
    house: House, stage: Stage
) -> None:
    began = time.time()
    house.air.hang_up()
    assert await house.journal.until(_is(house, "unavailable"), began, _SOON_S)
    assert await house.journal.until(_is(house, "off"), began, _SOON_S)
    await _command_works(stage, 2, "turn on the kitchen lights", "ON")


async def _command_works(stage: Stage, voice: int, text: str, state: str) -> None:
    spoken = audio.speak(text, audio.VOICES[voice])
    expected = switch(KITCHEN_LIGHTS, "ON" if state == "ON" else "OFF")
    played = await stage(Scene(text, "", spoken, expected))
    assert played.observed == expected
    assert not played.missing


async def _silence_siren(house: House) -> None:
    began = time.time()
    await house.client.service("siren", "turn_off", entity_id=house.entities[SIREN])
    assert await house.journal.until(
        lambda entries: any(_told(e, SIREN) for e in entries), began, _SOON_S
    )


def _told(entry: Entry, device: str) -> bool:
    return isinstance(entry, Act) and (entry.device, entry.kind) == (device, "command")


def _event(label: str, state: str):
    def happened(entries: list[Entry]) -> bool:
        return any(
            isinstance(e, Message)
            and e.topic == _EVENT
            and (e.json()["label"], e.json()["state"]) == (label, state)
            for e in entries
        )

    return happened


def _began(label: str):
    return _event(label, "start")


def _ended(label: str):
    return _event(label, "end")


def _is(house: House, state: str, label: str = "smoke"):
    entity = house.sensors[label]

    def happened(entries: list[Entry]) -> bool:
        return any(
            isinstance(e, State) and (e.entity, e.state) == (entity, state)
            for e in entries
        )

    return happened
