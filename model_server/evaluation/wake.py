"""How well wake words are heard: misses, and false accepts over hours of a home."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.evaluation.datasets import Sample
from model_server.evaluation.negatives import Segment
from model_server.evaluation.sounds import embed
from model_server.evaluation.synthesis import Audio
from model_server.listen.wake import WakeDecision, WakeScores

CUTOFFS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
"""Operating points that are tried beside a model's own."""


@dataclass(frozen=True)
class Point:
    """A word at one cutoff. `false` counts wakes by the kind of what woke."""

    word: str
    cutoff: float
    own: bool
    clips: int
    heard: int
    hours: float
    false: dict[str, int]

    @property
    def miss_rate(self) -> float | None:
        """Share of the clips that did not wake; None without clips."""
        return 1 - self.heard / self.clips if self.clips else None

    @property
    def per_hour(self) -> float | None:
        """False accepts per hour; None without an hour's part of negatives."""
        return sum(self.false.values()) / self.hours if self.hours else None

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        derived = {"miss_rate": self.miss_rate, "per_hour": self.per_hour}
        return asdict(self) | derived


class _Tally:
    """Counts what wakes at every operating point of one stream."""

    def __init__(self, words: Sequence[str]) -> None:
        self._scores = WakeScores(words)
        self._points = [
            (word, cutoff, WakeDecision({word: cutoff}))
            for word in words
            for cutoff in points(self._scores.cutoffs[word])
        ]

    def push(self, audio: Audio) -> list[tuple[str, float]]:
        """Take audio, (samples,); return the word and cutoff of every wake in it."""
        return [
            (word, cutoff)
            for one in self._scores.push(_pcm(audio))
            for word, cutoff, decision in self._points
            if one.name == word and decision.wakes(one)
        ]


def points(own: float) -> list[float]:
    """The cutoffs that a word is tried with, its own among them."""
    return sorted({*CUTOFFS, round(own, 4)})


def measure(
    words: Sequence[str],
    clips: Iterable[Sample],
    negatives: Iterable[Segment],
    snr_db: float,
    step: Callable[[float], None],
) -> list[Point]:
    """Every word at every cutoff. A clip is labelled with its word, and tells no other.

    Each clip is a stream of its own, in a household's background `snr_db` below it;
    the negatives are one stream. `step` is told the seconds that were heard.
    """
    spoken: dict[str, int] = dict.fromkeys(words, 0)
    heard: dict[tuple[str, float], int] = {}
    for number, clip in enumerate(clips):
        word = clip.item.label
        spoken[word] += 1
        audio = embed(clip.audio, snr_db, number)
        for point in {*_Tally([word]).push(audio)}:
            heard[point] = heard.get(point, 0) + 1
        step(audio.size / SAMPLE_RATE)
    tally = _Tally(words)
    seconds = 0.0
    false: dict[tuple[str, float], dict[str, int]] = {}
    for segment in negatives:
        for point in tally.push(segment.audio):
            kinds = false.setdefault(point, {})
            kinds[segment.kind] = kinds.get(segment.kind, 0) + 1
        seconds += segment.audio.size / SAMPLE_RATE
        step(segment.audio.size / SAMPLE_RATE)
    cutoffs = WakeScores(words).cutoffs
    return [
        Point(
            word,
            cutoff,
            cutoff == round(cutoffs[word], 4),
            spoken[word],
            heard.get((word, cutoff), 0),
            seconds / 3600,
            false.get((word, cutoff), {}),
        )
        for word in words
        for cutoff in points(cutoffs[word])
    ]


def _pcm(audio: Audio) -> Pcm:
    return np.asarray(np.clip(audio * 32767, -32768, 32767), np.int16)
