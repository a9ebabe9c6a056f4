"""Somebody is at the parked car: a heads-up first, then an alarm, and both with sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import time

import numpy as np
import pytest_asyncio

from demo import audio
from demo.house import House
from model_server.evaluation import guard_sounds, synthesis
from tests.e2e.microphones import microphone

_TOPIC = "earshot/car"
_SENSOR, _SWITCH = "sensor.car_guard", "switch.car_guard"


@pytest_asyncio.fixture(loop_scope="session")
async def car(house: House) -> AsyncIterator[House]:
    """The house with a second microphone in its air, which guards."""
    form = {
        "sounds": True,
        "labels": ["glass_break"],
        "guard": True,
        "commands": False,
    }
    async with microphone(house, "Car", _SENSOR, _SWITCH, **form):
        yield house


async def test_talk_is_nothing_one_scratch_a_heads_up_and_two_touches_an_alarm(
    car: House,
) -> None:
    began = time.time()
    # It is armed from the start. Somebody far away, on a street.
    await _play(car, 0.05 * audio.talk(("I put the kettle on.", "Tea would be nice.")))
    assert _steps(car, began) == []

    await _play(car, guard_sounds.scratch(3_000_000_008))

    (step,) = [one for one in _steps(car, began) if one["state"] == "heads_up"]
    assert [sign["label"] for sign in step["signs"]] == ["scratch"]

    await _play(car, guard_sounds.impact(3_000_000_006))

    alarm = _steps(car, began)[-1]
    assert alarm["state"] == "alarm"
    assert {sign["label"] for sign in alarm["signs"]} >= {"scratch", "impact"}

    await car.client.service("switch", "turn_off", entity_id=_SWITCH)
    await asyncio.sleep(1)
    assert _steps(car, began)[-1]["state"] == "off"


async def _play(house: House, sound: synthesis.Audio) -> None:
    """Play a sound over a quiet street and wait until whatever comes of it has come."""
    seconds = sound.size / synthesis.RATE
    street = guard_sounds.traffic(seconds + 0.1, rms=0.003)[: sound.size]
    played = house.air.play((sound + street).astype(np.float32))
    await asyncio.sleep(max(0.0, played.end - time.time()) + 4)


def _steps(house: House, began: float) -> list[dict[str, object]]:
    return [one.json() for one in house.journal.messages(began, f"{_TOPIC}/guard")]
