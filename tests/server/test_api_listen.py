"""Streams that change what they listen for: `listen`, profiles, rules."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from model_server.api import schedule
from model_server.audio import SAMPLE_RATE
from model_server.evaluation import synthesis
from tests.server.client import House, Serve, of_kind
from tests.server.test_monitor_listen import LOUD, QUIET, Level, play
from tests.server.voices import silence

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
EASY = {"on": 0.6, "k": 1, "n": 1, "hold_s": 0.5}


@pytest.fixture
async def house(serve: Serve) -> AsyncGenerator[House]:
    """A server that knows no home, which no sound needs."""
    async with serve() as started:
        yield started


def at(stamp: str) -> float:
    """Seconds since T0."""
    return (datetime.fromisoformat(stamp) - T0).total_seconds()


async def test_a_profile_and_its_rules_come_back_with_each_event(serve: Serve) -> None:
    rules = {"bark": EASY | {"cooldown_s": 1, "sustain_s": 4, "sustain_gap_s": 30}}
    async with (
        serve(classifier=Level()) as house,
        house.stream(
            "sounds", time=T0.isoformat(), profile="night", labels=["bark"], rules=rules
        ) as stream,
    ):
        messages = await (await stream.play(play(*[LOUD, QUIET] * 2))).end()

    sounds = of_kind(messages, "sound")
    assert [sound["state"] for sound in sounds] == [
        "start",
        "end",
        "start",
        "sustained",
        "end",
    ]
    start, _, second, sustained, end = sounds
    assert {sound["profile"] for sound in sounds} == {"night"}
    assert start["gates"] == ["not_silent", "on_threshold", "k_of_n", "cooldown"]
    assert start["windows"][-1] == start["score"] >= start["threshold"] == 0.6
    assert (start["description"], start["clip"]) == (None, None)
    assert sustained["id"] == second["id"] == end["id"] != start["id"]
    assert sustained["start"] == start["start"]
    assert sustained["end"] is None
    assert at(sustained["time"]) >= at(start["start"]) + 4
    assert await house.metric("earshot_sound_events_total", label="bark") == 2


async def test_listen_is_in_force_from_its_place_in_the_stream(serve: Serve) -> None:
    async with (
        serve(classifier=Level()) as house,
        house.stream(
            "sounds", time=T0.isoformat(), labels=["bark"], rules={"bark": EASY}
        ) as stream,
    ):
        await stream.play(play(LOUD), frame=777)
        await listen(stream, labels=["meow"], profile="away", sensitivity="high")
        messages = await (await stream.play(play((3.0, 0.98)), frame=1234)).end()

    (told,) = of_kind(messages, "listening")
    assert told == {
        "type": "listening",
        "labels": ["meow"],
        "profile": "away",
        "sensitivity": "high",
        "wake": [],
    }
    bark, end, meow = of_kind(messages, "sound")
    assert (bark["label"], bark["state"], bark["profile"]) == ("bark", "start", "home")
    assert (end["id"], end["state"], at(end["end"])) == (bark["id"], "end", 2.0)
    assert (meow["label"], meow["state"], meow["profile"]) == ("meow", "start", "away")
    assert at(meow["start"]) == 2.0
    usual = house.service.catalogue["meow"].on_score
    assert usual / 2 < meow["threshold"] < usual


async def test_without_labels_listen_means_the_defaults(house: House) -> None:
    async with house.stream("sounds", labels=["co"]) as stream:
        await listen(stream)
        told = await stream.next("listening")
        messages = await stream.end()

    defaults = [each.slug for each in house.service.catalogue.values() if each.default]
    assert told["labels"] == defaults
    assert messages[-1]["type"] == "stopped"


async def test_an_alarm_goes_on_across_a_change_of_profile(house: House) -> None:
    alarm = synthesis.pcm(synthesis.t3(12.0))
    async with house.stream("sounds", time=T0.isoformat()) as stream:
        await stream.play(alarm[: 9 * SAMPLE_RATE])
        await listen(stream, profile="night")
        rest = np.concatenate([alarm[9 * SAMPLE_RATE :], silence(15)])
        messages = await (await stream.play(rest)).end()

    start, end = of_kind(messages, "sound")
    assert (start["state"], end["state"]) == ("start", "end")
    assert start["id"] == end["id"]
    assert start["gates"] == ["rhythm"]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"labels": ["bark", "moo"]}, "unknown_label", "no label moo: GET /v1/info"),
    ({"rules": {"moo": {"on": 0.5}}}, "unknown_label", "no label moo"),
    ({"rules": {"bark": {"on": 2}}}, "bad_message", "rules.bark.on"),
    ({"rules": {"bark": {"k": 0}}}, "bad_message", "rules.bark.k"),
    ({"rules": {"bark": {"hold_s": "nan"}}}, "bad_message", "rules.bark.hold_s"),
    ({"rules": {"bark": {"on": 0.2, "off": 0.3}}}, "bad_message", "may not be above"),
    ({"rules": {"bark": {"k": 3, "n": 2}}}, "bad_message", "may not be above n"),
    ({"rules": {"Bark!": {}}}, "bad_message", "rules"),
    ({"sensitivity": "extreme"}, "bad_message", "sensitivity"),
    ({"profile": "At night"}, "bad_message", "profile"),
]


async def test_a_wrong_choice_is_refused_alike_in_start_and_listen(
    house: House,
) -> None:
    for fields, code, told in WRONG:
        async with house.connect() as stream:
            await stream.start("sounds", **fields)
            refused = await stream.next("error")
        async with house.stream("sounds") as stream:
            await listen(stream, **fields)
            refused_too = await stream.next("error")

        for error in (refused, refused_too):
            assert error["code"] == code, fields
            assert told in error["message"], fields


async def test_a_rule_for_an_alarm_leaves_it_alone(house: House) -> None:
    rules = {"smoke": {"on": 1.0, "k": 20, "n": 20}}
    async with house.stream("sounds", rules=rules, sensitivity="low") as stream:
        messages = await (await stream.play(synthesis.pcm(synthesis.t3(9.0)))).end()

    assert [sound["label"] for sound in of_kind(messages, "sound")] == ["smoke"]


async def test_listen_is_only_for_a_stream_that_goes_on(house: House) -> None:
    async with house.stream("transcribe") as stream:
        await listen(stream)
        assert "task `sounds`" in (await stream.next("error"))["message"]
    async with house.connect() as stream:
        await listen(stream)
        assert "`start` before `listen`" in (await stream.next("error"))["message"]


async def test_changes_without_end_are_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "MOST", 0)
    async with house.stream("sounds") as stream:
        await listen(stream)
        error = await stream.next("error")

    assert (error["code"], "too often" in error["message"]) == ("bad_message", True)


async def test_the_last_of_several_changes_at_one_place_counts(serve: Serve) -> None:
    async with (
        serve(classifier=Level()) as house,
        house.stream("sounds", labels=["bark"]) as stream,
    ):
        for label in ("bark", "meow", "bark"):
            await listen(stream, labels=[label], rules={"bark": EASY})
        messages = await (await stream.play(play(LOUD))).end()

    assert len(of_kind(messages, "listening")) == 3
    assert [sound["label"] for sound in of_kind(messages, "sound")] == ["bark"]


async def listen(stream: Any, **fields: Any) -> None:
    """Send `listen`."""
    await stream.send({"type": "listen"} | fields)
