"""A second look at words that must never be confused: on and off, lock and unlock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_server.engines.base import Pcm

from .decoder import GrammarDecoder, Path, Word
from .trim import band_levels

OPPOSITE = {"on": "off", "off": "on", "lock": "unlock", "unlock": "lock"}

# The end of "on" hums and the end of "off" hisses: the level below 600 Hz in the
# last part of the word, against the loudest of the utterance, is about -5 dB for
# "on" and -10 dB for "off", for people and synthesisers alike.
_HUM = (100, 600)
_HUM_DB = -7.5
_NATS_PER_DB = 3.0
_MOST_HUM = 15.0
_MOST_SCORE = 20.0

# Nats that acting needs. Where the whole sentence fits less well than this
# confidence, the ending must speak for the word too, or the margin be wide: a
# misheard name also shifts where the word is looked for.
_SURE = 6.0
_MARGIN = 8.0
_FITS = 0.9
_HUM_ALONE = 2.5

# "Unlock" is longer than "lock", so their scores lie apart without another witness:
# four voices over a household's noise gave 27 to 103 nats, and -8 to 8 for one voice
# whose "lock" sounds like either.
LOCK_MARGIN = 15.0


@dataclass(frozen=True)
class Opposition:
    """How surely the weakest such word of a sentence was heard, in nats.

    `margin` is its score above its opposite's, `hum` what the ending of on or off says.
    """

    margin: float
    hum: float | None

    def settled(self, confidence: float) -> bool:
        """Whether that is enough to act on a sentence of this confidence."""
        if self.hum is None:
            return self.margin >= LOCK_MARGIN
        together = _clip(self.margin, _MOST_SCORE) + _clip(self.hum, _MOST_HUM)
        if self.margin < _MARGIN or together < _SURE:
            return False
        witness = self.hum >= _HUM_ALONE or self.margin >= _MOST_SCORE
        return witness or confidence >= _FITS


def opposes(decoder: GrammarDecoder, path: Path) -> bool:
    """Whether a sentence has a word whose opposite sounds alike and may be said too."""
    return any(decoder.knows(OPPOSITE.get(word.text, "")) for word in path.words)


def oppose(decoder: GrammarDecoder, path: Path, pcm: Pcm) -> Opposition:
    """Lay each such word against its opposite in the same place of an utterance."""
    texts = [word.text for word in path.words]
    # Laid out anew: in the grammar a last word is scored as if others might follow.
    said = decoder.align(texts, pcm)
    if len(said.words) != len(texts):
        return Opposition(-_MOST_SCORE, 0.0)
    found = []
    for place, text in enumerate(texts):
        opposite = OPPOSITE.get(text, "")
        if not decoder.knows(opposite):
            continue
        other = [*texts[:place], opposite, *texts[place + 1 :]]
        margin = said.score - decoder.align(other, pcm).score
        hum = None
        if text in ("on", "off"):
            hum = _hum(said.words[place], pcm) * (1 if text == "on" else -1)
        found.append(Opposition(margin, hum))
    return min(found, key=lambda one: one.margin + (one.hum or 0.0))


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
