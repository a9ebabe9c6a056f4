"""How sounds are decided on one stream: the catalogue's rules, as a person changed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, TypeVar

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import SoundLabel
from model_server.monitor.detector import Rule

Sensitivity: TypeAlias = Literal["low", "normal", "high"]

ODDS: Mapping[Sensitivity, float] = {"low": 2.0, "normal": 1.0, "high": 0.5}
"""By how much the odds that a score must reach are multiplied."""

DEFAULT_PROFILE = "home"


T = TypeVar("T", int, float)


class RuleError(Exception):
    """A rule contradicts itself; the message says what to change."""


@dataclass(frozen=True)
class RuleChange:
    """What differs from a rule; None leaves it. `sustain_s` 0 is never.

    Raises RuleError where it contradicts itself.
    """

    on: float | None = None
    off: float | None = None
    k: int | None = None
    n: int | None = None
    hold_s: float | None = None
    cooldown_s: float | None = None
    sustain_s: float | None = None
    sustain_gap_s: float | None = None

    def __post_init__(self) -> None:
        """Compare what was given."""
        for low, high in (("off", "on"), ("k", "n")):
            below, above = getattr(self, low), getattr(self, high)
            if below is not None and above is not None and below > above:
                raise RuleError(
                    f"{low} ({below:g}) may not be above {high} ({above:g}): lower "
                    f"{low}, or leave one of them out."
                )


@dataclass(frozen=True)
class Tuning:
    """How a stream's sounds are decided: a change by label, and how easily all others are.

    Both count for sounds that a classifier scores.
    """

    rules: Mapping[str, RuleChange] = field(default_factory=dict)
    sensitivity: Sensitivity = "normal"
    profile: str = DEFAULT_PROFILE

    def rule(self, label: SoundLabel) -> Rule:
        """The rule of a label."""
        change = self.rules.get(label.slug, RuleChange())
        return changed(catalogue_rule(label, self.sensitivity), change)


def catalogue_rule(label: SoundLabel, sensitivity: Sensitivity = "normal") -> Rule:
    """The rule that a label has unless somebody changes it."""
    odds = ODDS[sensitivity]
    return Rule(
        on=_with_odds(label.on_score, odds),
        off=_with_odds(label.off_score, odds),
        k=label.k,
        n=label.n,
        hold=_samples(label.hold_s),
        cooldown=_samples(label.cooldown_s),
        sustain=_samples(label.sustain_s or 0.0),
        sustain_gap=_samples(label.sustain_gap_s),
    )


def changed(rule: Rule, change: RuleChange) -> Rule:
    """A rule with a change; what was not given moves along."""
    on, off = _beside(rule.on, rule.off, change.on, change.off)
    n, k = _beside(rule.n, rule.k, change.n, change.k)
    times = {
        name: _samples(seconds)
        for name, seconds in (
            ("hold", change.hold_s),
            ("cooldown", change.cooldown_s),
            ("sustain", change.sustain_s),
            ("sustain_gap", change.sustain_gap_s),
        )
        if seconds is not None
    }
    return replace(rule, on=on, off=off, k=k, n=n, **times)


def _beside(high: T, low: T, given_high: T | None, given_low: T | None) -> tuple[T, T]:
    """Both of two numbers, the one that was not given moved by the one that was."""
    if given_high is not None:
        return given_high, min(low, given_high) if given_low is None else given_low
    return (high, low) if given_low is None else (max(high, given_low), given_low)


def _with_odds(score: float, factor: float) -> float:
    """The score with so many times the odds: a shift on the logit scale."""
    if factor == 1:
        return score
    return round(factor * score / (1 - score + factor * score), 4)


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
