"""A classifier's scores become decisions: the one way, live and when replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from model_server.monitor.detector import (
    Rule,
    State,
    Stretch,
    Transition,
    advance,
    sustain,
)

Row = npt.NDArray[np.uint8]
"""The quantised scores of one window, (labels,)."""

LEVELS = 255


def quantise(scores: npt.NDArray[np.float32]) -> Row:
    """Scores from 0 to 1 in 255 steps: what is decided is what the log keeps."""
    steps = np.rint(np.clip(scores.astype(np.float64), 0, 1) * LEVELS)
    return steps.astype(np.uint8)


def score_of(step: int) -> float:
    """The score that a step stands for."""
    return step / LEVELS


@dataclass(frozen=True)
class Progress:
    """How far a label is: its detector, and its stretch of events."""

    state: State = field(default_factory=State)
    stretch: Stretch | None = None


@dataclass(frozen=True)
class Decision:
    """A label's transition at the window that ends at sample `at`, and the rule for it."""

    label: str
    at: int
    rule: Rule
    transition: Transition


def step(
    before: Progress, rule: Rule, at: int, score: float
) -> tuple[Progress, list[Transition]]:
    """Take one score of a label, of the window that ends at sample `at`."""
    state, transition = advance(before.state, rule, at, score)
    stretch, sustained = sustain(before.stretch, rule, state.active)
    transitions = [each for each in (transition, sustained) if each is not None]
    return Progress(state, stretch), transitions


def leap(
    before: Progress, rule: Rule, ends: Sequence[int], scores: Sequence[float]
) -> Progress | None:
    """What `step` would come to over many scores, if it is sure to find nothing."""
    state = before.state
    if state.active is not None or max(scores) >= rule.on:
        return None
    if any(score >= rule.on for _, score in state.recent):
        return None
    stretch, _ = sustain(before.stretch, rule, None)
    counted = [each for each in zip(ends, scores, strict=True) if each[0] >= state.rest]
    if counted:
        recent = (*state.recent, *counted[-rule.n :])[-rule.n :]
        state = State(recent=recent)
    return Progress(state, stretch)


class Decider:
    """Follows labels, each by its rule; `labels` is the order of the scores in a row."""

    def __init__(
        self,
        labels: Sequence[str],
        rules: Mapping[str, Rule],
        progress: Mapping[str, Progress] | None = None,
    ) -> None:
        """Begin, or go on where another was."""
        self._place = {label: place for place, label in enumerate(labels)}
        self._rules = self._scored(rules)
        known = progress or {}
        self._progress = {label: known.get(label, Progress()) for label in self._rules}

    def _scored(self, rules: Mapping[str, Rule]) -> dict[str, Rule]:
        return {label: rule for label, rule in rules.items() if label in self._place}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The rules in force."""
        return self._rules

    @property
    def progress(self) -> Mapping[str, Progress]:
        """How far each label is, as of now."""
        return dict(self._progress)

    def watch(self, rules: Mapping[str, Rule], at: int) -> list[Decision]:
        """Follow other rules from the next row on; what is no longer watched ends."""
        ended = []
        for label, progress in self._progress.items():
            active = progress.state.active
            if label not in rules and active is not None:
                end = Transition("end", active.onset, active.last, active.best)
                ended.append(Decision(label, at, self._rules[label], end))
        self._rules = self._scored(rules)
        self._progress = {
            label: self._progress.get(label, Progress()) for label in self._rules
        }
        return ended

    def take(self, at: int, row: Row) -> list[Decision]:
        """The scores of the window that ends at sample `at`."""
        steps = row.tolist()
        decisions = []
        for label, rule in self._rules.items():
            score = score_of(steps[self._place[label]])
            progress, transitions = step(self._progress[label], rule, at, score)
            self._progress[label] = progress
            decisions += [Decision(label, at, rule, each) for each in transitions]
        return decisions
