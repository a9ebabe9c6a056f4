"""Home Assistant's own Wyoming integration uses the server: no part of Earshot between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
import time

import pytest_asyncio

from demo import audio
from demo.air import RATE
from demo.home import run_flow
from demo.house import House
from demo.outcome import observed
from demo.scenes import KITCHEN_LIGHTS
from tests.e2e.assist import FRAME, RUN_S, Run, spoken

_FORMAT = (
    "format=wav; codec=pcm; sample_rate=16000; bit_rate=16; channel=1; language=en"
)
_WAKE_WORD = "hey_jarvis"


@dataclass(frozen=True)
class Service:
    """What Home Assistant made of the Wyoming port: entities, and a pipeline of them."""

    title: str
    stt: str
    wake_word: str
    pipeline: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(house: House) -> AsyncIterator[Service]:
    """Enter host and port, as a person does, and choose what appears for Assist."""
    client = house.client
    step = await run_flow(
        client,
        "flow",
        "wyoming",
        {"host": "127.0.0.1", "port": house.stack.wyoming_port},
    )
    entities = {
        each["entity_id"].partition(".")[0]: each["entity_id"]
        for each in await client.call("config/entity_registry/list")
        if each["config_entry_id"] == step["result"]["entry_id"]
    }
    # They have no state before they were used.
    await known(house, *entities.values())
    pipeline = await client.call(
        "assist_pipeline/pipeline/create",
        name="Wyoming",
        language="en",
        conversation_engine="conversation.home_assistant",
        conversation_language="en",
        stt_engine=entities["stt"],
        stt_language="en",
        tts_engine=None,
        tts_language=None,
        tts_voice=None,
        wake_word_entity=entities["wake_word"],
        wake_word_id=_WAKE_WORD,
    )
    yield Service(step["title"], entities["stt"], entities["wake_word"], pipeline["id"])


async def known(house: House, *entities: str) -> None:
    """Wait until Home Assistant has the entities."""
    async with asyncio.timeout(RUN_S):
        while not set(entities) <= set(await house.client.states()):
            await asyncio.sleep(0.1)


async def lamp_is(house: House, state: str, since: float) -> bool:
    """Wait until the kitchen's lamp has been told so."""
    return await house.journal.until(
        lambda entries: (KITCHEN_LIGHTS, state) in observed(entries, "").commands,
        since,
        RUN_S,
    )


async def test_host_and_port_are_all_that_home_assistant_asks_for(
    house: House, service: Service
) -> None:
    assert service.title == "Earshot"
    info = await house.client.call("wake_word/info", entity_id=service.wake_word)
    assert [each["id"] for each in info["wake_words"]] == [
        "okay_nabu",
        "hey_jarvis",
        "hey_mycroft",
        "alexa",
    ]
    assert info["wake_words"][1]["phrase"] == "Hey Jarvis"
    answer = await house.client.request("GET", f"/api/stt/{service.stt}")
    assert answer["languages"] == ["en"]
    assert answer["sample_rates"] == [RATE]


async def test_a_pipeline_hears_a_command_through_wyoming_and_switches_the_lamp(
    house: House, service: Service
) -> None:
    for text, state in (
        ("turn on the kitchen lights", "ON"),
        ("turn off the kitchen lights", "OFF"),
    ):
        began = time.time()
        run = Run(house.client)
        await run.start("stt", pipeline=service.pipeline)
        await run.hear(spoken(text))
        await run.end_of_audio()

        start = await run.until("stt-start")
        assert start["engine"] == service.stt
        assert (await run.until("stt-end"))["stt_output"]["text"] == text
        answer = (await run.until("intent-end"))["intent_output"]["response"]
        assert answer["response_type"] == "action_done"
        assert await lamp_is(house, state, began)


async def test_the_wake_word_and_the_command_come_in_one_stream(
    house: House, service: Service
) -> None:
    """As from an open microphone: at the pace of time until the house is awake."""
    began = time.time()
    run = Run(house.client)
    await run.start("wake_word", pipeline=service.pipeline, input={"timeout": 0})
    microphone = asyncio.create_task(_at_real_pace(run, spoken("hey jarvis")))
    woken = (await run.until("wake_word-end"))["wake_word_output"]
    microphone.cancel()
    await asyncio.gather(microphone, return_exceptions=True)
    await run.hear(spoken("turn on the kitchen lights", 2))
    await run.end_of_audio()

    assert woken["wake_word_id"] == _WAKE_WORD
    assert woken["wake_word_phrase"] == "Hey Jarvis"
    start = await run.until("wake_word-start")
    assert start["entity_id"] == service.wake_word
    heard = (await run.until("stt-end"))["stt_output"]["text"]
    assert heard == "turn on the kitchen lights"
    assert await lamp_is(house, "ON", began)


async def test_talk_does_not_wake_the_house(house: House, service: Service) -> None:
    run = Run(house.client)
    await run.start("wake_word", pipeline=service.pipeline, input={"timeout": 0})
    talk = audio.talk(("good morning everybody", "what a lovely day it is"))
    await run.hear((talk * 32767).astype("<i2").tobytes())
    await run.end_of_audio()
    await run.until("run-end")

    assert run.of("wake_word-end") == {"wake_word_output": {}}
    assert run.of("stt-start") is None


async def test_silence_is_understood_as_nothing(house: House, service: Service) -> None:
    answer = await house.client.request(
        "POST",
        f"/api/stt/{service.stt}",
        data=bytes(2 * RATE),
        headers={"X-Speech-Content": _FORMAT},
    )
    assert answer == {"text": "", "result": "success"}


async def _at_real_pace(run: Run, pcm: bytes) -> None:
    """Send audio as a microphone does, and silence after it until cancelled."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    sent = 0
    while True:
        frame = pcm[sent * FRAME : (sent + 1) * FRAME] or bytes(FRAME)
        await run.hear(frame)
        sent += 1
        await asyncio.sleep(max(0.0, began + sent * 0.02 - loop.time()))
