"""The Wyoming door, through the `wyoming` package's own client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
import signal
import time
from typing import Any

import numpy as np
import pytest
import soxr
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, NotDetected

from model_server import __version__
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import EngineError, Recognition
from model_server.evaluation.recordings import load, read_manifest
from model_server.listen import wake
from tests.server.client import House, Serve, command
from tests.server.recordings import DATA, needs_recordings
from tests.server.test_api_limits import Broken, Slow
from tests.server.test_command_line import serving
from tests.server.voices import say, silence
from tests.server.wyoming_client import OPEN, Client, connected

SPOKEN = "turn on the kitchen lights"


@pytest.fixture
async def door(serve: Serve) -> AsyncGenerator[House]:
    """A server with a Wyoming port that knows a kitchen and an office."""
    async with serve(wyoming=OPEN) as house:
        await house.furnish()
        yield house


async def test_without_a_port_nothing_listens(house: House) -> None:
    assert house.server.wyoming is None


async def test_a_description_tells_the_engines_and_the_wake_words(door: House) -> None:
    async with connected(door) as client:
        await client.send(Describe())
        event = await client.next()
    assert event is not None
    info = Info.from_event(event)

    (asr,) = info.asr
    assert (asr.name, asr.version, asr.installed) == ("Earshot", __version__, True)
    assert asr.requires_external_vad
    assert not asr.supports_transcript_streaming
    recognizer = door.service.recognizer
    assert recognizer is not None
    (model,) = asr.models
    assert (model.name, model.version) == (
        recognizer.info.name,
        recognizer.info.version,
    )
    assert model.languages == list(recognizer.languages)
    (program,) = info.wake
    assert {model.name: model.phrase for model in program.models} == {
        "okay_nabu": "Okay Nabu",
        "hey_jarvis": "Hey Jarvis",
        "hey_mycroft": "Hey Mycroft",
        "alexa": "Alexa",
    }
    assert all(model.attribution.url for model in program.models)
    assert info.tts == info.handle == info.intent == info.mic == info.snd == []
    assert info.satellite is None


async def test_a_server_without_a_speech_engine_offers_wake_words_only(
    serve: Serve,
) -> None:
    async with (
        serve(recognizer=None, wyoming=OPEN) as house,
        connected(house) as client,
    ):
        await client.send(Describe())
        event = await client.next()
        assert event is not None
        info = Info.from_event(event)
        await client.play(command())
        error = await client.error()

    assert info.asr == []
    assert len(info.wake) == 1
    assert error.code == "unsupported_task"
    assert "no speech engine" in error.text


async def test_several_utterances_are_understood_on_one_connection(
    door: House,
) -> None:
    async with connected(door) as client:
        await client.send(Transcribe(language="en"))
        assert await client.heard(command()) == SPOKEN
        assert await client.heard(command("turn off the office lamp")) == (
            "turn off the office lamp"
        )
        await client.send(Transcribe(language="en-GB", name="embedded-speech"))
        assert await client.heard(command()) == SPOKEN
    assert await door.metric("earshot_utterances_total", outcome="recognised") == 3


async def test_audio_that_nothing_was_asked_for_is_transcribed(door: House) -> None:
    async with connected(door) as client:
        assert await client.heard(command()) == SPOKEN
        assert await client.heard(command(), start=False) == SPOKEN


async def test_silence_gives_an_empty_transcript(door: House) -> None:
    async with connected(door) as client:
        assert await client.heard(silence(1)) == ""
        await client.send(Transcribe(), AudioStart(16000, 2, 1), AudioStop())
        assert await client.transcript() == ""


@pytest.mark.parametrize(
    ("rate", "width", "channels"),
    [
        (16000, 1, 1),
        (48000, 2, 2),
        (44100, 3, 1),
        (8000, 2, 1),
        (32000, 4, 2),
    ],
)
async def test_audio_of_any_format_is_understood(
    door: House, rate: int, width: int, channels: int
) -> None:
    """Chunks whose length is no whole number of samples, too."""
    data = encode(command("turn off the office lamp"), rate, width, channels)
    async with connected(door) as client:
        await client.play(data, rate, width, channels, chunk=1001)
        await client.send(AudioStop())
        assert await client.transcript() == "turn off the office lamp"


def encode(pcm: Pcm, rate: int, width: int, channels: int) -> bytes:
    """Samples in another format; with two channels the second is silent."""
    audio = soxr.resample(pcm.astype(np.float64) / 32768, SAMPLE_RATE, rate)
    if channels == 2:
        audio = np.stack([audio, np.zeros_like(audio)], axis=1)
    if width == 1:
        return np.asarray(audio * 127 + 128).astype(np.uint8).tobytes()
    whole = np.asarray(audio * ((1 << 31) - 1)).astype("<i4")
    return whole.reshape(-1, 1).view(np.uint8)[:, 4 - width :].tobytes()


@pytest.mark.parametrize(
    ("form", "hint"),
    [
        ((1000, 2, 1), "1000 Hz"),
        ((16000, 8, 1), "8 bytes"),
        ((16000, 2, 0), "0 channels"),
        ((16000, 0, 1), "0 bytes"),
    ],
)
async def test_audio_that_cannot_be_used_is_refused_and_the_next_is_heard(
    door: House, form: tuple[int, int, int], hint: str
) -> None:
    async with connected(door) as client:
        await client.play(silence(0.1), *form)
        error = await client.error()
        await client.send(AudioStop())
        assert await client.heard(command()) == SPOKEN

    assert error.code == "bad_message"
    assert hint in error.text
    assert await door.metric("earshot_wyoming_errors_total", code="bad_message") == 1


async def test_a_format_that_changes_within_an_utterance_is_refused(
    door: House,
) -> None:
    async with connected(door) as client:
        await client.play(silence(0.1))
        await client.play(silence(0.1), 48000, start=False)
        error = await client.error()
        await client.send(AudioStop())
        assert await client.heard(command()) == SPOKEN

    assert "audio-stop" in error.text


@pytest.mark.parametrize(
    ("request_", "code", "hint"),
    [
        (Transcribe(language="tlh"), "unsupported_language", "en"),
        (Transcribe(name="whisper"), "unsupported_task", "embedded-speech"),
        (Detect(names=["okay_nabu", "sesame"]), "unsupported_task", "okay_nabu"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_and_its_audio_ignored(
    door: House, request_: Eventable, code: str, hint: str
) -> None:
    async with connected(door) as client:
        await client.send(request_)
        await client.play(command())
        await client.send(AudioStop())
        error = await client.error()
        await client.send(Ping("still here?"))
        event = await client.next()
        await client.send(Transcribe())
        assert await client.heard(command()) == SPOKEN

    assert event is not None
    assert Pong.from_event(event).text == "still here?"
    assert error.code == code
    assert hint in error.text


async def test_an_utterance_over_the_limit_is_refused_while_it_lasts(
    serve: Serve,
) -> None:
    async with serve(wyoming=OPEN, max_utterance_s=5) as house:
        await house.furnish()
        async with connected(house) as client:
            await client.play(silence(6))
            error = await client.error()
            await client.play(silence(60), start=False)
            await client.send(AudioStop())
            assert await client.heard(command()) == SPOKEN

    assert error.code == "utterance_too_long"
    assert "5 s" in error.text


class Away(Slow):
    """A recogniser whose machine is gone."""

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        raise EngineError("The speech server does not answer: is it on?")


async def test_an_engine_that_is_away_says_so_in_its_own_words(serve: Serve) -> None:
    async with (
        serve(recognizer=Away(), wyoming=OPEN) as house,
        connected(house) as client,
    ):
        for _ in range(2):
            await client.play(command())
            await client.send(AudioStop())
            error = await client.error()
            assert error.text == "The speech server does not answer: is it on?"
            assert error.code == "engine_failed"
        name = "earshot_utterances_total"
        assert await house.metric(name, outcome="unavailable") == 2


async def test_an_engine_that_fails_gives_nothing_away(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serve(recognizer=Broken(), wyoming=OPEN) as house,
        connected(house) as client,
    ):
        await client.play(command())
        await client.send(AudioStop())
        error = await client.error()

    assert "log says where" in error.text
    assert "secret" not in caplog.text + error.text


class Slower(Slow):
    """A recogniser that takes longer than a client may be silent."""

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        time.sleep(1.5)
        return Recognition("slower", 1.0)


async def test_waiting_for_a_slow_engine_is_not_idle(serve: Serve) -> None:
    async with (
        serve(recognizer=Slower(), wyoming=OPEN, idle_s=1) as house,
        connected(house) as client,
    ):
        assert await client.heard(command()) == "slower"


WAKES = [
    ("okay_nabu", "okay nabu", "rms"),
    ("hey_jarvis", "hey jarvis", "slt"),
    ("hey_mycroft", "hey mycroft", "awb"),
    ("alexa", "alexa", "kal16"),
]


@pytest.mark.parametrize(("name", "phrase", "voice"), WAKES)
async def test_a_wake_word_is_detected_among_all_and_by_its_name(
    door: House, name: str, phrase: str, voice: str
) -> None:
    pcm = np.concatenate([silence(1), say(phrase, voice), silence(1)])
    async with connected(door) as client:
        for names in (None, [name], []):
            await client.send(Detect(names))
            await client.play(pcm)
            (detection,) = await client.detections()
            assert detection.name == name
            over_ms = (pcm.size - SAMPLE_RATE) // 16
            assert detection.timestamp is not None
            assert 1000 < detection.timestamp < over_ms + 300
            await client.send(AudioStop())
            assert await client.detections() == []
    assert await door.metric("earshot_wake_words_total", word=name) == 3


async def test_another_wake_word_than_the_one_asked_for_is_not_detected(
    door: House,
) -> None:
    async with connected(door) as client:
        await client.send(Detect(["alexa"]))
        await client.play(np.concatenate([say("okay nabu", "rms"), silence(1)]))
        await client.send(AudioStop())
        event = await client.next()

    assert event is not None
    assert NotDetected.is_type(event.type)


async def test_other_speech_noise_and_silence_wake_nobody(door: House) -> None:
    noise = np.random.default_rng(1).normal(0, 3000, 5 * SAMPLE_RATE).astype(np.int16)
    talk = [
        say("the weather was fine and we went for a walk along the river", voice)
        for voice in ("slt", "rms", "awb", "kal16")
    ]
    async with connected(door) as client:
        for pcm in (*talk, command(), noise, silence(5)):
            await client.send(Detect())
            await client.play(pcm)
            await client.send(AudioStop())
            event = await client.next()
            assert event is not None
            assert NotDetected.is_type(event.type), event


@needs_recordings
def test_recorded_commands_in_english_wake_nobody() -> None:
    detector = wake.WakeDetector(dict.fromkeys(wake.wake_words()))
    commands = [
        one
        for one in read_manifest(DATA)
        if one.subset.startswith("commands")
        and one.path.parent.name in {"speech_real_en", "en"}
    ]
    assert len(commands) == 90
    for one in commands:
        pcm = (load(one).samples * 32767).astype(np.int16)
        assert detector.push(np.concatenate([pcm, silence(0.5)])) == [], one.path.name


async def test_a_detection_has_the_time_that_its_chunk_has(door: House) -> None:
    pcm = np.concatenate([silence(1), say("alexa"), silence(1)])
    async with connected(door) as client:
        await client.send(Detect(["alexa"]), AudioStart(16000, 2, 1))
        for first in range(0, pcm.size, 160):
            audio = pcm[first : first + 160].tobytes()
            ms = 7_000_000 + first // 16
            await client.send(AudioChunk(16000, 2, 1, audio, timestamp=ms))
        (detection,) = await client.detections()

    said_ms = 7_000_000 + (pcm.size - SAMPLE_RATE) // 16
    assert detection.timestamp == pytest.approx(said_ms, abs=300)
    assert detection.timestamp is not None
    assert detection.timestamp % 10 == 0


async def test_the_same_stream_wakes_again_and_again(door: House) -> None:
    once = np.concatenate([silence(1), say("hey jarvis"), silence(2)])
    stereo = encode(np.concatenate([once, once, once]), 48000, 2, 2)
    async with connected(door) as client:
        await client.send(Detect())
        await client.play(stereo, 48000, 2, 2, chunk=1 << 18)
        found = await client.detections()

    assert [each.name for each in found] == ["hey_jarvis"] * 3


async def test_wake_and_command_share_a_connection(door: House) -> None:
    async with connected(door) as client:
        await client.send(Detect(["okay_nabu"]))
        await client.play(np.concatenate([say("okay nabu", "rms"), silence(1)]))
        assert [each.name for each in await client.detections()] == ["okay_nabu"]
        await client.send(Transcribe(language="en"))
        assert await client.heard(command()) == SPOKEN


async def test_events_of_other_programs_are_passed_over(door: House) -> None:
    async with connected(door) as client:
        await client.client.write_event(Event("synthesize", {"text": "hello"}))
        await client.client.write_event(Event("select-program", {"name": "Earshot"}))
        assert await client.heard(command()) == SPOKEN


def test_hours_of_audio_leave_nothing_behind_in_a_detector() -> None:
    """What it holds is counted after a minute and after another."""
    detector = wake.WakeDetector({"okay_nabu": None})
    hum = (np.sin(np.arange(SAMPLE_RATE) / 20) * 3000).astype(np.int16)

    def held() -> list[int]:
        for _ in range(60):
            assert detector.push(hum) == []
        scores = detector._scores
        (model,) = scores._models
        check = detector._checks["okay_nabu"]
        parts = (scores, check, check.decision, model, scores._features)
        return [size for part in parts for size in sizes(vars(part))]

    assert held() == held()


def sizes(state: dict[str, Any]) -> list[int]:
    """Lengths of everything that has one."""
    return [len(value) for value in state.values() if isinstance(value, Sequence)]


async def test_serve_opens_the_port_says_where_and_closes_it_in_order(
    tmp_path: Path,
) -> None:
    (tmp_path / "earshot.toml").write_text("[wyoming]\nmax_connections = 1\n")
    options = (
        *("--config", str(tmp_path / "earshot.toml"), "--wyoming-port", "0"),
        *("--log-level", "debug"),
    )
    async with serving(tmp_path / "data", *options) as (_, _, process):
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode().strip()
        address = line.removeprefix("Wyoming listens on tcp://127.0.0.1:")
        async with (
            AsyncTcpClient("127.0.0.1", int(address)) as first,
            AsyncTcpClient("127.0.0.1", int(address)) as second,
        ):
            assert await Client(first).heard(silence(0.2)) == ""
            assert (await Client(second).error()).code == "too_many_streams"
            await Client(first).play(command())
            process.send_signal(signal.SIGTERM)
            assert await Client(first).next() is None
        _, log = await process.communicate()

    assert process.returncode == 0
    assert b"Traceback" not in log
