"""A microphone that obeys only who calls it: by a word, by a clap, or to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import time
from typing import Any

import numpy as np
import pytest_asyncio

from demo import audio
from demo.air import RATE, Audio
from demo.house import House
from demo.journal import State
from demo.outcome import observed
from demo.scenes import FRONT_DOOR, KITCHEN_LIGHTS
from model_server.evaluation import gestures
from tests.e2e.assist import Run, spoken
from tests.e2e.microphones import microphone

_TOPIC = "earshot/hall"
_EVENT = "event.hall_wake_word"
_VOICE = audio.VOICES[0]
_ON, _OFF = "turn on the kitchen lights", "turn off the kitchen lights"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hall(house: House) -> AsyncIterator[House]:
    """The house with a microphone that wants to be called, and no other that listens."""
    form = {"sounds": False, "commands": True, "wake": ["alexa", "double_clap"]}
    async with microphone(house, "Hall", _EVENT, **form):
        await _switch(house, "off")
        yield house
        await _switch(house, "on")
    await asyncio.sleep(4)


async def test_only_who_calls_is_obeyed(hall: House) -> None:
    began = time.time()
    await _play(hall, audio.speak(_ON, _VOICE))
    assert _intents(hall, began) == []
    assert hall.journal.messages(began, f"{_TOPIC}/transcript") == []

    began = time.time()
    await _play(hall, _said("alexa", 0.3, _ON))
    (told,) = _intents(hall, began)
    assert (told["text"], told["refused"]) == (_ON, None)
    assert (KITCHEN_LIGHTS, "ON") in observed(hall.journal.since(began), "").commands
    assert _woken(hall, began) == ["alexa"]
    (message,) = hall.journal.messages(began, f"{_TOPIC}/wake")
    assert message.json()["word"] == "alexa"


async def test_a_double_clap_calls_too(hall: House) -> None:
    rng = np.random.default_rng(1)
    claps = 0.3 * gestures.gesture("double_clap", rng).astype(np.float32)
    began = time.time()
    await _play(hall, _said(claps, 2.0, _OFF))
    assert _woken(hall, began) == ["double_clap"]
    assert [told["text"] for told in _intents(hall, began)] == [_OFF]


async def test_an_answer_needs_no_call(hall: House) -> None:
    door = hall.devices[FRONT_DOOR]
    door.press("LOCKED")
    door.commands.clear()
    began = time.time()
    await _play(hall, _said("alexa", 0.3, "unlock the front door"), 1.0)
    (asked,) = _intents(hall, began)
    assert asked["refused"] == "needs_confirmation"
    await _play(hall, audio.speak("yes please", _VOICE))
    assert [act.value for act in door.commands] == ["UNLOCK"]
    door.press("LOCKED")


async def test_a_pipeline_wakes_by_the_servers_words(hall: House) -> None:
    client = hall.client
    registry = await client.call("config/entity_registry/list")
    ours = [one["entity_id"] for one in registry if one["platform"] == "earshot"]
    (wakes,) = [each for each in ours if each.startswith("wake_word.")]
    offered = await client.call("wake_word/info", entity_id=wakes)
    assert "okay_nabu" in [word["id"] for word in offered["wake_words"]]
    pipelines = await client.call("assist_pipeline/pipeline/list")
    pipeline = dict(pipelines["pipelines"][0])
    await client.call(
        "assist_pipeline/pipeline/update",
        pipeline_id=pipeline.pop("id"),
        **pipeline
        | {
            "stt_engine": hall.entities["stt"],
            "stt_language": "en",
            "wake_word_entity": wakes,
            "wake_word_id": "alexa",
        },
    )
    run = Run(client)
    await run.start("wake_word", input={"timeout": 0})
    # In one breath, faster than any answer could come.
    await run.hear(spoken(f"alexa, {_ON}"))
    quiet = asyncio.create_task(_quiet(run))
    woken = (await run.until("wake_word-end"))["wake_word_output"]
    assert woken["wake_word_id"] == "alexa"
    quiet.cancel()
    await run.end_of_audio()
    assert (await run.until("stt-end"))["stt_output"]["text"] == _ON
    answer = (await run.until("intent-end"))["intent_output"]["response"]
    assert answer["response_type"] == "action_done"


def _said(*parts: str | float | Audio) -> Audio:
    pieces: list[Audio] = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(audio.speak(part, _VOICE))
        elif isinstance(part, float):
            pieces.append(np.zeros(round(part * RATE), np.float32))
        else:
            pieces.append(part)
    return np.concatenate(pieces)


async def _quiet(run: Run) -> None:
    """A microphone goes on for ever."""
    while True:
        await run.hear(bytes(RATE // 5))
        await asyncio.sleep(0.1)


async def _play(house: House, sound: Audio, after_s: float = 4.0) -> None:
    played = house.air.play(sound)
    await asyncio.sleep(max(0.0, played.end - time.time()) + after_s + 1)


def _intents(house: House, began: float) -> list[dict[str, Any]]:
    return [one.json() for one in house.journal.messages(began, f"{_TOPIC}/intent")]


def _woken(house: House, began: float) -> list[Any]:
    return [
        entry.attributes["event_type"]
        for entry in house.journal.since(began)
        if isinstance(entry, State) and entry.entity == _EVENT
    ]


async def _switch(house: House, state: str) -> None:
    """Let the kitchen's microphone listen or not."""
    states = await house.client.call("get_states")
    (entity,) = [
        each["entity_id"]
        for each in states
        if each["entity_id"].endswith("kitchen_listening")
    ]
    await house.client.service("switch", f"turn_{state}", entity_id=entity)
