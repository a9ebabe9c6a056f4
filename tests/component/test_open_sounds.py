"""Sound events across streams: one start, one end, whatever breaks."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, strategies as st

from custom_components.earshot.client import Engine, Sound
from custom_components.earshot.open_sounds import REMEMBERED, OpenSounds

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def begin(event: str, label: str = "smoke", seconds: float = 0) -> Sound:
    return Sound(
        event,
        at(seconds),
        "kitchen",
        state="start",
        label=label,
        score=0.8,
        threshold=0.5,
        start=at(seconds),
        engine=Engine("fake", "1"),
    )


def end(event: str, label: str = "smoke", seconds: float = 5) -> Sound:
    return replace(
        begin(event, label), state="end", time=at(seconds), end=at(seconds), score=0.9
    )


def lasting(event: str, label: str = "smoke", seconds: float = 3) -> Sound:
    return replace(begin(event, label), state="sustained", time=at(seconds), score=0.85)


def test_a_start_and_an_end_pass() -> None:
    sounds = OpenSounds()
    assert sounds.receive(begin("a")) == begin("a")
    assert sounds.labels == {"smoke"}
    assert sounds.receive(end("a")) == end("a")
    assert sounds.labels == frozenset()


def test_repetitions_are_dropped() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    assert sounds.receive(begin("a")) is None
    sounds.receive(end("a"))
    assert sounds.receive(end("a")) is None
    assert sounds.receive(begin("a")) is None


def test_an_end_without_a_start_is_dropped() -> None:
    assert OpenSounds().receive(end("a")) is None


def test_a_start_on_the_next_stream_continues_the_event() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    sounds.lost(at(3), at(4))
    sounds.resumed(at(6))
    assert sounds.receive(begin("b", seconds=8)) is None
    assert sounds.deadline is None
    closed = sounds.receive(end("b", seconds=20))
    assert closed is not None
    assert (closed.id, closed.start, closed.end) == ("a", at(0), at(20))
    assert closed.score == 0.9


def test_an_event_survives_several_breaks() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    for event in ("b", "c"):
        sounds.lost(at(3), at(4))
        sounds.resumed(at(5))
        assert sounds.receive(begin(event)) is None
    closed = sounds.receive(end("c"))
    assert closed is not None
    assert closed.id == "a"


def test_another_label_does_not_continue_the_event() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    sounds.lost(at(3), at(4))
    sounds.resumed(at(5))
    assert sounds.receive(begin("b", "bark")) == begin("b", "bark")
    assert sounds.labels == {"smoke", "bark"}


def test_without_a_continuation_the_event_ends_when_it_was_lost() -> None:
    sounds = OpenSounds(grace_s=15)
    sounds.receive(begin("a"))
    sounds.lost(at(3), at(4))
    sounds.resumed(at(30))
    assert sounds.deadline == at(45)
    assert sounds.expire(at(44)) == []
    (closed,) = sounds.expire(at(45))
    assert (closed.id, closed.state, closed.end) == ("a", "end", at(3))
    assert sounds.expire(at(99)) == []
    assert sounds.receive(begin("b")) == begin("b")


def test_without_a_next_stream_the_event_ends_after_a_while() -> None:
    sounds = OpenSounds(away_s=60)
    sounds.receive(begin("a"))
    sounds.lost(at(3), at(4))
    assert sounds.expire(at(63)) == []
    assert [closed.end for closed in sounds.expire(at(64))] == [at(3)]


def test_an_event_never_ends_before_it_began() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a", seconds=10))
    sounds.lost(at(3), at(11))
    (closed,) = sounds.close(at(20))
    assert closed.end == at(10)


def test_closing_ends_everything() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    sounds.receive(begin("b", "bark"))
    assert {(s.id, s.end) for s in sounds.close(at(9))} == {("a", at(9)), ("b", at(9))}
    assert sounds.close(at(10)) == []
    assert sounds.receive(end("a")) is None


def test_that_it_lasts_is_told_once() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    assert sounds.receive(lasting("a")) == lasting("a")
    assert sounds.receive(lasting("a")) is None
    assert sounds.labels == {"smoke"}
    assert sounds.receive(end("a")) == end("a")
    assert sounds.receive(lasting("a")) is None


def test_what_lasts_began_with_the_first_event_of_the_stretch() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    sounds.receive(end("a"))
    sounds.receive(begin("b", seconds=8))
    told = sounds.receive(lasting("b", seconds=9))
    assert told is not None
    assert (told.id, told.start) == ("b", at(0))
    closed = sounds.receive(end("b", seconds=12))
    assert closed is not None
    assert closed.start == at(8)


def test_what_was_never_told_to_begin_does_not_last() -> None:
    assert OpenSounds().receive(lasting("a")) is None


def test_what_lasts_across_streams_is_told_of_the_first_event() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    sounds.lost(at(1), at(2))
    sounds.resumed(at(3))
    sounds.receive(begin("b", seconds=4))
    told = sounds.receive(lasting("b", seconds=9))
    assert told is not None
    assert (told.id, told.state, told.start, told.time) == (
        "a", "sustained", at(0), at(9)
    )  # fmt: skip
    assert told.score == 0.85
    assert sounds.receive(lasting("b")) is None
    closed = sounds.receive(end("b"))
    assert closed is not None
    assert closed.id == "a"


def test_what_was_told_to_last_is_not_told_again_by_the_next_stream() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    sounds.receive(lasting("a"))
    for event in ("b", "c"):
        sounds.lost(at(1), at(2))
        sounds.resumed(at(3))
        sounds.receive(begin(event))
        assert sounds.receive(lasting(event)) is None


def test_labels_that_nobody_listens_for_are_ended() -> None:
    sounds = OpenSounds()
    for event, label in (("a", "smoke"), ("b", "bark"), ("c", "co")):
        sounds.receive(begin(event, label))
    (closed, other) = sounds.drop({"smoke"}, at(9))
    assert (closed.id, closed.state, closed.end) == ("b", "end", at(9))
    assert other.id == "c"
    assert sounds.labels == {"smoke"}
    assert sounds.receive(end("b", "bark")) is None
    assert sounds.drop({"smoke"}, at(10)) == []


def test_what_waits_for_the_next_stream_is_ended_when_it_was_lost() -> None:
    sounds = OpenSounds()
    sounds.receive(begin("a"))
    sounds.lost(at(3), at(4))
    (closed,) = sounds.drop((), at(9))
    assert closed.end == at(3)
    assert sounds.deadline is None


def test_a_loss_with_nothing_open_waits_for_nothing() -> None:
    sounds = OpenSounds()
    sounds.lost(at(3), at(4))
    sounds.resumed(at(5))
    assert sounds.deadline is None


def test_the_memory_for_repetitions_is_bounded() -> None:
    sounds = OpenSounds()
    for number in range(REMEMBERED):
        sounds.receive(begin(str(number), f"label_{number}"))
        sounds.receive(end(str(number), f"label_{number}"))
    assert len(sounds._seen) <= REMEMBERED


actions = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["start", "sustained", "end"]),
            st.sampled_from("abc"),
            st.sampled_from(["smoke", "bark"]),
        ),
        st.sampled_from([("lost",), ("resumed",), ("wait",), ("drop",)]),
    ),
    max_size=60,
)


@given(actions)
def test_every_start_gets_exactly_one_end(script: list[tuple[str, ...]]) -> None:
    sounds = OpenSounds()
    published: list[Sound] = []
    seconds, streams = 0.0, 0
    for step in script:
        seconds += 1
        if step[0] == "lost":
            sounds.lost(at(seconds), at(seconds))
            streams += 1
        elif step[0] == "resumed":
            sounds.resumed(at(seconds))
        elif step[0] == "wait":
            seconds += 40
            published += sounds.expire(at(seconds))
        elif step[0] == "drop":
            published += sounds.drop({"bark"}, at(seconds))
        else:
            # A server never uses one id for two labels, nor on two streams.
            event = f"{step[1]}-{step[2]}-{streams}"
            make = {"start": begin, "sustained": lasting, "end": end}[step[0]]
            if (change := sounds.receive(make(event, step[2], seconds))) is not None:
                published.append(change)
    published += sounds.close(at(seconds))
    changes = Counter((sound.id, sound.state) for sound in published)
    assert set(changes.values()) <= {1}
    started = {event for event, state in changes if state == "start"}
    ended = {event for event, state in changes if state == "end"}
    assert started == ended
    assert {event for event, state in changes if state == "sustained"} <= started
    assert sounds.labels == frozenset()
