"""Claps, snaps, knocks and whistles that mean something: how many, how even, how alone.

A sound is nearly never enough to tell a gesture: a fork, a key and a heel make claps and
knocks, too. What people do not do by chance is to make two or three alike, evenly, and
nothing else before and after. So a gesture is known after the silence that follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import itertools

import numpy as np

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import EngineInfo, Pcm
from model_server.monitor.transients import (
    HOP,
    Impulse,
    Spectrogram,
    TransientDetector,
    frames,
)
from model_server.monitor.whistles import WhistleTracker

ENGINE = EngineInfo("earshot-gestures", "1")
THRESHOLD = 0.5
"""What the score of a gesture, 0 to 1, is never below."""


@dataclass(frozen=True)
class Gesture:
    """A gesture: samples of its first and last sound, how well it fits, 0 to 1."""

    label: str
    onset: int
    release: int
    score: float

    def vetoed(self, scores: Mapping[str, float]) -> bool:
        """Whether a classifier's scores of the last seconds say that it was something else."""
        return any(scores.get(label, 0.0) >= _SURE for label in _CONTRARY)


@dataclass(frozen=True)
class _Kind:
    """What a sound is made by, and within which seconds people repeat it.

    `bounds` are of an `Impulse`'s figures, averaged over a group; `weighed` is a sum of
    some of them, each times a weight, and the most that it may be. `names` says what so
    many of them mean.
    """

    names: Mapping[int, str]
    step: tuple[float, float]
    bounds: Mapping[str, tuple[float, float]]
    weighed: Mapping[str, float]
    most: float


_KINDS = (
    _Kind(
        names={2: "double_knock", 3: "triple_knock"},
        step=(0.11, 0.42),
        bounds={
            "centroid": (200, 1150),
            "spread": (60, 1000),
            "low": (0.12, 1.0),
            "bass": (0.65, 1.0),
            "peak": (0.0, 0.97),
        },
        # Dull claps are as low as bright knocks, but broader.
        weighed={"centroid": 1, "spread": 1},
        most=1500,
    ),
    _Kind(
        names={2: "finger_snaps", 3: "finger_snaps", 4: "finger_snaps"},
        step=(0.2, 0.55),
        bounds={
            "centroid": (1900, 4600),
            "low": (0.0, 0.03),
            "bass": (0.0, 0.06),
            "peak": (0.0, 0.26),
            "decay": (0.0, 45),
        },
        # Broader is a mouse's or a lighter's click.
        weighed={"spread": 1},
        most=1750,
    ),
    _Kind(
        names={2: "double_clap", 3: "triple_clap"},
        step=(0.14, 0.6),
        bounds={
            "centroid": (850, 3050),
            "spread": (500, 2150),
            "low": (0.008, 0.5),
            "bass": (0.06, 0.9),
            "peak": (0.0, 0.26),
            "decay": (0.0, 60),
        },
        # A low thump with a bright click is a key's.
        weighed={"centroid": 1, "low": 3000},
        most=3300,
    ),
)
# Knocks and whistles are told in the order of time, however the stream was cut.
_CUT = SAMPLE_RATE // 5
_SURE = 0.8
_CONTRARY = ("speaking", "laugh", "cough", "sneeze", "bark", "baby_cry", "glass_break")
_LONGEST_STEP = frames(650)
_ALONE = frames(600)
_SETTLED = frames(160)
_QUIET_DB = 12.0
_BETWEEN_DB = 9.0
_APART_DB = 8.0
_WEAKER_DB = 14.0
_ALIKE_DB = 3.5
_UNEVEN = 1.4
_CLEAR_DB = 14.0
_RIPPLE_DB = 6.0
_BUSY = frames(3000)
_BUSY_COUNT = 2
_FAINT_DB = 22.0
_DISTINCT_DB = 10.0


class GestureRecognizer:
    """Follows a stream; any cutting into chunks gives the same gestures."""

    def __init__(self) -> None:
        """Begin at sample 0."""
        self._pending = np.zeros(0, dtype=np.int16)
        self._spectrogram = Spectrogram()
        self._detector = TransientDetector(self._spectrogram)
        self._impulses: list[Impulse] = []
        self._decided = 0
        self._whistles = WhistleTracker()

    def push(self, pcm: Pcm) -> list[Gesture]:
        """Take the next samples; returns the gestures that they completed, in order."""
        self._pending = np.concatenate([self._pending, pcm])
        found: list[Gesture] = []
        at = 0
        while self._pending.size - at >= _CUT:
            self._take(self._pending[at : at + _CUT], found)
            at += _CUT
        self._pending = self._pending[at:]
        return found

    def _take(self, pcm: Pcm, found: list[Gesture]) -> None:
        self._spectrogram.push(pcm)
        while self._spectrogram.ready:
            self._spectrogram.step()
            self._impulses += self._detector.step()
            found += self._struck()
        for glide in self._whistles.push(pcm):
            label = "whistle_up" if glide.semitones > 0 else "whistle_down"
            found.append(Gesture(label, glide.onset, glide.release, glide.score))

    def _struck(self) -> list[Gesture]:
        """The gestures of impulses whose silence is over now."""
        known = self._spectrogram.end - _ALONE - _SETTLED
        found = []
        for index, last in enumerate(self._impulses):
            if self._decided <= last.at < known:
                gesture = self._group(self._impulses[: index + 1])
                if gesture is not None:
                    found.append(gesture)
        self._decided = max(self._decided, known)
        oldest = self._spectrogram.first + _BUSY // 3
        self._impulses = [one for one in self._impulses if one.at >= oldest]
        return found

    def _group(self, impulses: Sequence[Impulse]) -> Gesture | None:
        """What the newest of these and those shortly before it mean."""
        last = impulses[-1]
        if last.above < _CLEAR_DB:
            return None
        group = [last]
        for one in reversed(impulses[:-1]):
            if group[0].at - one.at > _LONGEST_STEP:
                break
            if one.level > last.level - _WEAKER_DB and one.above > _RIPPLE_DB:
                group.insert(0, one)
        label = _label(group)
        if label is None or not self._alone(group):
            return None
        return Gesture(label, group[0].at * HOP, last.at * HOP, _score(group))

    def _alone(self, group: Sequence[Impulse]) -> bool:
        weakest = min(one.level for one in group)
        first, last = group[0].at, group[-1].at
        if self._highest(first - _ALONE, first - frames(16)) > weakest - _QUIET_DB:
            return False
        if (
            self._highest(last + _SETTLED, last + _SETTLED + _ALONE)
            > weakest - _QUIET_DB
        ):
            return False
        for one, other in itertools.pairwise(group):
            middle = one.at + (other.at - one.at) * 6 // 10
            if self._highest(middle, other.at - frames(12)) > weakest - _BETWEEN_DB:
                return False
        # Keys, heels and cups add small noises of their own.
        others = [one for one in self._impulses if one not in group]
        near = [
            one
            for one in others
            if first - _ALONE < one.at < last + _SETTLED + _ALONE
            and one.level > weakest - _FAINT_DB
            and one.above > _DISTINCT_DB
        ]
        busy = [
            one
            for one in others
            if first - _BUSY < one.at < first and one.level > weakest - _WEAKER_DB
        ]
        return not near and len(busy) <= _BUSY_COUNT

    def _highest(self, begin: int, end: int) -> float:
        spec = self._spectrogram
        part = spec.level[max(0, begin - spec.first) : max(0, end - spec.first)]
        return float(part.max(initial=-120.0))


def _label(group: Sequence[Impulse]) -> str | None:
    """What so many impulses mean, by their number, kind and evenness."""
    steps = [
        (later.at - earlier.at) * HOP / SAMPLE_RATE
        for earlier, later in itertools.pairwise(group)
    ]
    if not steps or len(steps) > 3 or max(steps) > _UNEVEN * min(steps):
        return None
    if any(one.attack > 24 or one.decay > 90 or one.fall < 6 for one in group):
        return None
    if min(one.above for one in group) < _CLEAR_DB or _score(group) < THRESHOLD:
        return None
    for kind in _KINDS:
        if _fits(kind, group):
            right = kind.step[0] <= min(steps) and max(steps) <= kind.step[1]
            return kind.names.get(len(group)) if right else None
    return None


def _score(group: Sequence[Impulse]) -> float:
    """How alike these are in spectrum and level: 1 for the same, below THRESHOLD for others."""
    shapes = np.stack([one.shape for one in group])
    away = float(np.abs(shapes - shapes.mean(axis=0)).mean(axis=1).max())
    levels = [one.level for one in group]
    worst = max(away / _ALIKE_DB, (max(levels) - min(levels)) / _APART_DB)
    return round(1 - (1 - THRESHOLD) * worst, 3)


def _fits(kind: _Kind, group: Sequence[Impulse]) -> bool:
    """Whether these sound like this kind, on average."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in group]))

    weighed = sum(weight * mean(name) for name, weight in kind.weighed.items())
    return weighed <= kind.most and all(
        low <= mean(name) <= high for name, (low, high) in kind.bounds.items()
    )
