"""A pocketsphinx decoder over one home's grammar."""

from __future__ import annotations

from dataclasses import dataclass
import math
import pathlib
import tempfile

import pocketsphinx

from model_server.engines.base import Pcm

from .home import Home

# Whole-utterance normalisation, wide beams and no lattice pass: with a grammar,
# rescoring the lattice loses words. The seed keeps dither repeatable.
_SETTINGS = {
    "lm": None,
    "bestpath": False,
    "maxhmmpf": -1,
    "beam": 1e-60,
    "pbeam": 1e-60,
    "wbeam": 1e-40,
    "cmn": "batch",
    "dither": True,
    "seed": 1,
    "loglevel": "FATAL",
}


@dataclass(frozen=True)
class Word:
    """A word of a hypothesis: its frames (10 ms) and the log of its sound's score."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Path:
    """What a decoder found: its words without silences, and the whole log score."""

    words: tuple[Word, ...]
    score: float
    frames: int

    @property
    def text(self) -> str:
        """The words with spaces between."""
        return " ".join(word.text for word in self.words)


class GrammarDecoder:
    """Finds the sentence of a grammar that fits an utterance best."""

    def __init__(self, home: Home) -> None:
        """Load the acoustic model and the home's words; a third of a second."""
        self._decoder = _with_dictionary(home)
        grammar = home.grammar
        self._decoder.add_fsg(
            "home",
            self._decoder.create_fsg(
                "home",
                0,
                grammar.states,
                [
                    *(
                        (source, target, 1.0, word)
                        for source, target, word in grammar.arcs
                    ),
                    *((state, grammar.states, 1.0) for state in grammar.accepting),
                ],
            ),
        )
        self._decoder.activate_search("home")

    def decode(self, pcm: Pcm) -> Path:
        """Decode one trimmed utterance, (samples,); no words if nothing fits."""
        return decode(self._decoder, pcm)


def decode(decoder: pocketsphinx.Decoder, pcm: Pcm) -> Path:
    """Run one utterance through a decoder's active search."""
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    frames = decoder.n_frames()
    if hypothesis is None:
        return Path((), -math.inf, frames)
    log = decoder.get_logmath()
    return Path(
        words=tuple(
            Word(
                segment.word.partition("(")[0],
                segment.start_frame,
                segment.end_frame,
                log.log(segment.ascore),
            )
            for segment in decoder.seg()
            if not segment.word.startswith(("<", "(", "["))
        ),
        score=log.log(hypothesis.score),
        frames=frames,
    )


def _with_dictionary(home: Home) -> pocketsphinx.Decoder:
    lines = [
        f"{word} {phones}" if not variant else f"{word}({variant + 1}) {phones}"
        for word, variants in home.pronunciations.items()
        for variant, phones in enumerate(variants)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "home.dict"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return pocketsphinx.Decoder(dict=str(path), **_SETTINGS)
