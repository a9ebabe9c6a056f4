"""Streams that listen only after a wake word, a gesture or a question."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.ring import Ring
from model_server.evaluation import gestures, synthesis
from model_server.listen.attention import (
    ATTENTION,
    Attention,
    AttentionEvent,
    Forgotten,
)
from model_server.listen.endpoint import Endpointer, Pause, SpeechStart, Utterance
from model_server.listen.listener import ROOM
from model_server.listen.wake import (
    REFRACTORY,
    Wake,
    WakeCheck,
    WakeDetector,
    WakeScore,
    wake_words,
)

from .client import House, Serve, of_kind, texts
from .test_listen_endpoint import LoudIsSpeech, script
from .voices import say, silence

WORD = {"alexa": None}
LIGHTS = "turn on the kitchen lights"
OFFICE = "turn off the office lamp"
T0 = "2026-11-22T18:00:00Z"


def called(*pieces: Pcm | float | str) -> Pcm:
    """Audio of sentences, seconds of silence and other audio."""
    return np.concatenate([_piece(piece) for piece in (1.0, *pieces, 1.0)])


def _piece(piece: Pcm | float | str) -> Pcm:
    if isinstance(piece, str):
        return say(piece)
    return silence(piece) if isinstance(piece, float) else piece


CALL = "alexa"


async def heard(house: House, pcm: Pcm, **fields: Any) -> list[dict[str, Any]]:
    """All that a stream of commands tells."""
    tasks = fields.pop("tasks", ["commands"])
    async with house.stream(*tasks, time=T0, wake=fields.pop("wake", WORD)) as stream:
        return await (await stream.play(pcm, **fields)).end()


async def test_only_what_follows_the_wake_word_is_listened_to(house: House) -> None:
    pcm = called(OFFICE, 1.0, CALL, 0.4, LIGHTS, 1.0, OFFICE, 1.0)
    messages = await heard(house, pcm)

    kinds = [message["type"] for message in messages if message["type"] != "level"]
    assert kinds == ["wake", "speech", "speech", "transcript", "stopped"]
    assert texts(messages) == [LIGHTS]
    (wake,) = of_kind(messages, "wake")
    assert (wake["word"], wake["microphone"]) == ("alexa", "hall")
    assert wake["score"] > wake_words()["alexa"].cutoff
    over_s = 2 + (say(OFFICE).size + say(CALL).size) / SAMPLE_RATE
    assert wake["time"].startswith("2026-11-22T18:00:0")
    assert float(wake["time"][17:-1]) == pytest.approx(over_s, abs=0.3)
    assert await house.metric("earshot_wake_words_total", word="alexa") == 1


async def test_wake_word_and_command_in_one_breath(house: House) -> None:
    whole = await heard(house, called("alexa, turn on the kitchen lights"))
    cut = await heard(house, called("alexa, turn on the kitchen lights"), frame=777)

    assert texts(whole) == [LIGHTS]
    assert texts(cut) == [LIGHTS]
    (one,), (other,) = (of_kind(each, "transcript") for each in (whole, cut))
    assert (one["start"], one["end"]) == (other["start"], other["end"])


async def test_a_command_must_begin_within_five_seconds(house: House) -> None:
    assert texts(await heard(house, called(CALL, 4.0, LIGHTS))) == [LIGHTS]
    late = await heard(house, called(CALL, 6.0, LIGHTS))
    assert len(of_kind(late, "wake")) == 1
    assert of_kind(late, "speech") == []


async def test_what_is_no_command_leaves_time_for_one(house: House) -> None:
    messages = await heard(house, called(CALL, 0.5, "oh my dear", 1.0, LIGHTS))
    assert texts(messages)[-1] == LIGHTS


async def test_a_question_is_answered_without_a_wake_word(house: House) -> None:
    async with house.stream("commands", wake=WORD) as stream:
        await stream.play(called(LIGHTS))
        await stream.send({"type": "attend", "seconds": 8})
        # The first may be the question itself, from a speaker.
        asked = called(LIGHTS, 1.0, OFFICE, 6.0, LIGHTS)
        messages = await (await stream.play(asked)).end()

    assert texts(messages) == [LIGHTS, OFFICE]
    assert of_kind(messages, "wake") == []


async def test_a_double_clap_wakes_and_is_told(house: House) -> None:
    rng = np.random.default_rng(0)
    dry = gestures.series(lambda: gestures.clap(rng, 1300.0), [0.3], rng)
    claps = gestures.heard(dry, rng, snr_db=25.0, rt60=0.2, dbfs=-12.0)
    pcm = called(OFFICE, 1.5, synthesis.pcm(claps), 0.5, LIGHTS, 2.0)
    wake = {"double_clap": None}
    messages = await heard(house, pcm, wake=wake, tasks=["commands", "sounds"])

    assert [each["word"] for each in of_kind(messages, "wake")] == ["double_clap"]
    assert "double_clap" in [each["label"] for each in of_kind(messages, "sound")]
    assert texts(messages) == [LIGHTS]


async def test_words_and_cutoffs_change_while_the_stream_goes_on(house: House) -> None:
    async with house.stream("commands", wake={"alexa": 0.999}) as stream:
        await stream.play(called(CALL, 0.5, LIGHTS))
        await stream.send({"type": "listen", "wake": WORD})
        assert (await stream.next("listening"))["wake"] == ["alexa"]
        await stream.play(called(CALL, 0.5, OFFICE))
        await stream.send({"type": "listen", "wake": {"hey_mycroft": None}})
        await stream.play(called(CALL, 0.5, LIGHTS))
        await stream.send({"type": "listen"})
        await stream.play(called(LIGHTS))
        await stream.send({"type": "listen", "wake": WORD})
        messages = await (await stream.play(called(OFFICE))).end()

    assert texts(stream.passed + messages) == [OFFICE, LIGHTS]
    assert len(of_kind(stream.passed + messages, "wake")) == 1


async def test_a_stream_may_tell_of_wake_words_only(serve: Serve) -> None:
    pcm = called(CALL, 1.0, LIGHTS, 1.0, CALL, 1.0)
    async with serve(recognizer=None) as house:
        messages = await heard(house, pcm, tasks=["wake"])
        info = (await house.http().get("/v1/info")).json()

    assert [each["word"] for each in of_kind(messages, "wake")] == ["alexa"] * 2
    assert of_kind(messages, "speech") == []
    assert {each["name"]: each["cutoff"] for each in info["wake_words"]} == {
        name: word.cutoff for name, word in wake_words().items()
    }


@pytest.mark.parametrize(
    ("tasks", "wake", "code", "told"),
    [
        (["sounds"], WORD, "bad_message", "task `commands` or `wake`"),
        (["wake"], {}, "bad_message", "names what wakes"),
        (["commands"], {"double_clap": None}, "bad_message", "task `sounds`"),
        (["commands"], {"hey_you": None}, "unknown_label", "hey_you"),
        (["commands", "sounds"], {"bark": None}, "unknown_label", "bark"),
        (["commands", "sounds"], {"double_clap": 0.5}, "bad_message", "no score"),
        (["commands"], {"alexa": 1.5}, "bad_message", "wake.alexa"),
        (["wake", "commands"], WORD, "unsupported_task", "`wake` stands alone"),
    ],
)
async def test_what_cannot_wake_is_refused(
    house: House, tasks: list[str], wake: dict[str, Any], code: str, told: str
) -> None:
    async with house.connect() as stream:
        await stream.start(*tasks, wake=wake)
        error = await stream.next("error")

    assert (error["code"], told in error["message"]) == (code, True), error


async def test_only_a_stream_of_commands_attends(house: House) -> None:
    async with house.stream("sounds") as stream:
        await stream.send({"type": "attend", "seconds": 5})
        assert "task `commands`" in (await stream.next("error"))["message"]


def test_a_phrase_is_looked_for_once_a_model_is_sure() -> None:
    """The model's scores are given, as if it took anything for its word."""
    said = called(CALL, 1.0, "good morning to you")
    over = SAMPLE_RATE + say(CALL).size

    def check(at: int) -> Wake | None:
        ring = Ring(said.size)
        ring.write(said)
        decision = WakeCheck(0.9, ring)
        found = [
            decision.take(WakeScore("alexa", step, 0.95 if step == at else 0.1))
            for step in range(at, at + SAMPLE_RATE, 160)
            if not (ring.end < step)
        ]
        return next((one for one in found if one), None)

    found = check(over)
    assert found is not None
    assert found.end == pytest.approx(over, abs=SAMPLE_RATE // 4)
    assert check(over + 2 * SAMPLE_RATE) is None


def test_after_a_false_wake_the_true_one_is_not_missed() -> None:
    """Somebody says something alike, and at once the word itself."""
    ring = Ring(10 * SAMPLE_RATE)
    said = called("turn the lamps", CALL)
    ring.write(said)
    check = WakeCheck(0.9, ring)
    first = SAMPLE_RATE + say("turn the lamps").size
    sure = [first, first + say(CALL).size]
    assert sure[1] - sure[0] < REFRACTORY
    found = [
        one
        for at in range(160, said.size, 160)
        if (one := check.take(WakeScore("alexa", at, _score(at, sure))))
    ]
    assert [one.name for one in found] == ["alexa"]


def _score(at: int, sure: list[int]) -> float:
    return 0.99 if any(0 <= at - one < 160 for one in sure) else 0.0


def attention(wake: dict[str, float | None] | None) -> Attention:
    return Attention(Endpointer(LoudIsSpeech()), wake)


WOKEN = Wake("double_clap", 0, 0.9, 0)
SPOKEN = script((1, 0), (1, 0.9), (1, 0))


def kinds(events: list[AttentionEvent]) -> list[type]:
    return [type(event) for event in events]


def test_nobody_listens_before_it_is_asked_for_and_for_long_after() -> None:
    one = attention({})
    assert one.push(SPOKEN) == []
    one.attend(3 * SAMPLE_RATE, 3 * SAMPLE_RATE + ATTENTION, WOKEN)
    start, end = one.push(SPOKEN)
    assert isinstance(start, SpeechStart)
    assert isinstance(end, Utterance)
    assert start.start == 4 * SAMPLE_RATE
    assert one.push(script((5, 0))) + one.push(SPOKEN) == []


def test_what_was_said_since_a_gesture_is_heard_though_it_is_known_late() -> None:
    one = attention({})
    one.push(script((2, 0), (1, 0.9)))
    events = one.attend(round(1.5 * SAMPLE_RATE), 5 * SAMPLE_RATE, WOKEN)
    assert kinds(events) == [Wake, SpeechStart]
    assert kinds(one.push(script((1, 0)))) == [Utterance]


def test_who_calls_anew_is_not_heard_twice() -> None:
    one = attention({})
    one.attend(0, ATTENTION, WOKEN)
    assert kinds(one.push(script((1, 0), (1, 0.9)))) == [SpeechStart]
    forgotten, wake = one.attend(2 * SAMPLE_RATE, 2 * SAMPLE_RATE + ATTENTION, WOKEN)
    assert (forgotten, wake) == (Forgotten(2 * SAMPLE_RATE), WOKEN)
    assert kinds(one.push(script((1, 0.9), (1, 0)))) == [SpeechStart, Utterance]


def test_a_question_does_not_interrupt_who_speaks() -> None:
    one = attention({})
    one.attend(0, ATTENTION, WOKEN)
    one.push(script((1, 0), (1, 0.9)))
    assert one.attend(2 * SAMPLE_RATE, 20 * SAMPLE_RATE) == []
    assert kinds(one.push(script((1, 0)))) == [Utterance]
    assert one.asked
    assert kinds(one.push(script((10, 0), (1, 0.9), (1, 0)))) == [
        SpeechStart,
        Utterance,
    ]


def test_who_goes_on_after_the_command_is_not_heard() -> None:
    one = Attention(Endpointer(LoudIsSpeech(), ROOM), {})
    one.attend(0, ATTENTION, WOKEN)
    spoken = one.push(script((0.5, 0), (1, 0.9), (0.3, 0), (1, 0.9), (1, 0)))
    assert kinds(spoken) == [SpeechStart, Pause]
    assert kinds(one.resume(0.0)) == [Utterance, SpeechStart, Pause]
    one.rest()
    assert kinds(one.resume(0.0)) == [Forgotten]
    assert one.push(SPOKEN) == []
    one.attend(7 * SAMPLE_RATE, 10 * SAMPLE_RATE, WOKEN)
    assert kinds(one.push(SPOKEN)) == [SpeechStart, Pause]


def test_a_gap_ends_what_is_open_and_moves_what_follows() -> None:
    one = attention({})
    assert one.skip(SAMPLE_RATE) == []
    one.attend(SAMPLE_RATE, SAMPLE_RATE + ATTENTION, WOKEN)
    one.push(script((1, 0), (1, 0.9)))
    (end,) = one.skip(2 * SAMPLE_RATE)
    assert isinstance(end, Utterance)
    assert end.start == 2 * SAMPLE_RATE
    start, _ = one.push(SPOKEN)
    assert start == SpeechStart(6 * SAMPLE_RATE)
    assert one.finish() == []


def test_without_words_all_is_heard_and_who_speaks_is_heard_to_the_end() -> None:
    one = attention(None)
    assert one.attend(0, 1) == []
    one.push(script((1, 0), (1, 0.9)))
    one.change({})
    assert kinds(one.push(script((1, 0)))) == [Utterance]
    assert one.push(script((2, 0))) + one.push(SPOKEN) == []
    assert one.finish() == []
    one.change(None)
    assert kinds(one.push(SPOKEN)) == [SpeechStart, Utterance]


def test_a_detector_counts_from_where_it_began() -> None:
    pcm = called(CALL)
    (early,) = WakeDetector(WORD).push(pcm)
    (late,) = WakeDetector(WORD, 1000).push(pcm)
    assert (late.at, late.end) == (early.at + 1000, early.end + 1000)
