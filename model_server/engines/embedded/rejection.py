"""Was that a command at all: the grammar's path against what any phones would give."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
import numpy.typing as npt

from .decoder import Path
from .trim import clearness

# Fitted by `python -m benchmarks.commands --phonetic --fit`, which prints these lines.
_BIAS = 0.835
_WEIGHTS = (
    -2.480,
    0.499,
    2.433,
    1.790,
    -0.087,
    3.519,
    0.821,
    0.295,
    -1.954,
    0.661,
    0.648,
    -0.662,
)
ACCEPTED = 0.8
"""Confidence below which an utterance of a listening house is no command."""
ACCEPTED_IN_NOISE = 0.7
"""The same where speech hardly stands out: everything fits less, true commands most of all.
Over a household 12 dB below it takes 178 of 258 commands rightly and 12 wrongly instead of
152 and 7, and no more of 20 minutes of other speech."""
POSSIBLE = 0.4
"""From here on it may be one, where somebody asked to be heard: who presses a button or
says a wake word means to command."""

# A word that fits this badly is wrong; how much worse says nothing more.
_WORST = -5.0


@dataclass(frozen=True)
class Evidence:
    """What speaks for a command, all per frame of 10 ms and in nats.

    `fit` is how much better its words score than free phones over the same
    frames, `worst` the same for the word that fits least; `sound` is the score
    itself, `whole` that of the whole search above the free phones', what lies between
    the words included. Free phones fit anything, so a true command comes close to them
    and other speech, squeezed into a command, stays far below. `clear` is the level of
    the loudest above the quietest, in dB: in noise everything fits less.
    """

    fit: float
    worst: float
    sound: float
    whole: float
    clear: float
    seconds: float
    words: int

    def features(self) -> npt.NDArray[np.float64]:
        """The terms of the confidence, (12,), each of about unit size."""
        sound = self.sound + 5.0
        clear = self.clear / 10
        return np.array(
            [
                self.fit,
                max(self.worst, _WORST),
                sound,
                self.whole,
                clear,
                math.log(self.seconds),
                math.log(self.words),
                self.fit**2,
                self.whole**2,
                self.fit * clear,
                self.whole * clear,
                sound * clear,
            ]
        )


def weigh(path: Path, phones: Path, levels: npt.NDArray[np.float64]) -> Evidence:
    """Compare a grammar's path with the free phones of the same utterance.

    `levels` is its loudness in dB, (frames,).
    """
    free = phones.per_frame()
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
        whole=(path.score - phones.score) / path.frames,
        clear=clearness(levels),
        seconds=frames / 100,
        words=len(path.words),
    )


def confidence(evidence: Evidence) -> float:
    """Probability that the words are what was said, 0 to 1."""
    return probability(evidence.features(), _BIAS, _WEIGHTS)


def probability(
    features: npt.NDArray[np.float64], bias: float, weights: tuple[float, ...]
) -> float:
    """Weigh features, (terms,), by a logistic regression; 0 to 1."""
    logit = bias + float(features @ np.array(weights))
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))
