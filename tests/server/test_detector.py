"""Scores become events without flapping, for any scores."""

from __future__ import annotations

import itertools

from hypothesis import assume, given, strategies as st

from model_server.monitor.detector import (
    Rule,
    State,
    Stretch,
    Transition,
    advance,
    sustain,
)

HOP = 8000

scores = st.lists(st.floats(0, 1), max_size=200)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    on = draw(st.floats(0.05, 1))
    n = draw(st.integers(1, 6))
    return Rule(
        on=on,
        off=draw(st.floats(0, on)),
        k=draw(st.integers(1, n)),
        n=n,
        hold=draw(st.integers(1, 12)) * HOP,
        cooldown=draw(st.integers(0, 20)) * HOP,
        sustain=draw(st.integers(0, 30)) * HOP,
        sustain_gap=draw(st.integers(0, 8)) * HOP,
    )


def _all(rule: Rule, values: list[float]) -> list[tuple[int, Transition]]:
    """Every transition, with what is sustained."""
    state, stretch = State(), None
    out = []
    for number, value in enumerate(values, start=1):
        at = number * HOP
        state, transition = advance(state, rule, at, value)
        stretch, told = sustain(stretch, rule, state.active)
        out += [(at, each) for each in (transition, told) if each is not None]
    return out


def _run(rule: Rule, values: list[float]) -> list[tuple[int, Transition]]:
    state = State()
    out = []
    for number, value in enumerate(values, start=1):
        state, transition = advance(state, rule, number * HOP, value)
        if transition is not None:
            out.append((number * HOP, transition))
    return out


@given(rule=rules(), values=scores)
def test_starts_and_ends_alternate(rule: Rule, values: list[float]) -> None:
    states = [transition.state for _, transition in _run(rule, values)]

    assert states == ["start", "end"] * (len(states) // 2) + ["start"] * (
        len(states) % 2
    )


@given(rule=rules(), values=scores)
def test_an_event_lasts_at_least_the_hold_and_the_next_needs_k_windows(
    rule: Rule, values: list[float]
) -> None:
    out = _run(rule, values)

    for (before, first), (after, second) in itertools.pairwise(out):
        if first.state == "start":
            assert after - before >= rule.hold
        else:
            assert after - before >= rule.k * HOP
            assert first.release is not None
            assert second.onset > first.release


@given(rule=rules(), values=scores)
def test_an_event_starts_only_with_k_scores_over_the_threshold(
    rule: Rule, values: list[float]
) -> None:
    for at, transition in _run(rule, values):
        if transition.state == "start":
            recent = values[max(0, at // HOP - rule.n) : at // HOP]
            assert sum(value >= rule.on for value in recent) >= rule.k
            assert transition.score >= rule.on


@given(rule=rules(), values=scores)
def test_an_event_ends_only_after_a_hold_without_a_score_over_release(
    rule: Rule, values: list[float]
) -> None:
    for at, transition in _run(rule, values):
        if transition.state == "end":
            assert transition.release is not None
            held = values[transition.release // HOP : at // HOP]
            assert len(held) * HOP >= rule.hold
            assert all(value < rule.off for value in held)


@given(rule=rules(), values=scores)
def test_scores_always_under_the_threshold_never_start_one(
    rule: Rule, values: list[float]
) -> None:
    assume(all(value < rule.on for value in values))

    assert _run(rule, values) == []


def test_onset_and_release_are_where_the_scores_were() -> None:
    rule = Rule(on=0.7, off=0.3, k=2, n=3, hold=2 * HOP)

    out = _run(rule, [0.1, 0.8, 0.2, 0.9, 0.5, 0.4, 0.1, 0.1, 0.1])

    assert out == [
        (4 * HOP, Transition("start", 2 * HOP, None, 0.9)),
        (8 * HOP, Transition("end", 2 * HOP, 6 * HOP, 0.9)),
    ]


@given(rule=rules(), values=scores)
def test_until_a_label_has_cooled_down_no_score_counts(
    rule: Rule, values: list[float]
) -> None:
    out = _run(rule, values)

    for (_, first), (_, second) in itertools.pairwise(out):
        if first.state == "end":
            assert first.release is not None
            assert second.onset >= first.release + rule.cooldown


def test_a_sound_right_after_the_cool_down_is_heard() -> None:
    rule = Rule(on=0.7, off=0.3, k=1, n=1, hold=HOP, cooldown=4 * HOP)

    out = _run(rule, [0.9, 0.0, 0.9, 0.9, 0.9, 0.0])

    assert [(at // HOP, each.state) for at, each in out] == [
        (1, "start"),
        (2, "end"),
        (5, "start"),
        (6, "end"),
    ]


@given(rule=rules(), values=scores)
def test_sustained_is_told_once_a_stretch_and_only_within_an_event(
    rule: Rule, values: list[float]
) -> None:
    under_way = False
    told: list[int] = []
    for at, each in _all(rule, values):
        if each.state == "sustained":
            assert rule.sustain
            assert under_way
            assert at - each.onset >= rule.sustain
            told.append(each.onset)
        under_way = each.state != "end"
    assert len(set(told)) == len(told)


@given(rule=rules(), values=scores)
def test_what_is_sustained_changes_no_event(rule: Rule, values: list[float]) -> None:
    events = [each for each in _all(rule, values) if each[1].state != "sustained"]

    assert events == _run(rule, values)


BARKING = Rule(0.5, 0.3, 1, 1, HOP, sustain=6 * HOP, sustain_gap=3 * HOP)


def _told(values: list[float]) -> list[int]:
    return [
        at // HOP for at, each in _all(BARKING, values) if each.state == "sustained"
    ]


def test_barking_with_short_pauses_is_sustained_once_it_has_lasted() -> None:
    bark, quiet = [0.9], [0.0]

    assert _told((bark + quiet) * 3) == []
    assert _told((bark + quiet) * 4) == [7]
    assert _told((bark + quiet) * 20) == [7]
    # A pause that is too long begins anew, and then it is told again.
    assert _told((bark + quiet) * 3 + quiet * 3 + bark * 3) == []
    assert _told(bark * 8 + quiet * 5 + bark * 8) == [7, 20]
    assert _told(bark * 8 + quiet * 2 + bark * 8) == [7]


def test_a_stretch_is_forgotten_where_nothing_is_to_be_sustained() -> None:
    once = Rule(0.5, 0.3, 1, 1, HOP)

    assert sustain(Stretch(0, HOP), once, None) == (None, None)
