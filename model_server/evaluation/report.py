"""Figures of a sound engine on a dataset: per label what it finds and how often it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import SoundLabel
from model_server.engines.base import SoundClassifier
from model_server.evaluation.datasets import Sample
from model_server.evaluation.negatives import Segment
from model_server.evaluation.scoring import Track, firing, score, starts
from model_server.evaluation.sounds import LEAD_S, embed
from model_server.monitor.detector import Rule

DAY_H = 24.0
SERIOUS = ("security", "people")
"""The groups whose macro recall is reported."""
NONE = "nothing"
LEAST = 0.35
"""No threshold is tuned below this: hours without a false alarm do not prove it safe."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Heard:
    """A clip's label and the scores of the stream it was embedded in; `begins` in samples."""

    label: str
    track: Track
    begins: int


@dataclass
class Home:
    """The scored negatives: which windows a segment that may hold a label touches."""

    track: Track
    kinds: npt.NDArray[np.int8]
    names: tuple[str, ...]
    truths: list[tuple[int, int, frozenset[str]]] = field(default_factory=list)
    window: int = 0

    def clear(self, label: str) -> npt.NDArray[np.bool_]:
        """Which windows, (n,), hear nothing that may be this label."""
        clear = np.ones(self.track.at.size, dtype=bool)
        for first, last, truths in self.truths:
            if label in truths:
                low, high = np.searchsorted(self.track.at, [first, last + self.window])
                clear[low : high + 1] = False
        return clear


@dataclass(frozen=True)
class Figures:
    """One label with one rule. Rates are None where nothing could tell them."""

    label: str
    rule: Rule
    clips: int
    found: int
    others: int
    wrong: int
    average_precision: float | None
    delay_p50_s: float | None
    delay_p95_s: float | None
    hours: float
    false_alarms: dict[str, int]

    @property
    def recall(self) -> float | None:
        """Share of the label's clips that gave its event."""
        return self.found / self.clips if self.clips else None

    @property
    def precision(self) -> float | None:
        """Share of the clips that gave the event which have the label."""
        fired = self.found + self.wrong
        return self.found / fired if fired else None

    @property
    def per_day(self) -> float | None:
        """False alarms per 24 hours of negatives."""
        count = sum(self.false_alarms.values())
        return count / self.hours * DAY_H if self.hours else None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "rule": _rule_json(self.rule),
            "clips": self.clips,
            "found": self.found,
            "recall": self.recall,
            "other_clips": self.others,
            "other_clips_wrong": self.wrong,
            "precision": self.precision,
            "average_precision": self.average_precision,
            "delay_p50_s": self.delay_p50_s,
            "delay_p95_s": self.delay_p95_s,
            "negative_hours": self.hours,
            "false_alarms": self.false_alarms,
            "false_alarms_per_hour": self.hours
            and sum(self.false_alarms.values()) / self.hours,
            "false_alarms_per_24h": self.per_day,
        }


def hear(
    samples: Sequence[Sample],
    classifier: SoundClassifier,
    snr_db: float,
    progress: Progress = lambda _: None,
) -> Iterator[Heard]:
    """Score every clip, each three seconds into a household's background."""
    for seed, sample in enumerate(samples):
        track = score(classifier, [embed(sample.audio, snr_db, seed)])
        begins = round(LEAD_S * SAMPLE_RATE) + _first_loud(sample.audio)
        yield Heard(sample.item.label, track, begins)
        progress(1)


def listen(
    segments: Iterable[Segment],
    classifier: SoundClassifier,
    progress: Progress = lambda _: None,
) -> Home:
    """Score the negatives as one stream; `progress` gets the seconds of each segment."""
    names: list[str] = []
    bounds: list[tuple[int, int]] = []
    truths: list[tuple[int, int, frozenset[str]]] = []
    total = 0

    def passed() -> Iterator[npt.NDArray[np.float32]]:
        nonlocal total
        for segment in segments:
            if segment.kind not in names:
                names.append(segment.kind)
            first, total = total, total + segment.audio.size
            bounds.append((total, names.index(segment.kind)))
            if segment.truths:
                truths.append((first, total, segment.truths))
            yield segment.audio
            progress(segment.audio.size / SAMPLE_RATE)

    track = score(classifier, passed())
    # A window belongs to the segment in which it ends.
    last = np.array([bound for bound, _ in bounds], np.int64)
    kinds = np.array([kind for _, kind in bounds], np.int8)
    places = np.searchsorted(last, track.at)
    return Home(track, kinds[places], tuple(names), truths, classifier.window)


def figures(
    label: SoundLabel, place: int, heard: Sequence[Heard], home: Home, rule: Rule
) -> Figures:
    """What one label's rule makes of everything that was scored; `place` is its column."""
    found = wrong = clips = 0
    late: list[float] = []
    for one in heard:
        fired = starts(one.track.at, one.track.scores[:, place], rule)
        if one.label == label.slug:
            clips += 1
            found += bool(fired)
            late += [(first.at - one.begins) / SAMPLE_RATE for first in fired[:1]]
        else:
            wrong += bool(fired)
    hours, counts = false_alarms(home, label.slug, place, rule)
    mine = np.array([one.label == label.slug for one in heard], dtype=bool)
    best = np.array(
        [firing(one.track.scores[:, place], rule.k, rule.n) for one in heard]
    )
    p50, p95 = np.percentile(late, [50, 95]).round(2).tolist() if late else (None, None)
    return Figures(
        label.slug, rule, clips, found, len(heard) - clips, wrong,
        average_precision(best, mine), p50, p95, hours, counts,
    )  # fmt: skip


def false_alarms(
    home: Home, label: str, place: int, rule: Rule
) -> tuple[float, dict[str, int]]:
    """Hours of negatives for a label, and its events in them by the kind of segment."""
    clear = home.clear(label)
    counts: dict[str, int] = {}
    for stretch in _runs(clear):
        for start in starts(
            home.track.at[stretch], home.track.scores[stretch, place], rule
        ):
            index = int(np.searchsorted(home.track.at, start.at))
            kind = home.names[int(home.kinds[index])]
            counts[kind] = counts.get(kind, 0) + 1
    share = float(clear.mean()) if clear.size else 0.0
    return home.track.samples / SAMPLE_RATE / 3600 * share, counts


def precision_recall(
    best: npt.NDArray[np.float64], mine: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision and recall at each clip's score, from the highest on."""
    order = np.argsort(-best, kind="stable")
    ranked, right = best[order], np.cumsum(mine[order])
    # Clips of one score pass a threshold together.
    last = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)
    return right[last] / (last + 1), right[last] / max(1, int(mine.sum()))


def average_precision(
    best: npt.NDArray[np.float64], mine: npt.NDArray[np.bool_]
) -> float | None:
    """Area under precision over recall, without interpolation; None without clips."""
    if not mine.any():
        return None
    precision, recall = precision_recall(best, mine)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def tune(
    label: SoundLabel,
    place: int,
    heard: Sequence[Heard],
    home: Home,
    rule: Rule,
    limit: float = 1.0,
    margin: float = 0.0,
) -> Figures | None:
    """The lowest `on` with at most `limit` false alarms per 24 h, and what it finds.

    `margin` is added to its log odds, because other homes have other sounds. It is
    never below LEAST. None if no threshold keeps the limit. `off` stays the half of `on`.
    """
    lowest: float | None = None
    for step in range(252, round(LEAST * 255) - 1, -2):
        tried = replace(rule, on=step / 255, off=step / 510)
        hours, counts = false_alarms(home, label.slug, place, tried)
        if hours and sum(counts.values()) / hours * DAY_H > limit:
            break
        lowest = tried.on
    if lowest is None:
        return None
    odds = lowest / (1 - lowest) * np.exp(margin)
    # Two decimals, as a person writes it, and never less than was found.
    on = min(0.99, max(LEAST, float(np.ceil(100 * odds / (1 + odds) - 1e-6) / 100)))
    kept = replace(rule, on=on, off=on / 2)
    return figures(label, place, heard, home, kept)


def confusion(
    heard: Sequence[Heard], columns: Sequence[tuple[str, int, Rule]]
) -> tuple[list[str], list[str], npt.NDArray[np.int64]]:
    """Rows, columns and counts: of the clips of each row, how many gave each event."""
    rows = sorted({one.label for one in heard})
    names = [name for name, _, _ in columns] + [NONE]
    table = np.zeros((len(rows), len(names)), np.int64)
    for one in heard:
        fired = [
            bool(starts(one.track.at, one.track.scores[:, place], rule))
            for _, place, rule in columns
        ]
        table[rows.index(one.label)] += [*fired, not any(fired)]
    return rows, names, table


def macro_recall(rows: Iterable[Figures]) -> float | None:
    """Mean recall over the labels that have clips."""
    known = [row.recall for row in rows if row.recall is not None]
    return sum(known) / len(known) if known else None


def _rule_json(rule: Rule) -> dict[str, float]:
    return {
        "on": round(rule.on, 4),
        "off": round(rule.off, 4),
        "k": rule.k,
        "n": rule.n,
        "hold_s": rule.hold / SAMPLE_RATE,
    }


def _runs(mask: npt.NDArray[np.bool_]) -> Iterator[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        yield slice(int(first), int(last))


def _first_loud(audio: npt.NDArray[np.float32]) -> int:
    """The sample from which a clip sounds, within 20 dB of its loudest tenth of a second."""
    step = SAMPLE_RATE // 10
    padded = np.pad(audio, (0, -audio.size % step)).reshape(-1, step)
    power = np.mean(padded**2, axis=1)
    return int(np.argmax(power >= 0.01 * power.max(initial=0.0))) * step
