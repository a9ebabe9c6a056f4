"""How well wake words are heard: misses, and false accepts over hours of a home."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from model_server.audio import SAMPLE_RATE
from model_server.audio.ring import Ring
from model_server.evaluation import synthesis
from model_server.evaluation.datasets import Sample
from model_server.evaluation.negatives import Segment
from model_server.evaluation.sounds import embed
from model_server.evaluation.synthesis import Audio
from model_server.listen.wake import (
    RING,
    WakeCheck,
    WakeDecision,
    WakeScores,
    wake_words,
)

CUTOFFS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
"""Operating points that are tried beside a model's own."""

_Place: TypeAlias = tuple[str, float]
"""A word and its cutoff."""


@dataclass(frozen=True)
class Point:
    """A word at one cutoff. `false` counts wakes by the kind of what woke.

    What is `unchecked` would have been heard, or woken, without the second look.
    """

    word: str
    cutoff: float
    own: bool
    clips: int
    heard: int
    unchecked: int
    hours: float
    false: dict[str, int]
    unchecked_false: int

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
        self._ring = Ring(RING)
        self._tried = {
            word: [
                (cutoff, WakeDecision(cutoff), WakeCheck(cutoff, self._ring))
                for cutoff in points(word)
            ]
            for word in words
        }

    def push(self, audio: Audio) -> tuple[list[_Place], list[_Place]]:
        """Take audio, (samples,); return where it wakes, unchecked and checked."""
        pcm = synthesis.pcm(audio)
        unchecked, checked = [], []
        for first in range(0, pcm.size, SAMPLE_RATE):
            piece = pcm[first : first + SAMPLE_RATE]
            self._ring.write(piece)
            for one in self._scores.push(piece):
                for cutoff, decision, check in self._tried[one.name]:
                    if decision.wakes(one):
                        unchecked.append((one.name, cutoff))
                    if check.take(one) is not None:
                        checked.append((one.name, cutoff))
        return unchecked, checked


def points(word: str) -> list[float]:
    """The cutoffs that a word is tried with, its own among them."""
    return sorted({*CUTOFFS, wake_words()[word].cutoff})


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
    heard: Counter[_Place] = Counter()
    sure: Counter[_Place] = Counter()
    for number, clip in enumerate(clips):
        word = clip.item.label
        spoken[word] += 1
        audio = embed(clip.audio, snr_db, number)
        unchecked, checked = _Tally([word]).push(audio)
        sure.update(set(unchecked))
        heard.update(set(checked))
        step(audio.size / SAMPLE_RATE)
    tally = _Tally(words)
    heard_s = 0.0
    false: defaultdict[_Place, Counter[str]] = defaultdict(Counter)
    sure_false: Counter[_Place] = Counter()
    for segment in negatives:
        unchecked, checked = tally.push(segment.audio)
        sure_false.update(unchecked)
        for place in checked:
            false[place][segment.kind] += 1
        seconds = segment.audio.size / SAMPLE_RATE
        heard_s += seconds
        step(seconds)
    return [
        Point(
            word=word,
            cutoff=cutoff,
            own=cutoff == wake_words()[word].cutoff,
            clips=spoken[word],
            heard=heard[word, cutoff],
            unchecked=sure[word, cutoff],
            hours=heard_s / 3600,
            false=dict(false[word, cutoff]),
            unchecked_false=sure_false[word, cutoff],
        )
        for word in words
        for cutoff in points(word)
    ]
