"""Streams: real audio through a real server, heard by real engines."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings, strategies as st
import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE
from model_server.evaluation import synthesis
from tests.server.client import House, Serve, command, of_kind, seconds_of, texts
from tests.server.voices import say, silence

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(stamp: str) -> float:
    """Seconds since T0."""
    return (datetime.fromisoformat(stamp) - T0).total_seconds()


def alarm(seconds: float) -> np.ndarray:
    """A smoke alarm over a little noise, as PCM."""
    noise = np.random.default_rng(0).normal(0, 40, round(seconds * SAMPLE_RATE))
    pcm = synthesis.t3(seconds)[: noise.size] * 10_000 + noise
    return np.asarray(pcm, np.int16)


async def test_a_spoken_command_becomes_speech_start_end_and_transcript(
    house: House,
) -> None:
    pcm = command()
    async with house.stream("commands", time=T0.isoformat()) as stream:
        messages = await (await stream.play(pcm)).end()

    assert [message["type"] for message in messages if message["type"] != "level"] == [
        "speech",
        "speech",
        "transcript",
        "stopped",
    ]
    begin, end = of_kind(messages, "speech")
    (transcript,) = of_kind(messages, "transcript")
    assert (begin["state"], end["state"]) == ("start", "end")
    assert {begin["id"], end["id"]} == {transcript["id"]}
    assert UUID(transcript["id"]).version == 7
    assert transcript["text"].startswith("turn on the kitchen light")
    assert transcript["rejected"] is None
    assert transcript["microphone"] == "hall"
    assert transcript["engine"]["name"] == "embedded-speech"
    assert transcript["time"] == transcript["end"] == end["time"]
    assert at(transcript["start"]) == pytest.approx(1, abs=0.35)
    assert at(transcript["end"]) == pytest.approx(seconds_of(pcm) - 1, abs=0.4)
    assert messages[-1]["reason"] == "ended"
    assert stream.close_code == 1000


@pytest.mark.parametrize("task", ["commands", "transcribe"])
async def test_who_asks_for_it_is_told_words_while_they_are_said(
    house: House, task: str
) -> None:
    pcm = command()
    piece = SAMPLE_RATE // 4
    async with house.stream(task, time=T0.isoformat(), partials=True) as stream:
        for first in range(0, pcm.size, piece):
            await stream.play(pcm[first : first + piece])
            # Words are worth nothing late: what comes too fast is not looked at.
            await asyncio.sleep(0.2)
        messages = await stream.end()

    (transcript,) = of_kind(messages, "transcript")
    partials = of_kind(messages, "partial")
    assert any(transcript["text"].startswith(one["text"]) for one in partials)
    assert {one["id"] for one in partials} == {transcript["id"]}
    said = [one["text"] for one in partials]
    assert all(before != after for before, after in pairwise(said))
    assert 1 < at(partials[0]["time"]) < at(transcript["end"]) + 0.6
    assert messages.index(partials[-1]) < messages.index(transcript)


async def test_a_transcript_tells_how_loud_it_was_said(house: House) -> None:
    near = command()
    levels = []
    for pcm in (near, near // 8):
        async with house.stream("commands") as stream:
            messages = await (await stream.play(pcm)).end()
        (transcript,) = of_kind(messages, "transcript")
        levels.append(transcript["level_dbfs"])

    assert -40 < levels[0] < -5
    assert levels[0] - levels[1] == pytest.approx(18.1, abs=1)


async def test_on_is_not_off(house: House) -> None:
    pcm = np.concatenate(
        [command("turn on the kitchen lights"), command("turn off the kitchen lights")]
    )
    async with house.stream("commands") as stream:
        messages = await (await stream.play(pcm)).end()

    on, off = texts(messages)
    assert on.startswith("turn on the kitchen light")
    assert off.startswith("turn off the kitchen light")


async def test_a_smoke_alarm_begins_and_ends_with_one_id_and_its_evidence(
    house: House,
) -> None:
    pcm = np.concatenate([silence(3), alarm(16), silence(15)])
    async with house.stream("sounds", time=T0.isoformat()) as stream:
        messages = await (await stream.play(pcm)).end()

    begin, end = of_kind(messages, "sound")
    assert (begin["label"], begin["state"], end["state"]) == ("smoke", "start", "end")
    assert begin["id"] == end["id"]
    assert at(begin["start"]) == pytest.approx(3, abs=0.3)
    assert begin["end"] is None
    assert begin["time"] == begin["start"]
    assert end["start"] == begin["start"]
    assert 14 < at(end["end"]) < 22
    assert end["time"] == end["end"]
    assert begin["score"] >= begin["threshold"] > 0
    assert "smoke" in begin["scores"]
    assert begin["verified"] is False
    assert await house.metric("earshot_sound_events_total", label="smoke") == 1


async def test_an_alarm_still_sounding_when_the_stream_ends_stays_open(
    house: House,
) -> None:
    async with house.stream("sounds") as stream:
        messages = await (await stream.play(alarm(14))).end()

    assert [message["state"] for message in of_kind(messages, "sound")] == ["start"]


async def test_only_the_labels_asked_for_are_reported(house: House) -> None:
    async with house.stream("sounds", labels=["co", "bark"]) as stream:
        assert stream.ready["labels"] == ["co", "bark"]
        messages = await (await stream.play(alarm(14))).end()

    assert of_kind(messages, "sound") == []


async def test_without_labels_the_defaults_are_reported(house: House) -> None:
    async with house.stream("sounds") as stream:
        assert {"smoke", "co"} <= set(stream.ready["labels"])
        defaults = [
            slug for slug, label in house.service.catalogue.items() if label.default
        ]
        assert stream.ready["labels"] == defaults


async def test_sounds_and_commands_share_one_stream(house: House) -> None:
    pcm = np.concatenate([alarm(10), silence(1.5), command()])
    async with house.stream("sounds", "commands") as stream:
        messages = await (await stream.play(pcm)).end()

    assert [message["label"] for message in of_kind(messages, "sound")][0] == "smoke"
    assert texts(messages)[-1].startswith("turn on the kitchen light")


async def test_the_level_comes_once_a_second_of_audio(house: House) -> None:
    tone = 3276.8 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    pcm = np.concatenate([silence(2), np.asarray(tone, np.int16), silence(0.5)])
    async with house.stream("sounds", time=T0.isoformat()) as stream:
        messages = await (await stream.play(pcm)).end()

    levels = of_kind(messages, "level")
    assert [at(level["time"]) for level in levels] == [1, 2, 3]
    assert [level["rms_dbfs"] for level in levels] == [-100, -100, -23]
    assert [level["peak_dbfs"] for level in levels] == [-100, -100, -20]


async def test_without_a_start_time_the_servers_clock_is_taken(house: House) -> None:
    before = datetime.now(UTC)
    async with house.stream("commands") as stream:
        messages = await (await stream.play(silence(1.2))).end()

    (level,) = of_kind(messages, "level")
    time = datetime.fromisoformat(level["time"])
    assert before < time - timedelta(seconds=1) < datetime.now(UTC)


async def test_any_offset_of_the_start_time_is_told_in_utc(house: House) -> None:
    for time in ("2026-11-22T14:00:00+02:00", "2026-11-22T12:00:00"):
        async with house.stream("commands", time=time) as stream:
            messages = await (await stream.play(silence(1))).end()

        assert messages[0]["time"] == "2026-11-22T12:00:01Z"


async def test_a_recorded_utterance_is_transcribed_in_one_go(house: House) -> None:
    pcm = command("turn off the desk lamp")
    async with house.stream("transcribe", time=T0.isoformat()) as stream:
        messages = await (await stream.play(pcm, frame=1 << 20)).end()

    transcript, stopped = messages
    assert transcript["text"] == "turn off the desk lamp"
    assert at(transcript["start"]) == pytest.approx(1, abs=0.35)
    assert stopped == {"type": "stopped", "reason": "ended"}


async def test_silence_transcribed_is_silence(house: House) -> None:
    async with house.stream("transcribe") as stream:
        messages = await (await stream.play(silence(2))).end()

    assert messages[0]["rejected"] == "silence"
    assert messages[0]["text"] == ""
    assert await house.metric("earshot_utterances_total", outcome="silence") == 1


async def test_an_end_without_audio_is_answered(house: House) -> None:
    async with house.stream("transcribe") as stream:
        assert (await stream.end())[0]["rejected"] == "silence"
    async with house.stream("sounds", "commands") as stream:
        assert await stream.end() == [{"type": "stopped", "reason": "ended"}]


async def test_speech_that_is_no_command_gives_no_text(house: House) -> None:
    async with house.stream("commands") as stream:
        messages = await (
            await stream.play(command("my grandmother baked seven apple pies"))
        ).end()

    transcripts = of_kind(messages, "transcript")
    assert transcripts
    assert {each["rejected"] for each in transcripts} == {"no_command"}
    assert texts(messages) == [""] * len(transcripts)


async def test_an_utterance_over_the_limit_is_named_and_the_stream_goes_on(
    serve: Serve,
) -> None:
    long = np.concatenate([say("turn on the kitchen lights")] * 5)
    async with serve(max_utterance_s=4) as house:
        await house.furnish()
        async with house.stream("commands") as stream:
            pcm = np.concatenate([silence(1), long, silence(1), command()])
            messages = await (await stream.play(pcm)).end()

    sermon, said = of_kind(messages, "transcript")
    assert (sermon["text"], sermon["rejected"]) == ("", "too_long")
    assert said["text"].startswith("turn on the kitchen light")
    assert len(of_kind(messages, "speech")) == 4


async def test_every_stream_hears_that_the_server_stops(serve: Serve) -> None:
    async with (
        serve() as house,
        house.stream("sounds") as first,
        house.stream("transcribe") as second,
        house.connect() as silent,
    ):
        await first.play(silence(1))
        house.server.should_exit = True
        for stream in (first, second, silent):
            messages = await stream.rest()
            assert messages[-1] == {"type": "stopped", "reason": "shutdown"}
            assert stream.close_code == 1001


async def test_who_comes_while_the_server_stops_is_told_so(house: House) -> None:
    house.service.stopping = True
    async with house.connect() as stream:
        assert await stream.rest() == [{"type": "stopped", "reason": "shutdown"}]


async def test_a_backlog_after_an_outage_is_heard_at_its_own_time(
    house: House,
) -> None:
    recorded = T0 - timedelta(seconds=59)
    pcm = np.concatenate([silence(50), command()])
    assert 53 < seconds_of(pcm) < 60
    async with house.stream("commands", time=recorded.isoformat()) as stream:
        messages = await (await stream.play(pcm, frame=1 << 19)).end()

    (transcript,) = of_kind(messages, "transcript")
    assert transcript["text"].startswith("turn on the kitchen light")
    assert at(transcript["start"]) == pytest.approx(-8, abs=0.35)


def anonymous(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages by kind, without what differs from run to run.

    Those are the ids, and the fifth digit of a confidence: the decoder remembers a
    little of the utterance before.
    """
    kept = [
        message | {"id": None, "confidence": round(message.get("confidence", 0), 2)}
        for message in messages
    ]
    return sorted(kept, key=lambda message: str(message["type"]))


async def test_any_cut_of_the_bytes_gives_the_same_results(house: House) -> None:
    data = np.concatenate([alarm(8), command(), silence(1)]).astype("<i2").tobytes()

    async def results(sizes: list[int]) -> list[dict[str, Any]]:
        async with house.stream("sounds", "commands", time=T0.isoformat()) as stream:
            position = turn = 0
            while position < len(data):
                size = sizes[turn % len(sizes)]
                await stream.websocket.send(data[position : position + size])
                position, turn = position + size, turn + 1
            return anonymous(await stream.end())

    expected = await results([1 << 20])
    assert of_kind(expected, "sound")
    assert texts(expected)
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=5,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(sizes=st.lists(st.integers(0, 9_999), min_size=1, max_size=7))
    def any_cut(sizes: list[int]) -> None:
        cut = [*sizes, 7_777]
        got = asyncio.run_coroutine_threadsafe(results(cut), loop).result(60)
        assert got == expected

    await asyncio.to_thread(any_cut)
