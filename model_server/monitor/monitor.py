"""One microphone's sounds: its stream in, sound events out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

import numpy as np

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import SoundLabel, Source
from model_server.engines.base import EngineInfo, Pcm, SoundClassifier
from model_server.monitor import gestures, rhythm
from model_server.monitor.decider import Decider, Decision, Row, quantise, score_of
from model_server.monitor.detector import Rule, Transition
from model_server.monitor.rules import Tuning

SoundState: TypeAlias = Literal["start", "sustained", "end"]
Gate: TypeAlias = Literal[
    "not_silent",
    "on_threshold",
    "k_of_n",
    "cooldown",
    "rhythm",
    "gesture",
    "verification",
]
"""What a sound had to pass to become an event."""

# What is decided never depends on how the stream was cut, because it is cut anew.
_BLOCK = SAMPLE_RATE // 20
_EVIDENCE = 5
_WINDOWS = 20
# Below this RMS, of full scale, a window holds nothing but a converter's noise.
_SILENT = 10 ** (-75 / 20)


@dataclass(frozen=True)
class SoundChange:
    """A sound event began or ended, or goes on for long; the evidence for it.

    `event` is the same number in all. `onset` and `release` are samples since
    the stream began, `at` the one at which it was known; what is sustained has the
    onset of its stretch of events. `score` is the highest so far, `threshold` what it
    had to pass, `scores` the best five of the deciding window, `windows` the label's
    own scores up to there, oldest first, `gates` what it passed.
    """

    label: str
    state: SoundState
    event: int
    at: int
    onset: int
    release: int | None
    score: float
    threshold: float
    scores: dict[str, float]
    windows: tuple[float, ...]
    gates: tuple[Gate, ...]
    engine: EngineInfo
    profile: str


class Record(Protocol):
    """What keeps what a monitor hears; it never raises and nobody waits for it."""

    def scored(self, at: int, row: Row, decider: Decider, tuning: Tuning) -> None:
        """The window that ends at sample `at`, before `decider` takes it."""

    def recognised(self, change: SoundChange) -> None:
        """An event that no score explains."""

    def turned(self, at: int, decider: Decider, tuning: Tuning) -> None:
        """After sample `at` other labels or rules are in force."""


class SoundMonitor:
    """Watches one stream for the given labels; deterministic, on the sample clock.

    Labels that neither the classifier scores nor the alarm rhythm or the gesture
    recogniser knows are never reported. Without a classifier only those two are.
    """

    def __init__(
        self,
        classifier: SoundClassifier | None,
        labels: Sequence[SoundLabel],
        tuning: Tuning | None = None,
        record: Record | None = None,
    ) -> None:
        """Begin at sample 0."""
        self._classifier = classifier
        self._record = record
        self._heard = 0
        self._tuning = tuning or Tuning()
        rules, self._alarms_wanted = _watched(labels, self._tuning)
        self._rhythm = rhythm.RhythmRecognizer() if self._alarms_wanted else None
        self._rhythm_from = 0
        self._sounding: dict[str, rhythm.RhythmChange] = {}
        """Alarms under way, whether anybody wants to hear of them or not."""
        self._gestures: gestures.GestureRecognizer | None = None
        self._gestures_wanted: frozenset[str] = frozenset()
        self._gestures_from = 0
        self._want_gestures(labels)
        scored = () if classifier is None else classifier.labels
        self._decider = Decider(scored, rules)
        self._rows: deque[Row] = deque(maxlen=_WINDOWS)
        self._window = np.zeros(classifier.window if classifier else 0, np.float32)
        self._pending = np.zeros(0, dtype=np.int16)
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

    def listen(self, labels: Sequence[SoundLabel], tuning: Tuning) -> list[SoundChange]:
        """Watch for others from the next window on; returns what that ends or begins.

        Events of labels that are no longer watched end, and an alarm that sounds
        already begins where it is new.
        """
        rules, wanted = _watched(labels, tuning)
        self._tuning = tuning
        changes = [
            self._sound(each) for each in self._decider.watch(rules, self._heard)
        ]
        if self._record is not None:
            self._record.turned(self._heard, self._decider, tuning)
        before, self._alarms_wanted = self._alarms_wanted, wanted
        for label, alarm in self._sounding.items():
            if label in before and label not in wanted:
                ended = replace(alarm, state="end", at=self._heard, release=self._heard)
                changes.append(self._alarm(ended))
            elif label in wanted and label not in before:
                changes.append(self._alarm(alarm))
        if wanted and self._rhythm is None:
            self._rhythm = rhythm.RhythmRecognizer()
            self._rhythm_from = self._heard
        self._want_gestures(labels)
        return changes

    def _want_gestures(self, labels: Sequence[SoundLabel]) -> None:
        """Tell of these gestures from here on; what began before is not one of them."""
        self._gestures_wanted = _of(labels, "gesture")
        if not self._gestures_wanted:
            self._gestures = None
        elif self._gestures is None:
            self._gestures = gestures.GestureRecognizer()
            self._gestures_from = self._heard

    def _block(self, pcm: Pcm, changes: list[SoundChange]) -> None:
        self._heard += pcm.size
        if self._rhythm is not None:
            changes += self._heard_alarms(self._rhythm.push(pcm))
        if self._gestures is not None:
            changes += self._heard_gestures(self._gestures.push(pcm))
        if self._classifier is None:
            return
        self._window = np.concatenate(
            [self._window[pcm.size :], pcm.astype(np.float32) / 32768]
        )
        if self._heard >= self._next_window:
            self._next_window += self._classifier.hop
            if self._decider.rules:
                self._score(self._classifier, changes)
            else:
                self._rows.clear()

    def _score(self, classifier: SoundClassifier, changes: list[SoundChange]) -> None:
        if float(np.sqrt(np.mean(self._window**2))) < _SILENT:
            row = np.zeros(len(classifier.labels), dtype=np.uint8)
        else:
            row = quantise(classifier.classify(self._window[None]).scores[0])
        self._rows.append(row)
        if self._record is not None:
            self._record.scored(self._heard, row, self._decider, self._tuning)
        changes += [self._sound(each) for each in self._decider.take(self._heard, row)]

    def _sound(self, decision: Decision) -> SoundChange:
        """A decision with the evidence for it."""
        assert self._classifier is not None
        transition, rule = decision.transition, decision.rule
        labels = self._classifier.labels
        place = labels.index(decision.label)
        return SoundChange(
            label=decision.label,
            state=transition.state,
            event=self._number(decision.label, transition.state),
            at=decision.at,
            onset=onset_of(transition, self._classifier.window),
            release=transition.release,
            score=round(transition.score, 4),
            threshold=rule.on,
            scores=_best(labels, self._rows[-1]),
            windows=tuple(round(score_of(int(row[place])), 4) for row in self._rows),
            gates=_gates(rule),
            engine=self._classifier.info,
            profile=self._tuning.profile,
        )

    def _heard_alarms(self, heard: list[rhythm.RhythmChange]) -> list[SoundChange]:
        """Alarms that begin or end, of those that somebody wants to hear of."""
        changes = []
        for each in heard:
            since = self._rhythm_from
            release = None if each.release is None else each.release + since
            change = replace(
                each, at=each.at + since, onset=each.onset + since, release=release
            )
            if change.state == "start":
                self._sounding[change.label] = change
            else:
                self._sounding.pop(change.label, None)
            if change.label in self._alarms_wanted:
                changes.append(self._alarm(change))
        return changes

    def _alarm(self, change: rhythm.RhythmChange) -> SoundChange:
        alarm = SoundChange(
            label=change.label,
            state=change.state,
            event=self._number(change.label, change.state),
            at=change.at,
            onset=change.onset,
            release=change.release,
            score=change.score,
            threshold=rhythm.THRESHOLD,
            scores={change.label: change.score},
            windows=(),
            gates=("rhythm",),
            engine=rhythm.ENGINE,
            profile=self._tuning.profile,
        )
        if self._record is not None:
            self._record.recognised(alarm)
        return alarm

    def _heard_gestures(self, heard: list[gestures.Gesture]) -> list[SoundChange]:
        """What somebody wants to hear of; over when it is known: it ends as it begins."""
        changes = []
        for each in heard:
            if each.label not in self._gestures_wanted or each.vetoed(self._scores()):
                continue
            since = self._gestures_from
            start = SoundChange(
                label=each.label,
                state="start",
                event=self._number(each.label, "start"),
                at=self._heard,
                onset=each.onset + since,
                release=None,
                score=each.score,
                threshold=gestures.THRESHOLD,
                scores={each.label: each.score},
                windows=(),
                gates=("gesture",),
                engine=gestures.ENGINE,
                profile=self._tuning.profile,
            )
            self._number(each.label, "end")
            end = replace(start, state="end", release=each.release + since)
            changes += [start, end]
        if self._record is not None:
            for change in changes:
                self._record.recognised(change)
        return changes

    def _scores(self) -> dict[str, float]:
        """What the classifier heard last, by label; nothing where it hears nothing."""
        if self._classifier is None or not self._rows:
            return {}
        steps = self._rows[-1].tolist()
        return dict(zip(self._classifier.labels, map(score_of, steps), strict=True))

    def _number(self, slug: str, state: SoundState) -> int:
        """The event's number: a new one for each that begins."""
        if state == "start":
            self._events += 1
            self._open[slug] = self._events
        return self._open.pop(slug) if state == "end" else self._open[slug]


def onset_of(transition: Transition, window: int) -> int:
    """Where the sound itself began: it fills about half of the first window it decides."""
    return max(0, transition.onset - window // 2)


def _watched(
    labels: Sequence[SoundLabel], tuning: Tuning
) -> tuple[dict[str, Rule], frozenset[str]]:
    """The rules of labels that a classifier scores, and the alarms."""
    rules = {
        label.slug: tuning.rule(label)
        for label in labels
        if label.source == "classifier"
    }
    return rules, _of(labels, "rhythm")


def _of(labels: Sequence[SoundLabel], source: Source) -> frozenset[str]:
    return frozenset(label.slug for label in labels if label.source == source)


def _gates(rule: Rule) -> tuple[Gate, ...]:
    passed: tuple[Gate, ...] = ("not_silent", "on_threshold", "k_of_n")
    return (*passed, "cooldown") if rule.cooldown else passed


def _best(labels: Sequence[str], row: Row) -> dict[str, float]:
    order = np.argsort(-row.astype(np.int16), kind="stable")[:_EVIDENCE]
    return {labels[index]: round(score_of(int(row[index])), 4) for index in order}
