"""Scores of long recordings, each window once, and what a rule makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import SoundClassifier
from model_server.evaluation import synthesis
from model_server.evaluation.synthesis import Audio
from model_server.monitor.decider import quantise
from model_server.monitor.detector import Rule, State, advance

# As the monitor cuts its stream and leaves out what is silent.
BLOCK = SAMPLE_RATE // 20
SILENT = 10 ** (-75 / 20)
_BATCH = 32

Scores = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Track:
    """Scores of one stream: `at` (n,) is each window's last sample, `scores` (n, labels) in 255ths."""

    at: npt.NDArray[np.int64]
    scores: Scores
    samples: int


@dataclass(frozen=True)
class Start:
    """An event's beginning: the sample at which it was decided, and its score."""

    at: int
    score: float


def score(classifier: SoundClassifier, stretches: Iterable[Audio]) -> Track:
    """Score one stream as a `SoundMonitor` would, windows in batches.

    Scores are rounded to 255ths, as the monitor's are.
    """
    window, hop = classifier.window, classifier.hop
    kept = np.zeros(0, np.float32)
    first = 0
    wanted = window
    ends: list[int] = []
    batch: list[Audio] = []
    rows: list[Scores] = []

    def flush() -> None:
        if batch:
            rows.append(_scored(classifier, np.stack(batch)))
            batch.clear()

    for stretch in stretches:
        pcm = synthesis.pcm(stretch)
        kept = np.concatenate([kept, pcm.astype(np.float32) / 32768])
        # The monitor looks at whole blocks only.
        while (end := -(-wanted // BLOCK) * BLOCK) <= first + kept.size:
            batch.append(kept[end - window - first : end - first])
            ends.append(end)
            wanted += hop
            if len(batch) == _BATCH:
                flush()
        drop = max(0, min(wanted - window - first, kept.size))
        kept, first = kept[drop:], first + drop
    flush()
    labels = len(classifier.labels)
    scores = np.concatenate(rows) if rows else np.zeros((0, labels), np.uint8)
    return Track(np.array(ends, np.int64), scores, first + kept.size)


def starts(at: npt.NDArray[np.int64], scores: Scores, rule: Rule) -> list[Start]:
    """The events that a rule begins, given one label's scores, (n,).

    Windows that cannot matter are skipped: with no event under way and the last `n`
    scores below `on`, the detector remembers nothing that counts.
    """
    found: list[Start] = []
    state, done = State(), 0
    for hit in np.flatnonzero(scores / 255 >= rule.on):
        if hit < done:
            continue
        below, done = 0, int(hit)
        while done < scores.size and (state.active is not None or below < rule.n):
            value = int(scores[done]) / 255
            state, change = advance(state, rule, int(at[done]), value)
            if change is not None and change.state == "start":
                found.append(Start(int(at[done]), change.score))
            below = 0 if value >= rule.on else below + 1
            done += 1
    return found


def firing(scores: Scores, k: int, n: int) -> float:
    """The highest `on` with which `k` of `n` would begin an event, of one label's (m,)."""
    if scores.size < k:
        return 0.0
    padded = np.pad(scores, (n - 1, 0))
    views = np.lib.stride_tricks.sliding_window_view(padded, n)
    return int(np.partition(views, n - k, axis=1)[:, n - k].max()) / 255


def _scored(classifier: SoundClassifier, windows: Audio) -> Scores:
    scores = np.zeros((len(windows), len(classifier.labels)), np.uint8)
    loud = np.flatnonzero(np.sqrt(np.mean(windows**2, axis=1)) >= SILENT)
    if loud.size:
        told = classifier.classify(windows[loud]).scores
        scores[loud] = quantise(told)
    return scores
