"""Replay: the log of a real server tells exactly what its streams were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
import json
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from model_server import __main__ as command_line
from model_server.api import replay
from model_server.api.sound_lane import SoundLane
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import SoundClassifier
from model_server.evaluation import synthesis
from model_server.monitor.score_log import FILE
from tests.server.client import House, Serve, Stream, of_kind
from tests.server.test_monitor_listen import LOUD, QUIET, Level, play

# Retention goes by the server's clock, `since` by that of the audio.
NOW = datetime.now(UTC)
T0 = NOW - timedelta(minutes=20)
EASY = {"on": 0.6, "off": 0.3, "k": 1, "n": 1, "hold_s": 0.5}
runner = CliRunner()


@pytest.fixture
async def house(serve: Serve) -> AsyncGenerator[House]:
    """A server whose classifier goes by the level."""
    async with serve(classifier=Level()) as started:
        yield started


async def asked(house: House, **parameters: Any) -> dict[str, Any]:
    """What the door answers."""
    async with house.http() as http:
        response = await http.get("/v1/replay", params=parameters)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def told(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events as a stream was told of them: those of a replay, without the rest."""
    events: dict[str, dict[str, Any]] = {}
    for sound in of_kind(messages, "sound"):
        event = events.setdefault(
            sound["id"],
            {
                "label": sound["label"],
                "start": sound["start"],
                "threshold": sound["threshold"],
                "profile": sound["profile"],
                "sustained": None,
                "end": None,
            },
        )
        event["score"] = sound["score"]
        if sound["state"] == "sustained":
            event["sustained"] = sound["time"]
        event["end"] = sound["end"]
    return sorted(events.values(), key=lambda event: (event["start"], event["label"]))


def replayed(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The same of a replay."""
    names = (
        "label",
        "start",
        "threshold",
        "profile",
        "sustained",
        "end",
        "score",
    )
    events = [{name: event[name] for name in names} for event in answer["events"]]
    return sorted(events, key=lambda event: (event["start"], event["label"]))


def household(seconds: float) -> Pcm:
    """A loud and changing day, an alarm in the middle of it."""
    rng = np.random.default_rng(4)
    levels = np.repeat(rng.uniform(0, 1, round(seconds * 2)) ** 2, SAMPLE_RATE // 2)
    noise = rng.uniform(-1, 1, levels.size) * levels * 30000
    alarm = np.zeros(levels.size)
    bell = synthesis.t3(15.0) * 9000
    begin = round(seconds / 3) * SAMPLE_RATE
    noise[begin : begin + bell.size] *= 0.02
    alarm[begin : begin + bell.size] = bell
    return np.asarray(noise + alarm, np.int16)


async def test_a_replay_is_what_the_stream_was_told_to_the_bit(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes: list[SoundLane] = []
    begin = SoundLane.__init__

    def watched(lane: SoundLane, *arguments: Any, **options: Any) -> None:
        begin(lane, *arguments, **options)
        lanes.append(lane)

    monkeypatch.setattr(SoundLane, "__init__", watched)
    pcm = household(150)
    rng = np.random.default_rng(8)
    rules = {"bark": EASY | {"cooldown_s": 3, "sustain_s": 8, "sustain_gap_s": 6}}
    async with serve(classifier=Level(), max_ahead_s=600) as house:
        async with house.stream(
            "sounds",
            time=T0.isoformat(),
            labels=["bark", "smoke", "meow"],
            rules=rules | {"meow": EASY | {"on": 0.3, "off": 0.1, "k": 2, "n": 3}},
        ) as stream:
            await awkward(stream, pcm[: 40 * SAMPLE_RATE + 333], rng)
            await listen(stream, profile="night", labels=["bark", "smoke"], rules=rules)
            await awkward(stream, pcm[40 * SAMPLE_RATE + 333 : 80 * SAMPLE_RATE], rng)
            # Until all of that was heard, nothing can have been lost after it.
            while lanes[0]._position < 80 * SAMPLE_RATE - SAMPLE_RATE // 10:
                await asyncio.sleep(0.01)
            await lanes[0].skip(12_345)
            await listen(stream, labels=[])
            await stream.play(pcm[80 * SAMPLE_RATE : 81 * SAMPLE_RATE])
            await listen(
                stream, profile="away", sensitivity="high", labels=["meow", "bark"]
            )
            await awkward(stream, pcm[81 * SAMPLE_RATE :], rng)
            messages = await stream.end()
        answer = await asked(house, since="1h")

    live = told(of_all(stream, messages))
    assert {event["label"] for event in live} == {"bark", "meow", "smoke"}
    assert {event["profile"] for event in live} == {"home", "night", "away"}
    assert any(event["sustained"] for event in live)
    assert len(live) > 10
    again = replayed(answer)
    # Of what still went on, the stream was told only the score with which it began.
    for event, other in zip(live, again, strict=True):
        if event["end"] is None:
            assert other["score"] >= event["score"]
            other["score"] = event["score"]
    assert again == live


def of_all(stream: Stream, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Also the messages that a test has passed over."""
    return [*stream.passed, *messages]


async def awkward(stream: Stream, pcm: Pcm, rng: np.random.Generator) -> None:
    """Frames of any number of bytes, odd ones too, that end on a sample."""
    data = pcm.astype("<i2").tobytes()
    at = 0
    while at < len(data):
        size = int(rng.integers(1, 30_000))
        await stream.websocket.send(data[at : at + size])
        at += size


async def listen(stream: Stream, **fields: Any) -> None:
    """Change what the stream listens for."""
    await stream.send({"type": "listen"} | fields)


async def test_other_rules_tell_what_would_have_been(house: House) -> None:
    async with house.stream(
        "sounds", time=T0.isoformat(), labels=["bark"], rules={"bark": EASY}
    ) as stream:
        # Three loud stretches, two of which come close only.
        pcm = play(LOUD, QUIET, (2.0, 0.55), QUIET, (2.0, 0.4), QUIET)
        await (await stream.play(pcm)).end()

    was = await asked(house)
    assert len(was["events"]) == 1
    assert was["microphones"] == ["hall"]
    (near,) = was["near_misses"]
    assert (near["label"], near["missed"], near["over"]) == ("bark", "on_threshold", 0)
    assert near["score"] == pytest.approx(0.55, abs=0.01)
    assert near["windows"][0] == near["score"] < near["threshold"] == 0.6
    middle = datetime.fromisoformat(near["time"]) - T0
    assert 4.5 <= middle.total_seconds() <= 7

    wider = await asked(house, margin=0.25)
    assert len(wider["near_misses"]) == 2
    easy = await asked(house, label="bark", threshold=0.5)
    assert [event["score"] > 0.5 for event in easy["events"]] == [True, True]
    assert await count(house, threshold=0.35, off=0.3) == 3
    assert await count(house, threshold=0.35, cooldown=3600) == 1
    assert await count(house, threshold=0.35, hold=100) == 1
    assert await count(house, k=9, n=9) == 0
    assert (await asked(house, sustain=1))["events"][0]["sustained"] is not None
    late = (T0 + timedelta(seconds=8)).isoformat()
    assert await count(house, threshold=0.35, since=late) == 1
    assert await count(house, threshold=0.35, until=late) == 2
    assert (await asked(house, threshold=0.35, limit=1))["left_out"] == 2


async def count(house: House, **parameters: Any) -> int:
    """How many events there would have been."""
    return len((await asked(house, **parameters))["events"])


async def test_a_label_that_was_not_listened_for_is_replayed_if_it_is_asked_for(
    house: House,
) -> None:
    async with house.stream("sounds", labels=["bark"]) as stream:
        await (await stream.play(play(LOUD, (4.0, 1.0)))).end()

    assert [each["label"] for each in (await asked(house))["events"]] == ["bark"]
    (meow,) = (await asked(house, label="meow", threshold=0.4))["events"]
    assert (meow["label"], meow["watched"]) == ("meow", False)
    assert (await asked(house, microphone="attic"))["events"] == []


async def test_the_command_reads_what_a_running_server_writes(house: House) -> None:
    folder = house.service.settings.data_dir
    async with house.stream(
        "sounds", time=T0.isoformat(), labels=["bark", "smoke"], rules={"bark": EASY}
    ) as stream:
        pcm = play(LOUD, QUIET, (2.0, 0.55), QUIET)
        await stream.play(np.concatenate([pcm, synthesis.pcm(synthesis.t3(9.0))]))
        while (await stream.next("sound"))["label"] != "smoke":
            pass
        through_door = await asked(house, since="1h")
        printed = await run("replay", "--json", "--since", "1h", folder=folder)
        shown = await run("replay", "--sustain", "0.5", folder=folder)
        limited = await run("replay", "--limit", "1", folder=folder)

    spoken = json.loads(printed)
    assert {name: spoken[name] for name in ("events", "near_misses")} == {
        name: through_door[name] for name in ("events", "near_misses")
    }
    assert [event["label"] for event in spoken["events"]] == ["bark", "smoke"]
    assert spoken["events"][1]["engine"]["name"] == "earshot-rhythm"
    for words in ("Events", "Near misses", "Dog barking", "under the threshold"):
        assert words in shown
    assert "more before these: ask for less" in limited


async def run(*arguments: str, folder: Any) -> str:
    """A command's output."""
    done = runner.invoke(
        command_line.app,
        [*arguments, "--data-dir", str(folder)],
        env={"COLUMNS": "200"},
    )
    assert done.exit_code == 0, done.output
    return done.output


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"label": "moo"}, "no label moo"),
    ({"label": "' OR 1=1 --"}, "label"),
    ({"microphone": "../../etc"}, "microphone"),
    ({"threshold": "nan"}, "threshold"),
    ({"threshold": "2"}, "threshold"),
    ({"threshold": "high"}, "threshold"),
    ({"threshold": "0.2", "off": "0.3"}, "may not be above"),
    ({"k": "5", "n": "2"}, "may not be above n"),
    ({"hold": "0"}, "hold"),
    ({"cooldown": "-1"}, "cooldown"),
    ({"margin": "nan"}, "margin"),
    ({"margin": "-0.1"}, "margin"),
    ({"limit": "1000000000"}, "limit"),
    ({"since": "yesterday"}, "24h or 7d"),
    ({"since": "0001-01-01T00:00:00+14:00"}, "24h or 7d"),
    ({"since": "1h", "until": "2h"}, "after until"),
    ({"until": "9" * 400 + "d"}, "until"),
    ({"window": "3"}, "window"),
]


async def test_any_other_question_is_refused_with_what_to_change(house: House) -> None:
    async with house.http() as http:
        for parameters, words in HOSTILE:
            response = await http.get("/v1/replay", params=parameters)
            assert response.status_code == 422, parameters
            assert response.json()["code"] == "bad_query"
            assert words in response.json()["message"], response.text


async def test_before_anything_was_heard_there_is_no_log(house: House) -> None:
    async with house.http() as http:
        response = await http.get("/v1/replay")

    assert (response.status_code, response.json()["code"]) == (404, "no_score_log")
    done = runner.invoke(
        command_line.app,
        ["replay", "--data-dir", str(house.service.settings.data_dir)],
    )
    assert (done.exit_code, "no score log" in done.output) == (2, True)


async def test_too_much_at_once_and_too_many_at_a_time_are_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.stream("sounds") as stream:
        await (await stream.play(play(LOUD))).end()
    async with house.http() as http:
        monkeypatch.setattr(replay, "MAX_STEPS", 2)
        much = await http.get("/v1/replay")
        monkeypatch.setattr(replay, "MAX_WAITING", 0)
        many = await http.get("/v1/replay")

    assert (much.status_code, "a shorter time" in much.text) == (422, True)
    assert (many.status_code, "retry-after" in many.headers) == (429, True)


async def test_with_no_days_nothing_is_kept_and_what_was_is_removed(
    serve: Serve,
) -> None:
    async with serve(classifier=Level()) as house:
        async with house.stream("sounds") as stream:
            await (await stream.play(play(LOUD))).end()
        await asked(house)
        folder = house.service.settings.data_dir
        assert (folder / FILE).exists()
    async with serve(classifier=Level(), score_log_days=0) as house:
        async with house.stream("sounds") as stream:
            await (await stream.play(play(LOUD))).end()
        async with house.http() as http:
            response = await http.get("/v1/replay")

    assert (response.status_code, "score_log_days" in response.text) == (404, True)
    assert not list(folder.glob(f"{FILE}*"))


async def test_a_log_that_cannot_be_removed_keeps_no_server_from_starting(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(*_: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr("model_server.api.service.forget", locked)
    async with serve(score_log_days=0) as house, house.http() as http:
        assert (await http.get("/health")).status_code == 200

    assert "cannot be removed: not yours" in caplog.text


async def test_a_client_that_vanishes_leaves_what_it_played(house: House) -> None:
    async with house.stream("sounds", labels=["bark"], rules={"bark": EASY}) as stream:
        await stream.play(play(LOUD))
        await stream.next("sound")
        stream.websocket.transport.abort()
    while house.service.sessions:
        await house.metric("earshot_streams")
        async with house.http() as http:
            await http.get("/health")

    (event,) = (await asked(house))["events"]
    assert (event["label"], event["end"]) == ("bark", None)


async def test_so_it_is_with_the_shipped_network(
    serve: Serve, classifier: SoundClassifier
) -> None:
    knocks = (np.random.default_rng(0).random(6 * SAMPLE_RATE) < 0.0005) * 0.8
    audio = np.concatenate(
        [
            synthesis.household(4.0, seed=5),
            synthesis.microwave(6.0),
            synthesis.music(6.0, seed=2),
            knocks,
            synthesis.noise(4.0, "brown", rms=0.2),
            synthesis.silence(5.0),
        ]
    ).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(audio, classifier.window)
    scores = classifier.classify(
        np.ascontiguousarray(windows[:: classifier.hop])
    ).scores
    # Whatever these weights score, a third of it becomes events.
    highs, lows = np.quantile(scores, [0.7, 0.5], axis=0)
    rules = {
        label: {"on": float(high), "off": float(low), "k": 1, "n": 2, "hold_s": 0.5}
        for label, high, low in zip(classifier.labels, highs, lows, strict=True)
    }
    labels = list(classifier.labels)
    async with serve() as house:
        async with house.stream(
            "sounds",
            time=T0.isoformat(),
            labels=labels,
            rules=rules,
        ) as stream:
            await awkward(stream, synthesis.pcm(audio), np.random.default_rng(3))
            messages = await stream.end()
        answer = await asked(house, since="1h")

    live = told(messages)
    ended = [event for event in live if event["end"]]
    assert len(ended) >= 3
    assert len({event["label"] for event in ended}) >= 2
    again = [event for event in replayed(answer) if event["end"]]
    assert again == ended
    assert len(answer["events"]) == len(live)
