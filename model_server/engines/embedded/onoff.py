"""A second look at the words that must never be confused: on against off."""

from __future__ import annotations

import numpy as np

from model_server.engines.base import Pcm

from .decoder import GrammarDecoder, Path, Word
from .trim import band_levels

_OPPOSITE = {"on": "off", "off": "on"}

# The end of "on" hums and the end of "off" hisses: the level below 600 Hz in the
# last part of the word, against the loudest of the utterance, is about -5 dB for
# "on" and -10 dB for "off", for people and synthesisers alike.
_HUM = (100, 600)
_HUM_DB = -7.5
_NATS_PER_DB = 3.0
_MOST_HUM = 15.0
_MOST_SCORE = 20.0

SURE = 6.0
"""Evidence in nats that acting needs."""


def opposes(path: Path) -> bool:
    """Whether a sentence has a word whose opposite sounds alike."""
    return any(word.text in _OPPOSITE for word in path.words)


def evidence(decoder: GrammarDecoder, path: Path, pcm: Pcm) -> float:
    """Return how surely every on and off was heard, in nats; negative: it was not.

    Each is laid against its opposite in the same place of the same utterance,
    and the sound of its ending has a say of its own.
    """
    texts = [word.text for word in path.words]
    said = decoder.align(texts, pcm)
    if len(said.words) != len(texts):
        return -_MOST_SCORE
    weakest = _MOST_SCORE + _MOST_HUM
    for place, text in enumerate(texts):
        if text not in _OPPOSITE:
            continue
        other = [*texts[:place], _OPPOSITE[text], *texts[place + 1 :]]
        margin = said.score - decoder.align(other, pcm).score
        hum = _hum(said.words[place], pcm) * (1 if text == "on" else -1)
        found = _clip(margin, _MOST_SCORE) + _clip(hum, _MOST_HUM)
        weakest = min(weakest, found)
    return weakest


def _hum(word: Word, pcm: Pcm) -> float:
    """How much a word ends like "on" (positive) or like "off", in nats."""
    levels = band_levels(pcm, (_HUM,))[0]
    start = word.start + (word.end - word.start) * 2 // 5
    ending = levels[start : word.end + 1]
    if not len(ending):
        return 0.0
    relative = ending.mean() - np.percentile(levels, 90)
    return float(_NATS_PER_DB * (relative - _HUM_DB))


def _clip(value: float, most: float) -> float:
    return max(-most, min(most, value))
