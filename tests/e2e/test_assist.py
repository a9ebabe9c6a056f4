"""Home Assistant's own Assist uses the server's speech-to-text."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from demo import audio
from demo.air import RATE
from demo.house import House
from demo.outcome import observed
from demo.scenes import KITCHEN_LIGHTS

_RUN_S = 30.0
_FRAME = 640
_FORMAT = (
    "format=wav; codec=pcm; sample_rate=16000; bit_rate=16; channel=1; language=en"
)


def _pcm(text: str, voice: int = 0) -> bytes:
    """A sentence with half a second of silence around it, as a satellite sends it."""
    pause = np.zeros(RATE // 2, dtype=np.float32)
    spoken = np.concatenate([pause, audio.speak(text, audio.VOICES[voice]), pause])
    return (spoken * 32767).astype("<i2").tobytes()


async def test_a_pipeline_hears_a_command_and_switches_the_lamp(house: House) -> None:
    client = house.client
    pipelines = await client.call("assist_pipeline/pipeline/list")
    pipeline = dict(pipelines["pipelines"][0])
    await client.call(
        "assist_pipeline/pipeline/update",
        pipeline_id=pipeline.pop("id"),
        **pipeline | {"stt_engine": house.entities["stt"], "stt_language": "en"},
    )
    events: list[dict[str, Any]] = []
    news = asyncio.Event()

    def happened(event: dict[str, Any]) -> None:
        events.append(event)
        news.set()

    async def wait_for(kind: str) -> dict[str, Any]:
        async with asyncio.timeout(_RUN_S):
            while True:
                for event in events:
                    if event["type"] == kind:
                        data: dict[str, Any] = event["data"]
                        return data
                news.clear()
                await news.wait()

    began = time.time()
    await client.subscribe(
        "assist_pipeline/run",
        happened,
        start_stage="stt",
        end_stage="intent",
        input={"sample_rate": RATE},
    )
    handler = (await wait_for("run-start"))["runner_data"]["stt_binary_handler_id"]
    pcm = _pcm("turn on the kitchen lights")
    for at in range(0, len(pcm), _FRAME):
        await client.send_bytes(bytes([handler]) + pcm[at : at + _FRAME])
    await client.send_bytes(bytes([handler]))
    await wait_for("run-end")

    heard = (await wait_for("stt-end"))["stt_output"]["text"]
    assert heard == "turn on the kitchen lights"
    answer = (await wait_for("intent-end"))["intent_output"]["response"]
    assert answer["response_type"] == "action_done"
    assert await house.journal.until(
        lambda entries: (KITCHEN_LIGHTS, "ON") in observed(entries, "").commands,
        began,
        _RUN_S,
    )


async def test_the_speech_to_text_door_of_home_assistant_answers_with_the_text(
    house: House,
) -> None:
    answer = await house.client.request(
        "POST",
        f"/api/stt/{house.entities['stt']}",
        data=_pcm("turn off the kitchen lights", 1),
        headers={"X-Speech-Content": _FORMAT},
    )
    assert answer == {"text": "turn off the kitchen lights", "result": "success"}
