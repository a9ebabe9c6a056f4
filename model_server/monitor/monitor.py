"""One microphone's sounds: its stream in, sound events out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import SoundLabel
from model_server.engines.base import EngineInfo, Pcm, SoundClassifier
from model_server.monitor import rhythm
from model_server.monitor.detector import Rule, State, Transition, advance

# What is decided never depends on how the stream was cut, because it is cut anew.
_BLOCK = SAMPLE_RATE // 20
_EVIDENCE = 5
# Below this RMS, of full scale, a window holds nothing but a converter's noise.
_SILENT = 10 ** (-75 / 20)


@dataclass(frozen=True)
class SoundChange:
    """A sound event began or ended.

    `event` is the same number in both. `onset` and `release` are samples since
    the stream began. `score` is the highest so far, `threshold` what it had to
    pass, `scores` the best five of the deciding window.
    """

    label: str
    state: Literal["start", "end"]
    event: int
    onset: int
    release: int | None
    score: float
    threshold: float
    scores: dict[str, float]
    engine: EngineInfo


class SoundMonitor:
    """Watches one stream for the given labels; deterministic, on the sample clock.

    Labels that neither the classifier scores nor the alarm rhythm knows are
    never reported. Without a classifier only alarms are.
    """

    def __init__(
        self, classifier: SoundClassifier | None, labels: Sequence[SoundLabel]
    ) -> None:
        """Begin at sample 0."""
        wanted = {label.slug for label in labels if label.source == "rhythm"}
        known = [one for one in rhythm.LABELS if one in wanted]
        self._rhythm = rhythm.RhythmRecognizer(known) if known else None
        self._classifier = classifier
        self._watched: dict[str, tuple[int, Rule]] = {}
        if classifier is not None:
            self._watched = {
                label.slug: (classifier.labels.index(label.slug), _rule(label))
                for label in labels
                if label.source == "classifier" and label.slug in classifier.labels
            }
            self._window = np.zeros(classifier.window, dtype=np.float32)
        self._states = dict.fromkeys(self._watched, State())
        self._pending = np.zeros(0, dtype=np.int16)
        self._heard = 0
        # A window half of nothing would make its edge a sound: the first one is full.
        self._next_window = classifier.window if classifier else 0
        self._events = 0
        self._open: dict[str, int] = {}

    def push(self, pcm: Pcm) -> list[SoundChange]:
        """Take the next samples, any number; returns what began or ended, in order."""
        self._pending = np.concatenate([self._pending, pcm])
        changes: list[SoundChange] = []
        at = 0
        while self._pending.size - at >= _BLOCK:
            self._block(self._pending[at : at + _BLOCK], changes)
            at += _BLOCK
        self._pending = self._pending[at:]
        return changes

    def _block(self, pcm: Pcm, changes: list[SoundChange]) -> None:
        if self._rhythm is not None:
            changes += [self._alarm(change) for change in self._rhythm.push(pcm)]
        if self._classifier is None or not self._watched:
            return
        self._window = np.concatenate(
            [self._window[pcm.size :], pcm.astype(np.float32) / 32768]
        )
        self._heard += pcm.size
        if self._heard >= self._next_window:
            self._next_window += self._classifier.hop
            self._score(self._classifier, changes)

    def _score(self, classifier: SoundClassifier, changes: list[SoundChange]) -> None:
        if float(np.sqrt(np.mean(self._window**2))) < _SILENT:
            scores = np.zeros(len(classifier.labels), dtype=np.float32)
        else:
            scores = classifier.classify(self._window[None]).scores[0]
        for slug, (index, rule) in self._watched.items():
            self._states[slug], transition = advance(
                self._states[slug], rule, self._heard, float(scores[index])
            )
            if transition is not None:
                changes.append(self._sound(slug, rule, transition, scores, classifier))

    def _sound(
        self,
        slug: str,
        rule: Rule,
        transition: Transition,
        scores: npt.NDArray[np.float32],
        classifier: SoundClassifier,
    ) -> SoundChange:
        # A sound fills about half of the first window that it decides.
        onset = max(0, transition.onset - classifier.window // 2)
        return SoundChange(
            label=slug,
            state=transition.state,
            event=self._number(slug, transition.state),
            onset=onset,
            release=transition.release,
            score=round(transition.score, 4),
            threshold=rule.on,
            scores=_best(classifier.labels, scores),
            engine=classifier.info,
        )

    def _alarm(self, change: rhythm.RhythmChange) -> SoundChange:
        return SoundChange(
            label=change.label,
            state=change.state,
            event=self._number(change.label, change.state),
            onset=change.onset,
            release=change.release,
            score=change.score,
            threshold=rhythm.THRESHOLD,
            scores={change.label: change.score},
            engine=rhythm.ENGINE,
        )

    def _number(self, slug: str, state: Literal["start", "end"]) -> int:
        if state == "end":
            return self._open.pop(slug)
        self._events += 1
        self._open[slug] = self._events
        return self._events


def _rule(label: SoundLabel) -> Rule:
    return Rule(
        label.on_score,
        label.off_score,
        label.k,
        label.n,
        round(label.hold_s * SAMPLE_RATE),
    )


def _best(labels: Sequence[str], scores: npt.NDArray[np.float32]) -> dict[str, float]:
    order = np.argsort(-scores, kind="stable")[:_EVIDENCE]
    return {labels[index]: round(float(scores[index]), 4) for index in order}
