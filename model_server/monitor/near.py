"""Near misses: stretches of scores that came close to an event, and gave none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from model_server.monitor.detector import Rule

Missed: TypeAlias = Literal["on_threshold", "k_of_n", "cooldown"]
"""The gate that was not passed."""

SHOWN = 20


@dataclass(frozen=True)
class Near:
    """A stretch so far: its last and its best window, the latest scores.

    `over` windows reached the threshold.
    """

    last: int
    best: float
    best_at: int
    scores: tuple[float, ...]
    over: int = 0
    missed: Missed = "on_threshold"


def approach(
    near: Near | None,
    rule: Rule,
    at: int,
    score: float,
    *,
    margin: float,
    active: bool,
    resting: bool,
) -> tuple[Near | None, Near | None]:
    """Take one score after its detector did: the stretch under way, and one that is over.

    `active`: an event is under way, which what came close just before belongs to.
    `resting`: the label cools down. Pauses may be as long as the rule's `hold`.
    """
    over = near if near is not None and at - near.last > rule.hold else None
    if over is not None:
        near = None
    if active:
        return None, over
    if score < rule.on - margin:
        return near, over
    if near is None:
        near = Near(at, score, at, ())
    near = replace(near, last=at, scores=(*near.scores, score)[-SHOWN:])
    if score > near.best:
        near = replace(near, best=score, best_at=at)
    if score >= rule.on:
        missed: Missed = "cooldown" if resting else "k_of_n"
        if near.missed == "cooldown":
            missed = "cooldown"
        near = replace(near, over=near.over + 1, missed=missed)
    return near, over
