"""Bad input: each kind ends its own stream with a clear error and harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
import json
import logging
from typing import Any, cast

from hypothesis import given, strategies as st
import numpy as np
import pytest
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from model_server.api.intake import StreamError, check_start, parse_text
from model_server.api.session import Session
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import (
    Classification,
    EngineInfo,
    Recognition,
    SoundClassifier,
    SpeechRecognizer,
    Vocabulary,
    VocabularyReport,
)
from tests.server.client import House, Offset, Serve, command, of_kind, texts
from tests.server.voices import say, silence

SPOKEN = "turn on the kitchen light"


@asynccontextmanager
async def neighbour(house: House) -> AsyncGenerator[None]:
    """A stream in the middle of a command that must come through unharmed."""
    pcm = command()
    half = pcm.size // 2
    async with house.stream("sounds", "commands", microphone="kitchen") as stream:
        await stream.play(pcm[:half])
        yield
        await stream.play(pcm[half:])
        messages = await stream.end()
    (text,) = texts(messages)
    assert text.startswith(SPOKEN)
    assert messages[-1] == {"type": "stopped", "reason": "ended"}


async def the_error(house: House, *frames: str | bytes) -> dict[str, Any]:
    """Send frames on a new stream and return the error they bring."""
    async with neighbour(house), house.connect() as stream:
        with suppress(ConnectionClosed):
            for frame in frames:
                await stream.websocket.send(frame)
        last = (await stream.rest())[-1]
        assert stream.close_code == 1008
    assert last["type"] == "error"
    assert await house.metric("earshot_stream_errors_total", code=last["code"]) == 1
    return last


def start(**fields: Any) -> str:
    """A `start` frame."""
    message = {"type": "start", "microphone": "hall", "tasks": ["commands"]}
    return json.dumps(message | fields)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer t\u00f6ken"},
    ],
)
async def test_a_stream_without_the_token_is_refused_before_it_opens(
    house: House, headers: dict[str, str]
) -> None:
    async with neighbour(house):
        with pytest.raises(InvalidStatus) as refusal:
            async with house.connect(additional_headers=headers):
                pass

    assert refusal.value.response.status_code == 401
    body = json.loads(refusal.value.response.body or b"")
    assert body["code"] == "unauthorized"
    assert "token show" in body["message"]


async def test_the_token_in_another_scheme_does_not_open(house: House) -> None:
    headers = {"Authorization": f"Basic {house.token}"}
    with pytest.raises(InvalidStatus):
        async with house.connect(additional_headers=headers):
            pass


@pytest.mark.parametrize(
    ("frame", "code", "hint"),
    [
        ("{", "bad_message", "JSON"),
        ("[" * 50_000, "bad_message", "JSON"),
        ("null", "bad_message", '"type": "start"'),
        ('{"type": "hello"}', "bad_message", '"type": "start"'),
        ('{"type": ["start"]}', "bad_message", '"type": "start"'),
        ('{"type": "end"}', "bad_message", "`start` before `end`"),
        (b"\0\0", "bad_message", "`start` before audio"),
        ('{"type": "start"}', "bad_message", "microphone"),
        (start(microphone="Küche!"), "bad_message", "microphone"),
        (start(tasks=[]), "bad_message", "tasks"),
        (start(tasks=["dance"]), "bad_message", "tasks"),
        (start(time="yesterday"), "bad_message", "time"),
        (start(time="9999-12-31T23:59:59Z"), "bad_message", "time"),
        (start(time="0001-01-01T00:00:00+14:00"), "bad_message", "time"),
        (start(junk="x" * 70_000), "bad_message", "64 KiB"),
        (start(protocol=2), "unsupported_protocol", "protocol 1"),
        (start(language="tlh"), "unsupported_language", "en"),
        (start(tasks=["sounds"], labels=["gong"]), "unknown_label", "gong"),
        (start(tasks=["transcribe", "sounds"]), "unsupported_task", "alone"),
    ],
)
async def test_a_first_frame_that_is_no_start_says_what_to_send(
    house: House, frame: str | bytes, code: str, hint: str
) -> None:
    error = await the_error(house, frame)

    assert error["code"] == code
    assert hint in error["message"]


async def test_text_where_pcm_is_expected_is_named(house: House) -> None:
    error = await the_error(house, start(), "AAAAAAAA")

    assert error["code"] == "bad_message"
    assert "PCM in binary frames" in error["message"]


async def test_a_second_start_is_refused(house: House) -> None:
    assert (await the_error(house, start(), start()))["code"] == "bad_message"


async def test_nothing_may_follow_the_end(house: House) -> None:
    frames = (start(), command().tobytes(), '{"type": "end"}', b"\0\0")
    assert (await the_error(house, *frames))["code"] == "bad_message"


async def test_a_language_with_a_region_is_its_language(house: House) -> None:
    async with house.stream("commands", language="en-GB") as stream:
        messages = await (await stream.play(command())).end()

    assert texts(messages)[0].startswith(SPOKEN)


async def test_frames_of_odd_length_are_put_together(house: House) -> None:
    data = command().astype("<i2").tobytes()
    async with neighbour(house), house.stream("commands") as stream:
        for first in range(0, len(data), 4095):
            await stream.websocket.send(data[first : first + 4095])
        messages = await stream.end()

    assert texts(messages)[0].startswith(SPOKEN)


async def test_a_byte_left_over_at_the_end_is_nothing(house: House) -> None:
    async with house.stream("commands") as stream:
        await stream.websocket.send(b"\0")
        assert (await stream.end())[-1]["type"] == "stopped"


async def test_a_flood_at_ten_times_real_time_is_stopped(serve: Serve) -> None:
    time = Offset()
    async with serve(clock=time.clock, max_ahead_s=10) as house:
        await house.furnish()
        async with neighbour(house), house.stream("sounds", "commands") as flood:
            sent = 0
            with suppress(ConnectionClosed):
                while sent < 60:
                    await flood.play(silence(1), frame=1 << 16)
                    sent += 1
                    time.seconds += 0.1
                    await asyncio.sleep(0.01)
            messages = await flood.rest()

    assert messages[-1]["code"] == "too_fast"
    assert "10 s ahead" in messages[-1]["message"]
    assert 11 < sent < 40


async def test_a_microphone_whose_clock_is_fast_is_no_flood(serve: Serve) -> None:
    time = Offset()
    async with (
        serve(clock=time.clock, max_ahead_s=5) as house,
        house.stream("commands") as stream,
    ):
        for _ in range(400):
            await stream.play(silence(1), frame=1 << 16)
            time.seconds += 0.97
            # The clock may move on only when the frame has been counted.
            await stream.next("level")
        messages = await stream.end()

    assert messages[-1] == {"type": "stopped", "reason": "ended"}


@pytest.mark.parametrize(("task", "minutes"), [("commands", 60), ("sounds", 5)])
async def test_an_hour_of_silence_is_quietly_heard(
    serve: Serve, task: str, minutes: int
) -> None:
    """Sounds for five minutes only: their engine takes its time even over silence."""
    time = Offset()
    async with serve(clock=time.clock, idle_s=600) as house:
        await house.furnish()
        before = await heard(house)
        async with neighbour(house), house.stream(task) as stream:
            levels = 0
            problems: list[list[str]] = []
            for half_minute in range(1, 2 * minutes + 1):
                await stream.play(silence(30), frame=1 << 20)
                while levels < half_minute * 30:
                    message = await stream.next()
                    if message["type"] == "health":
                        problems.append(message["problems"])
                        continue
                    assert message["type"] == "level"
                    levels += 1
                # The hour passes as fast as the engines listen.
                while await heard(house) < before + levels:
                    await asyncio.sleep(0.01)
                time.seconds += 30
            messages = await stream.end()
        dropped = await house.metric("earshot_dropped_audio_seconds_total", task=task)

    assert levels == minutes * 60
    assert problems == [["silent"]]
    assert messages == [{"type": "stopped", "reason": "ended"}]
    assert dropped == 0


async def heard(house: House) -> float:
    """Blocks of at most a second that the engines have listened to."""
    return sum(
        [
            await house.metric("earshot_processing_seconds_count", task=task)
            for task in ("listen", "sounds")
        ]
    )


async def test_a_stream_that_sends_nothing_is_ended(serve: Serve) -> None:
    async with serve(idle_s=0.2) as house, house.stream("sounds") as stream:
        (error,) = await stream.rest()

    assert error["code"] == "idle"
    assert "zeros" in error["message"]


async def test_a_client_that_never_starts_is_ended(serve: Serve) -> None:
    async with serve(idle_s=0.2) as house, house.connect() as stream:
        (error,) = await stream.rest()

    assert error["code"] == "idle"


async def test_waiting_for_a_slow_engine_after_the_end_is_not_idle(
    serve: Serve,
) -> None:
    async with (
        serve(recognizer=Slow(), idle_s=0.2) as house,
        house.stream("transcribe") as stream,
    ):
        messages = await (await stream.play(command())).end()

    assert texts(messages) == ["slowly"]


async def test_an_utterance_to_transcribe_over_the_limit_is_refused(
    house: House,
) -> None:
    long = np.concatenate([say("turn on the kitchen lights")] * 12)
    async with neighbour(house), house.stream("transcribe") as stream:
        with suppress(ConnectionClosed):
            await stream.play(long)
        (error,) = await stream.rest()

    assert error["code"] == "utterance_too_long"
    assert "15 s" in error["message"]
    assert stream.close_code == 1008


async def test_a_whole_utterance_may_come_at_once_even_where_streams_may_not(
    serve: Serve,
) -> None:
    async with serve(max_ahead_s=1) as house:
        await house.furnish()
        async with house.stream("transcribe") as stream:
            pcm = np.concatenate([silence(8), command()])
            messages = await (await stream.play(pcm, frame=1 << 20)).end()

    assert texts(messages)[0].startswith(SPOKEN)


async def test_a_message_over_the_limit_closes_with_1009(serve: Serve) -> None:
    async with serve(max_message_bytes=8192) as house:
        await house.furnish()
        async with neighbour(house), house.stream("commands") as stream:
            await stream.websocket.send(bytes(8193))
            assert await stream.rest() == []

    assert stream.close_code == 1009


async def test_one_stream_too_many_is_told_so(serve: Serve) -> None:
    async with serve(max_streams=2) as house:
        await house.furnish()
        async with (
            neighbour(house),
            house.stream("sounds"),
            house.connect() as third,
        ):
            (error,) = await third.rest()
        assert error["code"] == "too_many_streams"
        assert third.close_code == 1008
        async with house.stream("sounds") as stream:
            assert (await stream.end())[-1]["type"] == "stopped"


async def until_streams(house: House, count: int) -> None:
    """Wait until so many streams are open."""
    while await house.metric("earshot_streams") != count:
        await asyncio.sleep(0.01)


async def test_a_client_that_vanishes_frees_its_slot(serve: Serve) -> None:
    async with serve(max_streams=2) as house:
        await house.furnish()
        async with neighbour(house):
            async with house.stream("sounds", "commands") as stream:
                await stream.play(command())
                assert (await house.metric("earshot_streams")) == 2
                stream.websocket.transport.abort()
            await until_streams(house, 1)
            async with house.stream("sounds") as other:
                assert (await other.end())[-1]["type"] == "stopped"


async def test_a_client_that_vanishes_while_it_waits_frees_its_slot(
    serve: Serve,
) -> None:
    async with serve(recognizer=Slow()) as house:
        async with house.stream("transcribe") as stream:
            await stream.play(command())
            await stream.websocket.send('{"type": "end"}')
            stream.websocket.transport.abort()
        await until_streams(house, 0)


class DeafClient:
    """A WebSocket whose peer sends but never reads: every send waits for ever."""

    def __init__(self, time: Offset) -> None:
        """Send 200 s of audio at the pace of a clock."""
        self._time = time
        self._frames: list[dict[str, Any]] = [{"text": start(tasks=["sounds"])}]
        self._frames += [{"bytes": bytes(2 * SAMPLE_RATE)}] * 200

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if not self._frames:
            return {"type": "websocket.disconnect", "code": 1006}
        self._time.seconds += 1
        return {"type": "websocket.receive"} | self._frames.pop(0)

    async def send_text(self, text: str) -> None:
        await asyncio.Event().wait()


async def test_a_client_that_never_reads_loses_levels_and_is_let_go(
    serve: Serve,
) -> None:
    time = Offset()
    async with serve(clock=time.clock) as house:
        await house.furnish()
        async with neighbour(house):
            session = Session(house.service, cast("WebSocket", DeafClient(time)))
            await session.run()
            assert await house.metric("earshot_streams") == 1

        # 128 of the 256 places are for results; `ready` is one of the others.
        assert await house.metric("earshot_dropped_messages_total") == pytest.approx(
            200 - 128, abs=2
        )


class Slow:
    """A recogniser that takes its time."""

    info = EngineInfo("slow", "1")
    languages: tuple[str, ...] = ("en",)
    parallel = 1

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        raise NotImplementedError

    def foresee(self, pcm: Pcm) -> None:
        pass

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        import time  # noqa: PLC0415 - the tests call their clocks by this name

        time.sleep(0.6)
        return Recognition("slowly", 1.0)


class Broken:
    """An engine that fails on loud audio, with what it heard in its message."""

    info = EngineInfo("broken", "1")
    languages: tuple[str, ...] = ("en",)
    parallel = 1
    labels: tuple[str, ...] = ("bark",)
    window = hop = SAMPLE_RATE

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        raise RuntimeError("the secret name of the house")

    def foresee(self, pcm: Pcm) -> None:
        pass

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        raise RuntimeError("a secret that was said")

    def classify(self, windows: np.ndarray[Any, Any]) -> Classification:
        if np.abs(windows).max() > 0.5:
            raise RuntimeError("a secret that was heard")
        return Classification(
            np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)
        )


async def test_a_failing_speech_engine_ends_that_stream_only(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(recognizer=Broken()) as house, house.stream("sounds") as other:
        for _ in range(2):
            async with house.stream("commands") as stream:
                messages = await (await stream.play(command())).end()
            assert messages[-1]["code"] == "engine_failed"
            assert "connect again" in messages[-1]["message"]
            assert stream.close_code == 1011
        assert (await other.end())[-1] == {"type": "stopped", "reason": "ended"}

    failures = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(failures) == 1
    assert "speech engine failed: RuntimeError at" in failures[0].getMessage()
    assert "secret" not in caplog.text


class Boastful(Slow):
    """A recogniser whose answer breaks the protocol."""

    def foresee(self, pcm: Pcm) -> None:
        pass

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        return Recognition("a secret that was said", 7.0)


async def test_an_answer_that_breaks_the_protocol_ends_that_stream_only(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serve(recognizer=Boastful()) as house,
        house.stream("sounds") as other,
        house.stream("commands") as stream,
    ):
        messages = await (await stream.play(command())).end()
        assert (await other.end())[-1] == {"type": "stopped", "reason": "ended"}

    assert messages[-1]["code"] == "engine_failed"
    assert "The stream failed: ValidationError at" in caplog.text
    assert "secret" not in caplog.text


async def test_a_failing_sound_engine_ends_that_stream_only(serve: Serve) -> None:
    loud = np.full(3 * SAMPLE_RATE, 30_000, np.int16)
    async with serve(classifier=Broken()) as house:
        await house.furnish()
        async with (
            neighbour_without_bark(house),
            house.stream("sounds", labels=["bark"]) as stream,
        ):
            messages = await (await stream.play(loud)).end()

    assert messages[-1]["code"] == "engine_failed"
    assert stream.close_code == 1011


@asynccontextmanager
async def neighbour_without_bark(house: House) -> AsyncGenerator[None]:
    """A stream that the broken classifier never scores."""
    async with house.stream("sounds", "commands", labels=["smoke"]) as stream:
        await stream.play(command())
        yield
        assert texts(await stream.end())[0].startswith(SPOKEN)


async def test_audio_that_an_engine_is_too_slow_for_is_dropped_and_counted(
    serve: Serve,
) -> None:
    """What follows the gap keeps its true time."""
    time = Offset()
    async with serve(recognizer=Slow(), max_ahead_s=30, clock=time.clock) as house:
        t0 = "2026-11-22T12:00:00+00:00"
        async with house.stream("commands", time=t0) as stream:
            await stream.play(command(), frame=1 << 20)
            # The recogniser sleeps; meanwhile three rings' worth of audio pass by.
            await stream.next("speech")
            await stream.next("speech")
            for _ in range(4):
                time.seconds += 30
                await stream.play(silence(25), frame=1 << 20)
                for _ in range(25):
                    await stream.next("level")
            await stream.play(command(), frame=1 << 20)
            messages = await stream.end()
        dropped = await house.metric(
            "earshot_dropped_audio_seconds_total", task="commands"
        )

    last = of_kind(messages, "transcript")[-1]
    assert 0 < dropped < 100
    seconds = float(last["start"][17:].rstrip("Z")) + 60 * int(last["start"][14:16])
    lead = command().size / SAMPLE_RATE
    assert seconds == pytest.approx(lead + 100 + 1, abs=0.4)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner)
    ),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["start", "end"]) | json_values,
            "protocol": st.just(1) | json_values,
            "microphone": st.just("hall") | json_values,
            "tasks": st.lists(
                st.sampled_from(["sounds", "commands", "transcribe"]) | json_values,
                max_size=3,
            ),
            "language": st.text(max_size=4) | json_values,
            "labels": st.none() | json_values,
            "time": st.datetimes().map(str) | json_values,
        },
    )
)
def test_any_start_is_taken_or_refused_with_a_code(message: dict[str, Any]) -> None:
    refusals = []
    try:
        started = check_start(parse_text(json.dumps(message)))
    except StreamError as error:
        refusals.append(error)
    for refusal in refusals:
        assert refusal.code in {
            "bad_message",
            "unsupported_protocol",
            "unsupported_task",
        }
        assert refusal.message.endswith(".")
    assert refusals or started.tasks
    assert refusals or started.time is None or started.time.tzinfo is not None


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_taken_or_refused(text: str) -> None:
    with suppress(StreamError):
        parse_text(text)


def engines() -> tuple[SpeechRecognizer, SpeechRecognizer, SoundClassifier]:
    """The stand-ins are engines for the type checker too."""
    return Slow(), Broken(), Broken()
