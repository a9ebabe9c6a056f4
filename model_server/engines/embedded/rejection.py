"""Was that a command at all: the grammar's path against what any phones would give."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
import numpy.typing as npt

from .decoder import Path

# Fitted by `python -m benchmarks.commands --fit`, which prints these lines.
_BIAS = 1.556
_WEIGHTS = (1.711, 0.541, 1.121, 2.784, 0.860)
ACCEPTED = 0.8
"""Confidence below which an utterance is no command."""

# A word that fits this badly is wrong; how much worse says nothing more.
_WORST = -5.0


@dataclass(frozen=True)
class Evidence:
    """What speaks for a command, all per frame of 10 ms and in nats.

    `fit` is how much better its words score than free phones over the same
    frames, `worst` the same for the word that fits least; `sound` is the score
    itself. Free phones fit anything, so a true command comes close to them and
    other speech, squeezed into a command, stays far below.
    """

    fit: float
    worst: float
    sound: float
    seconds: float
    words: int

    def features(self) -> npt.NDArray[np.float64]:
        """The terms of the confidence, (5,), each of about unit size."""
        return np.array(
            [
                self.fit,
                max(self.worst, _WORST),
                self.sound + 5.0,
                math.log(self.seconds),
                math.log(self.words),
            ]
        )


def weigh(path: Path, phones: Path) -> Evidence:
    """Compare a grammar's path with the free phones of the same utterance."""
    free = np.zeros(path.frames + 1)
    for phone in phones.words:
        free[phone.start : phone.end + 1] = phone.score / (phone.end - phone.start + 1)
    gains = []
    lengths = []
    for word in path.words:
        length = word.end - word.start + 1
        gains.append(word.score - free[word.start : word.end + 1].sum())
        lengths.append(length)
    frames = sum(lengths)
    return Evidence(
        fit=float(sum(gains)) / frames,
        worst=float(min(np.array(gains) / lengths)),
        sound=sum(word.score for word in path.words) / frames,
        seconds=frames / 100,
        words=len(path.words),
    )


def confidence(evidence: Evidence) -> float:
    """Probability that the words are what was said, 0 to 1."""
    logit = _BIAS + float(evidence.features() @ np.array(_WEIGHTS))
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))
