"""A double clap at a real microphone is told everywhere; one clap and talk are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import time

import numpy as np
import pytest_asyncio

from demo import audio
from demo.air import Audio
from demo.house import House
from demo.journal import State
from model_server.evaluation import gestures
from tests.e2e.microphones import microphone

_TOPIC = "earshot/workshop"
_EVENT = "event.workshop_gesture"


@pytest_asyncio.fixture(loop_scope="session")
async def workshop(house: House) -> AsyncIterator[House]:
    """The house with a second microphone, which listens for claps alone."""
    form = {"sounds": True, "labels": ["double_clap", "triple_clap"], "commands": False}
    async with microphone(house, "Workshop", _EVENT, **form):
        yield house


async def test_a_double_clap_is_told_and_a_single_one_and_talk_are_not(
    workshop: House,
) -> None:
    rng = np.random.default_rng(3)
    began = time.time()
    await _play(workshop, 0.3 * gestures.single("double_clap", rng))
    await _play(workshop, audio.talk(("I put the kettle on.", "Tea would be nice.")))
    assert _gestures(workshop, began) == []
    assert _events(workshop, began) == []

    began = time.time()
    await _play(workshop, 0.3 * gestures.gesture("double_clap", rng))

    (told,) = _gestures(workshop, began)
    assert told["gesture"] == "double_clap"
    assert told["score"] >= 0.5
    (event,) = _events(workshop, began)
    assert event.attributes["event_type"] == "double_clap"
    assert event.attributes["id"] == told["id"]
    sound = workshop.journal.messages(began, f"{_TOPIC}/sound")
    assert [one.json()["state"] for one in sound] == ["start", "end"]
    assert workshop.journal.messages(began, f"{_TOPIC}/sound/double_clap") == []


async def _play(house: House, sound: Audio) -> None:
    """Play a sound and wait until whatever comes of it has come."""
    played = house.air.play(sound.astype(np.float32))
    await asyncio.sleep(max(0.0, played.end - time.time()) + 4)


def _gestures(house: House, began: float) -> list[dict[str, object]]:
    return [one.json() for one in house.journal.messages(began, f"{_TOPIC}/gesture")]


def _events(house: House, began: float) -> list[State]:
    return [
        entry
        for entry in house.journal.since(began)
        if isinstance(entry, State) and entry.entity == _EVENT
    ]
