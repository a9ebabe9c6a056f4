"""The cascade: a describer confirms what the classifier heard, or the event is not told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
import logging
from typing import Any

import numpy as np
import pytest

from model_server.api import verify
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.catalogue import load_catalogue
from model_server.engines.base import EngineError
from model_server.engines.schemas import check_schema
from model_server.settings import ClipSettings
from tests.server.client import House, Serve, Stream, of_kind
from tests.server.describers import Meter
from tests.server.pitches import HERTZ, Pitches, scene, tone
from tests.server.test_api_stream import alarm

CAPTION = "A dog barks twice\nin a yard."
BARK, MEOW, GLASS = ("bark", 2), ("meow", 2), ("glass_break", 2)


class Judge(Meter):
    """Says yes to what is at the pitch of one of its labels, and how loud it was."""

    def __init__(self, *heard: str, caption: object = CAPTION, **fails: Any) -> None:
        """Hear these labels' sounds; `caption` is what is said of any."""
        super().__init__(**fails)
        self.heard = {HERTZ[label] for label in heard}
        self.caption = caption
        self.seconds: list[float] = []

    def value(self, name: str, measured: Mapping[str, float]) -> object:
        if name == "heard":
            self.seconds.append(measured["seconds"])
            return "yes" if measured["pitch"] in self.heard else "no"
        return self.caption


@asynccontextmanager
async def judged(
    serve: Serve, judge: Judge, **settings: Any
) -> AsyncGenerator[tuple[House, Stream]]:
    """A stream whose events are verified, with time enough unless told otherwise."""
    settings = {"verify_s": 30} | settings
    async with (
        serve(classifier=Pitches(), describer=judge, **settings) as house,
        house.stream(
            "sounds", labels=["bark", "meow", "glass_break", "smoke"]
        ) as stream,
    ):
        yield house, stream
    # An answer that is held must not keep the thread, and with it the tests.
    judge.go.set()


def told(messages: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    """What the client was told of which label, and whether it was verified."""
    return [
        (message["label"], message["state"], message["verified"])
        for message in of_kind(messages, "sound")
    ]


async def outcomes(house: House) -> dict[str, float]:
    """How often each outcome was counted."""
    return {
        outcome: count
        for outcome in ("confirmed", "denied", "late", "failed", "busy")
        if (
            count := await house.metric(
                "earshot_sound_verifications_total", outcome=outcome
            )
        )
    }


async def test_what_the_describer_hears_too_is_verified_and_described(
    serve: Serve,
) -> None:
    judge = Judge("bark")
    async with judged(serve, judge) as (house, stream):
        messages = await (await stream.play(scene(20, BARK, 6))).end()

        begin, end = of_kind(messages, "sound")
        assert told(messages) == [("bark", "start", True), ("bark", "end", True)]
        assert begin["id"] == end["id"]
        for message in (begin, end):
            assert message["description"] == "A dog barks twice in a yard."
            assert message["gates"][-1] == "verification"
        assert await outcomes(house) == {"confirmed": 1}
        assert await house.metric("earshot_sound_events_total", label="bark") == 1
    ((instruction, schema, _),) = judge.asked
    assert '"Dog barking"' in instruction
    assert schema == verify.SCHEMA
    assert 2 < judge.seconds[0] <= verify.AUDIO_S


async def test_what_the_describer_does_not_hear_is_never_told(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "model_server")
    clips = ClipSettings(enabled=True)
    async with (
        serve(
            classifier=Pitches(), describer=Judge("meow"), verify_s=30, clips=clips
        ) as house,
        house.stream("sounds", labels=["bark", "meow"], clips=True) as stream,
    ):
        for number, sound in enumerate((BARK, MEOW, BARK), 1):
            await stream.play(scene(2, sound, 6))
            while sum((await outcomes(house)).values()) < number:
                await asyncio.sleep(0.01)
        messages = await stream.end()

        assert told(messages) == [("meow", "start", True), ("meow", "end", True)]
        assert [clip["label"] for clip in of_kind(messages, "clip")] == ["meow"]
        assert await outcomes(house) == {"confirmed": 1, "denied": 2}
        assert await house.metric("earshot_sound_events_total", label="bark") == 0
    logged = " ".join(
        record.message for record in caplog.records if "server" in record.name
    )
    assert "hall streams" in logged
    assert not {"yard", "bark"} & set(logged.lower().replace(".", " ").split())


async def test_a_late_answer_is_not_waited_for(serve: Serve) -> None:
    judge = Judge("bark")
    judge.go.clear()
    async with judged(serve, judge, verify_s=0.05) as (house, stream):
        messages = await (await stream.play(scene(2, BARK, 6))).end()

        begin, _ = of_kind(messages, "sound")
        assert told(messages) == [("bark", "start", False), ("bark", "end", False)]
        assert begin["description"] is None
        assert "verification" not in begin["gates"]
        assert await outcomes(house) == {"late": 1}


@pytest.mark.parametrize(
    "judge",
    [
        Judge("bark", fails=EngineError("The engine is away.")),
        Judge("bark", caption=7),
        Judge("bark", caption="x" * 201),
    ],
)
async def test_without_a_usable_answer_the_event_is_told_unverified(
    serve: Serve, judge: Judge
) -> None:
    async with judged(serve, judge) as (house, stream):
        messages = await (await stream.play(scene(2, BARK, 6))).end()

        assert told(messages) == [("bark", "start", False), ("bark", "end", False)]
        assert await outcomes(house) == {"failed": 1}


async def test_an_empty_sentence_is_no_description(serve: Serve) -> None:
    async with judged(serve, Judge("bark", caption=" \n")) as (_, stream):
        messages = await (await stream.play(scene(2, BARK, 6))).end()

        begin, _ = of_kind(messages, "sound")
        assert (begin["verified"], begin["description"]) == (True, None)


async def test_nobody_is_asked_with_zero_seconds(serve: Serve) -> None:
    judge = Judge()
    async with judged(serve, judge, verify_s=0) as (_, stream):
        messages = await (await stream.play(scene(2, BARK, 6))).end()

        assert told(messages) == [("bark", "start", False), ("bark", "end", False)]
    assert judge.asked == []


async def test_what_waits_delays_no_other_sound_and_keeps_its_own_order(
    serve: Serve,
) -> None:
    judge = Judge("bark")
    judge.go.clear()
    async with judged(serve, judge) as (house, stream):
        await stream.play(scene(2, BARK, 6, MEOW, GLASS, 6))
        early = [await stream.next("sound") for _ in range(4)]
        judge.go.set()
        messages = await stream.end()

        assert sorted(told(early)) == [
            ("glass_break", "end", False),
            ("glass_break", "start", False),
            ("meow", "end", False),
            ("meow", "start", False),
        ]
        assert told(messages) == [("bark", "start", True), ("bark", "end", True)]
        assert await outcomes(house) == {"confirmed": 1, "busy": 1}


@pytest.mark.parametrize(
    ("label", "pcm"),
    [
        ("glass_break", scene(2, GLASS, 8)),
        ("smoke", np.concatenate([scene(2), alarm(16), scene(15)])),
    ],
)
async def test_a_safety_sound_is_told_before_the_describer_has_answered(
    serve: Serve, label: str, pcm: Pcm
) -> None:
    judge = Judge("glass_break")
    judge.heard.add(3100)
    judge.go.clear()
    async with judged(serve, judge) as (house, stream):
        await stream.play(pcm[: -8 * SAMPLE_RATE])
        begin = await stream.next("sound")
        assert (begin["label"], begin["state"]) == (label, "start")
        assert (begin["verified"], begin["description"]) == (False, None)
        while not judge.said:
            await asyncio.sleep(0.01)
        judge.go.set()
        while not await outcomes(house):
            await asyncio.sleep(0.01)
        messages = await (await stream.play(pcm[-8 * SAMPLE_RATE :])).end()

        (end,) = of_kind(messages, "sound")
        assert end["id"] == begin["id"]
        assert end["verified"] is True
        assert end["description"] == "A dog barks twice in a yard."


async def test_a_safety_sound_is_told_even_if_the_describer_says_no(
    serve: Serve,
) -> None:
    async with judged(serve, Judge()) as (house, stream):
        messages = await (await stream.play(scene(2, GLASS, 8))).end()

        assert told(messages) == [
            ("glass_break", "start", False),
            ("glass_break", "end", False),
        ]
        assert await outcomes(house) == {"denied": 1}


async def test_a_stream_that_breaks_frees_the_describer(serve: Serve) -> None:
    judge = Judge("bark")
    judge.go.clear()
    async with serve(classifier=Pitches(), describer=judge, verify_s=30) as house:
        async with house.stream("sounds", labels=["bark"]) as stream:
            await stream.play(scene(2, BARK))
            while not judge.said:
                await asyncio.sleep(0.01)
        while house.service.sessions:
            await asyncio.sleep(0.01)
        judge.go.set()
        assert await asyncio.to_thread(judge.closed.acquire, timeout=60)
        assert len(judge.said) < 3


async def test_no_more_is_heard_than_the_describer_takes(serve: Serve) -> None:
    judge = Judge("bark")
    judge.max_seconds = 1.5
    async with judged(serve, judge) as (_, stream):
        await (await stream.play(scene(4, BARK, 6))).end()
    assert judge.seconds == [1.5]


def test_the_question_is_one_that_every_describer_can_follow() -> None:
    check_schema(verify.SCHEMA)


def test_which_labels_wait() -> None:
    waiting = {
        slug for slug, label in load_catalogue().items() if verify.is_delayed(label)
    }

    assert not waiting & {"smoke", "co", "glass_break", "siren"}
    assert {"bark", "baby_cry", "speaking"} <= waiting
    assert tone("bark", 1).size == SAMPLE_RATE
