"""A lock is opened for a spoken yes to a question, and for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from demo import audio
from demo.house import House
from demo.scenes import ASKED, FRONT_DOOR, Scene, hands_free
from tests.e2e.conftest import Stage
from tests.e2e.speaking import say

UNLOCK = "unlock the front door"
VOICES = audio.VOICES


@pytest_asyncio.fixture(loop_scope="session")
async def locked(house: House) -> AsyncIterator[House]:
    """The house, locked."""
    device = house.devices[FRONT_DOOR]
    device.press("LOCKED")
    device.commands.clear()
    yield house
    device.press("LOCKED")


async def test_hands_free_scenes_lead_to_exactly_what_they_should(
    locked: House, stage: Stage
) -> None:
    for scene in hands_free():
        played = await stage(scene)
        assert played.observed.commands == ()
        assert played.observed == scene.expected, scene
        assert not played.missing, scene
    await _decline(locked)
    items = await locked.client.request("GET", "/api/shopping_list")
    assert [item["name"].casefold() for item in items] == ["milk"]


@pytest.mark.parametrize("voice", [VOICES[0], VOICES[3]], ids=str)
async def test_a_spoken_yes_unlocks_once(locked: House, voice: audio.Voice) -> None:
    asked = await _say(locked, UNLOCK, voice)
    assert asked["refused"] == "needs_confirmation"
    assert "Front door" in asked["response"]
    assert _commands(locked) == []

    done = await _say(locked, "yes please", voice)
    assert (done["refused"], done["intent"]) == (None, "HassTurnOff")
    assert _commands(locked) == ["UNLOCK"]
    assert locked.devices[FRONT_DOOR].state == "UNLOCKED"

    # Nothing is asked any more.
    assert await say(locked, "yes please", voice) is None
    assert _commands(locked) == ["UNLOCK"]


async def test_a_spoken_no_leaves_it_locked_for_good(locked: House) -> None:
    await _say(locked, UNLOCK, VOICES[3])
    await _say(locked, "no please", VOICES[3])
    assert await say(locked, "yes please", VOICES[3]) is None
    assert _commands(locked) == []
    assert locked.devices[FRONT_DOOR].state == "LOCKED"


async def test_what_the_house_was_not_asked_it_does_not_do(
    locked: House, stage: Stage
) -> None:
    text = "lock the front door"
    played = await stage(Scene(text, "", audio.speak(text, VOICES[0]), ASKED))
    assert played.observed.commands == ()
    await _decline(locked)


async def _decline(house: House) -> None:
    """End a question, which the next test might answer."""
    answered = await _say(house, "no please", VOICES[3])
    assert answered["refused"] == "not_confirmed"


async def _say(house: House, text: str, voice: audio.Voice) -> dict[str, Any]:
    """Say something that is heard as it was said; return what was made of it."""
    understood = await say(house, text, voice)
    assert understood is not None, f"{text!r} was not heard"
    assert understood["text"] == text
    # What follows from it follows at once.
    await asyncio.sleep(1)
    return understood


def _commands(house: House) -> list[str]:
    return [act.value for act in house.devices[FRONT_DOOR].commands]
