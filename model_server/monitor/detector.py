"""Scores become events: onset, hold, release, cool-down, and what goes on for long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Rule:
    """When an event begins and ends.

    It begins when `k` of the last `n` scores are at least `on`, and ends with the
    first score `hold` samples or more after the last one that was at least `off`.
    Until `cooldown` samples after that one no score counts towards the next. Events
    with pauses of at most `sustain_gap` in between are sustained once they have lasted
    `sustain` samples together; 0 is never.
    """

    on: float
    off: float
    k: int
    n: int
    hold: int
    cooldown: int = 0
    sustain: int = 0
    sustain_gap: int = 0


@dataclass(frozen=True)
class Active:
    """An event under way: its onset, the last sample that scored `off`, its best score."""

    onset: int
    last: int
    best: float


@dataclass(frozen=True)
class State:
    """What a detector remembers: the last `n` scores as (sample, score), or the event.

    Scores before sample `rest` do not count: the label cools down.
    """

    recent: tuple[tuple[int, float], ...] = ()
    active: Active | None = None
    rest: int = 0


@dataclass(frozen=True)
class Stretch:
    """Events with short pauses in between: since when, until when, whether it was told."""

    first: int
    last: int
    told: bool = False


@dataclass(frozen=True)
class Transition:
    """An event's beginning or end, or that it is sustained. `onset`, `release`: samples.

    What is sustained began with the first event of its stretch.
    """

    state: Literal["start", "sustained", "end"]
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
        rest = active.last + rule.cooldown
        return State(rest=rest), Transition(
            "end", active.onset, active.last, active.best
        )
    if at < state.rest:
        return state, None
    recent = (*state.recent, (at, score))[-rule.n :]
    hits = [(when, value) for when, value in recent if value >= rule.on]
    if len(hits) < rule.k:
        return State(recent=recent), None
    best = max(value for _, value in hits)
    onset = hits[0][0]
    return State(active=Active(onset, at, best)), Transition("start", onset, None, best)


def sustain(
    stretch: Stretch | None, rule: Rule, active: Active | None
) -> tuple[Stretch | None, Transition | None]:
    """Follow what goes on for long: after each score, with the event under way."""
    if not rule.sustain:
        return None, None
    if active is None:
        return stretch, None
    if stretch is None or active.onset - stretch.last > rule.sustain_gap:
        stretch = Stretch(active.onset, active.last)
    stretch = replace(stretch, last=active.last)
    if stretch.told or stretch.last - stretch.first < rule.sustain:
        return stretch, None
    told = Transition("sustained", stretch.first, None, active.best)
    return replace(stretch, told=True), told
