"""Was a phrase said, and where did it end: a second opinion on a wake word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model_server.engines.base import Pcm

from .decoder import GrammarDecoder
from .grammar import Grammar
from .home import Home
from .pronunciation import pronounce
from .trim import clearness, dither, loudness

_FRAME = 160

_BEAM = 1e-120
"""Wide: what fits badly is to be found, too, and is told by how badly it fits."""

_SOUNDS = {
    "alexa": ("AH L EH K S AH", "AE L EH K S AH"),
    "hey": ("HH EY", "EY"),
    "jarvis": ("JH AA R V AH S", "JH AA R V IH S", "JH AA V IH S"),
    "mycroft": ("M AY K R AO F T", "M AY K R AA F T", "M AY K R AH F T"),
    "nabu": ("N AA B UW", "N AE B UW", "N AH B UW"),
    "okay": ("OW K EY", "AH K EY", "K EY"),
}
"""Words of wake words that no dictionary has, and how else they are said."""

# A phrase that was said scores, in quiet, up to 2 nats per frame less than the phones that
# fit best. Background costs any phrase its fit: per dB that speech stands out less than
# 25 dB, 0.25 nats. Seen with `evaluate wake` at 8 to 20 dB.
_WORST = -2.0
_CLEAR_DB = 25.0
_PER_DB = 0.25


@dataclass(frozen=True)
class Spotted:
    """Where a phrase fits best, in samples; `fit` is negative where it was hardly said.

    `fit` is in nats per frame, above what is expected of a phrase in such a background.
    """

    fit: float
    start: int
    end: int


class PhraseSpotter:
    """Lays phrases over audio, between any phones that may come before and after."""

    def __init__(self, phrases: Iterable[str]) -> None:
        """Load the acoustic model; half a second."""
        self._words = {phrase: phrase.casefold().split() for phrase in phrases}
        words = sorted({word for each in self._words.values() for word in each})
        lexicon = pronounce(words, {})
        arcs = tuple((0, 1, word) for word in words)
        self._decoder = GrammarDecoder(
            Home(
                version="",
                grammar=Grammar(2, arcs, (1,), len(arcs)),
                pronunciations={**lexicon.pronunciations, **_SOUNDS},
                guessed=lexicon.guessed,
            ),
            beam=_BEAM,
            word_beam=_BEAM,
        )

    def spot(self, phrase: str, pcm: Pcm) -> Spotted | None:
        """Find where one of the phrases fits best in a second or two, (samples,)."""
        speech = dither(pcm)
        path = self._decoder.spot(self._words[phrase], speech)
        if not path.words:
            return None
        start, end = path.words[0].start, path.words[-1].end + 1
        free = self._decoder.phones(speech).per_frame()
        gain = sum(word.score for word in path.words) - free[start:end].sum()
        unclear = max(0.0, _CLEAR_DB - clearness(loudness(speech)))
        fit = gain / (end - start) - _WORST + _PER_DB * unclear
        return Spotted(float(fit), start * _FRAME, end * _FRAME)
