"""Scores become events: onset by k of n windows, hold, and release by a lower threshold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class Rule:
    """When an event begins and ends.

    It begins when `k` of the last `n` scores are at least `on`, and ends with the
    first score `hold` samples or more after the last one that was at least `off`.
    """

    on: float
    off: float
    k: int
    n: int
    hold: int


@dataclass(frozen=True)
class Active:
    """An event under way: its onset, the last sample that scored `off`, its best score."""

    onset: int
    last: int
    best: float


@dataclass(frozen=True)
class State:
    """What a detector remembers: the last `n` scores as (sample, score), or the event."""

    recent: tuple[tuple[int, float], ...] = ()
    active: Active | None = field(default=None)


@dataclass(frozen=True)
class Transition:
    """An event's beginning or end. `onset` and `release` are samples."""

    state: Literal["start", "end"]
    onset: int
    release: int | None
    score: float


def advance(
    state: State, rule: Rule, at: int, score: float
) -> tuple[State, Transition | None]:
    """Take one score, of the window that ends at sample `at`.

    The onset is the end of the first of the `k` windows, the release that of the
    last one that scored `off`; whoever knows the window's length moves them.
    """
    active = state.active
    if active is not None:
        if score >= rule.off:
            best = max(active.best, score)
            return State(active=replace(active, last=at, best=best)), None
        if at - active.last < rule.hold:
            return state, None
        # A new onset needs k new windows, so an end is never followed at once by a start.
        return State(), Transition("end", active.onset, active.last, active.best)
    recent = (*state.recent, (at, score))[-rule.n :]
    hits = [(when, value) for when, value in recent if value >= rule.on]
    if len(hits) < rule.k:
        return State(recent=recent), None
    best = max(value for _, value in hits)
    onset = hits[0][0]
    return State(active=Active(onset, at, best)), Transition("start", onset, None, best)
