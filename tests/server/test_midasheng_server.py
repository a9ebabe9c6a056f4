"""MiDashengLM behind the real server: speech and sounds over the WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
import io
from pathlib import Path
import threading
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.build import build_engines
from model_server.engines.base import EngineBusyError, Engines, LaneLoad
from model_server.engines.midashenglm import recognizer as recognizer_module
from model_server.settings import Settings
from tests.server.checkpoints import write_midashenglm
from tests.server.client import House, Serve, command, of_kind
from tests.server.midasheng import CHUNK_FRAMES, hum, serving, talk, watched


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    """One tiny model in all three places, as the settings compose it."""
    torch.set_num_threads(1)
    folder = write_midashenglm(tmp_path / "tiny", seed=1)
    names = dict.fromkeys(("speech", "sounds", "descriptions"), "midashenglm")
    made = build_engines(
        Settings(
            data_dir=tmp_path / "data",
            midashenglm={"model": str(folder), "device": "cpu", "max_batch": 4},
            **names,
        )
    )
    yield made
    made.close()


def placed(engines: Engines) -> dict[str, Any]:
    return {
        "recognizer": engines.recognizer,
        "classifier": engines.classifier,
        "describer": engines.describer,
    }


async def test_a_server_of_one_model_hears_commands_and_sounds(
    serve: Serve, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizer_module, "SURE", 0.0)
    async with serve(**placed(engines)) as house:
        async with house.http() as http:
            info = (await http.get("/v1/info")).json()
        assert info["speech"]["engine"]["name"] == "midashenglm"
        assert info["sounds"]["engine"] == info["descriptions"]["engine"]
        assert info["speech"]["languages"] == ["en", "zh", "id", "th", "vi"]
        assert info["descriptions"]["max_seconds"] == 60
        assert "bark" in {label["slug"] for label in info["sounds"]["labels"]}

        await house.furnish()
        pcm = np.concatenate([command(), hum(4)])
        async with house.stream("sounds", "commands") as stream:
            assert "bark" in stream.ready["labels"]
            messages = await (await stream.play(pcm)).end()
        windows = await house.metric("earshot_processing_seconds_count", task="sounds")
        assert windows >= 4

    transcript = of_kind(messages, "transcript")[0]
    assert transcript["rejected"] is None
    assert transcript["text"]
    assert 0 < transcript["confidence"] < 1
    assert transcript["engine"]["name"] == "midashenglm"
    intent = transcript["intent"]
    assert intent is None or intent["name"].startswith("Hass")
    assert messages[-1] == {"type": "stopped", "reason": "ended"}


async def test_a_sound_that_the_model_is_sure_of_is_an_event(serve: Serve) -> None:
    with serving() as engine:
        classifier = engine.classifier
        # Random weights find everything equally unlikely; one label is made likely.
        classifier._prior = [
            prior - (9 if slug == "bark" else 0)
            for slug, prior in zip(classifier.labels, classifier._prior, strict=True)
        ]
        async with (
            serve(recognizer=None, classifier=classifier) as house,
            house.stream("sounds", labels=["bark", "siren"]) as stream,
        ):
            messages = await (await stream.play(hum(9))).end()

    (sound,) = of_kind(messages, "sound")
    assert (sound["label"], sound["state"]) == ("bark", "start")
    assert sound["engine"]["name"] == "midashenglm"
    assert sound["score"] > 0.9


async def test_a_description_comes_through_the_server(
    serve: Serve, engines: Engines
) -> None:
    async with serve(**placed(engines)) as house, house.http() as http:
        answer = await http.post(
            "/v1/describe",
            data={
                "question": "Is there a dog?",
                "schema": '{"type": "object", "properties": {"dog": {"type": "boolean"}},'
                ' "required": ["dog"], "additionalProperties": false}',
            },
            files={"file": ("clip.wav", wave(talk(2)))},
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["json"] in ({"dog": True}, {"dog": False})
    assert answer.json()["engine"]["name"] == "midashenglm"


def wave(pcm: Pcm) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, pcm, SAMPLE_RATE, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize("task", ["commands", "transcribe"])
async def test_while_somebody_speaks_the_finished_chunks_are_encoded(
    serve: Serve, task: str
) -> None:
    pcm = np.concatenate([hum(1, level=30), talk(25), hum(1, level=30)])
    with serving() as engine:
        async with (
            serve(
                recognizer=engine.recognizer, classifier=None, max_utterance_s=30
            ) as house,
            house.stream(task) as stream,
        ):
            with watched(engine) as ahead:
                await stream.play(pcm[: 23 * SAMPLE_RATE])
                while len(ahead.chunks) < 2:
                    await stream.websocket.ping()
                    await asyncio.sleep(0.01)
            with watched(engine) as after:
                await stream.play(pcm[23 * SAMPLE_RATE :])
                messages = await stream.end()

    (transcript,) = of_kind(messages, "transcript")
    assert transcript["rejected"] is None
    assert ahead.chunks == [CHUNK_FRAMES, CHUNK_FRAMES]
    assert len(after.chunks) == 1
    assert after.chunks[0] < CHUNK_FRAMES


async def test_a_full_engine_is_seen_in_the_metrics(serve: Serve) -> None:
    with serving(max_batch=1, max_waiting=1) as engine:
        async with serve(
            recognizer=engine.recognizer,
            classifier=engine.classifier,
            describer=engine.describer,
        ) as house:
            endless = {"type": "array", "items": {"type": "integer"}, "minItems": 300}
            first, second, third = (
                engine.describer.describe(talk(1), "JSON", endless, 2500) for _ in "abc"
            )
            next(first)
            waiting = threading.Thread(target=next, args=(second, None))
            waiting.start()
            lanes = {"engine": "midashenglm", "lane": "descriptions"}
            while not await house.metric("earshot_engine_waiting", **lanes):
                await asyncio.sleep(0.001)
            with pytest.raises(EngineBusyError):
                next(third)

            assert await house.metric("earshot_engine_dropped_total", **lanes) == 1
            assert engine.classifier.load()["descriptions"] == LaneLoad(1, 1)
            first.close()
            waiting.join()
            second.close()
            async with house.http() as http:
                text = (await http.get("/metrics")).text
    assert 'earshot_engine_waiting{engine="midashenglm",lane="sounds"} 0.0' in text


async def test_an_engine_without_lanes_shows_none(house: House) -> None:
    async with house.http() as http:
        assert "earshot_engine_waiting" not in (await http.get("/metrics")).text
