"""How well wake words are heard: misses, and false accepts over hours of a home."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model_server.audio import SAMPLE_RATE
from model_server.evaluation import synthesis
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
        self.own = self._scores.cutoffs
        self._decisions = {
            word: [(cutoff, WakeDecision({word: cutoff})) for cutoff in points(own)]
            for word, own in self.own.items()
        }

    def push(self, audio: Audio) -> list[tuple[str, float]]:
        """Take audio, (samples,); return the word and cutoff of every wake in it."""
        return [
            (one.name, cutoff)
            for one in self._scores.push(synthesis.pcm(audio))
            for cutoff, decision in self._decisions[one.name]
            if decision.wakes(one)
        ]


def points(own: float) -> list[float]:
    """The cutoffs that a word is tried with, its own among them."""
    return sorted({*CUTOFFS, own})


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
    spoken: Counter[str] = Counter()
    heard: Counter[tuple[str, float]] = Counter()
    for number, clip in enumerate(clips):
        word = clip.item.label
        spoken[word] += 1
        audio = embed(clip.audio, snr_db, number)
        heard.update(set(_Tally([word]).push(audio)))
        step(audio.size / SAMPLE_RATE)
    tally = _Tally(words)
    heard_s = 0.0
    false: defaultdict[tuple[str, float], Counter[str]] = defaultdict(Counter)
    for segment in negatives:
        for point in tally.push(segment.audio):
            false[point][segment.kind] += 1
        seconds = segment.audio.size / SAMPLE_RATE
        heard_s += seconds
        step(seconds)
    return [
        Point(
            word=word,
            cutoff=cutoff,
            own=cutoff == own,
            clips=spoken[word],
            heard=heard[word, cutoff],
            hours=heard_s / 3600,
            false=dict(false[word, cutoff]),
        )
        for word, own in tally.own.items()
        for cutoff in points(own)
    ]
