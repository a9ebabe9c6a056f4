"""Scores become events without flapping, for any scores."""

from __future__ import annotations

import itertools

from hypothesis import assume, given, strategies as st

from model_server.monitor.detector import Rule, State, Transition, advance

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
    )


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
