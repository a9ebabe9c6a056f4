"""Home Assistant's own Assist uses the server's speech-to-text."""

from __future__ import annotations

import time

from demo.house import House
from demo.outcome import observed
from demo.scenes import KITCHEN_LIGHTS
from tests.e2e.assist import RUN_S, Run, spoken

_FORMAT = (
    "format=wav; codec=pcm; sample_rate=16000; bit_rate=16; channel=1; language=en"
)


async def test_a_pipeline_hears_a_command_and_switches_the_lamp(house: House) -> None:
    client = house.client
    pipelines = await client.call("assist_pipeline/pipeline/list")
    pipeline = dict(pipelines["pipelines"][0])
    await client.call(
        "assist_pipeline/pipeline/update",
        pipeline_id=pipeline.pop("id"),
        **pipeline | {"stt_engine": house.entities["stt"], "stt_language": "en"},
    )
    began = time.time()
    run = Run(client)
    await run.start("stt")
    await run.hear(spoken("turn on the kitchen lights"))
    await run.end_of_audio()

    heard = (await run.until("stt-end"))["stt_output"]["text"]
    assert heard == "turn on the kitchen lights"
    answer = (await run.until("intent-end"))["intent_output"]["response"]
    assert answer["response_type"] == "action_done"
    assert await house.journal.until(
        lambda entries: (KITCHEN_LIGHTS, "ON") in observed(entries, "").commands,
        began,
        RUN_S,
    )


async def test_the_speech_to_text_door_of_home_assistant_answers_with_the_text(
    house: House,
) -> None:
    answer = await house.client.request(
        "POST",
        f"/api/stt/{house.entities['stt']}",
        data=spoken("turn off the kitchen lights", 1),
        headers={"X-Speech-Content": _FORMAT},
    )
    assert answer["result"] == "success"
    # The area's light or lights: the home has sentences with either.
    assert answer["text"] in (
        "turn off the kitchen lights",
        "turn off the kitchen light",
    )
