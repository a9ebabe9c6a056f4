"""A pocketsphinx decoder over one home's grammar, and over any speech at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math
import pathlib
import re
import tempfile

import numpy as np
import numpy.typing as npt
import pocketsphinx

from model_server.engines.base import Pcm

from .home import Home

# Whole-utterance normalisation, wide beams and no lattice pass: with a grammar,
# rescoring the lattice loses words. All senones are scored in every frame, so that
# the scores of two searches of one utterance can be compared.
_SETTINGS = {
    "lm": None,
    "bestpath": False,
    "maxhmmpf": -1,
    "silprob": 0.1,
    "cmn": "batch",
    "compallsen": True,
    "loglevel": "FATAL",
}

# The decoder counts in powers of 1.0001, shifted right by ten bits.
_NATS = 1024 * math.log(1.0001)

_PHONES = [
    "AA",
    "AE",
    "AH",
    "AO",
    "AW",
    "AY",
    "B",
    "CH",
    "D",
    "DH",
    "EH",
    "ER",
    "EY",
    "F",
    "G",
    "HH",
    "IH",
    "IY",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "OW",
    "OY",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "UH",
    "UW",
    "V",
    "W",
    "Y",
    "Z",
    "ZH",
]

_PLAIN = re.compile(r"[a-z0-9'.\-]+")

_Arc = tuple[int, int, float] | tuple[int, int, float, str]


@dataclass(frozen=True)
class Word:
    """A word of a hypothesis: first and last frame (10 ms), log score of its sound."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Path:
    """What a search found: its words without silences, the whole log score."""

    words: tuple[Word, ...]
    score: float
    frames: int

    @property
    def text(self) -> str:
        """The words with spaces between."""
        return " ".join(word.text for word in self.words)

    def per_frame(self) -> npt.NDArray[np.float64]:
        """Each word's score spread over its frames, (frames + 1,); silences have none."""
        spread = np.zeros(self.frames + 1)
        for word in self.words:
            spread[word.start : word.end + 1] = word.score / (word.end - word.start + 1)
        return spread


class GrammarDecoder:
    """Searches audio for the grammar's sentences, for any phones, or for words of it."""

    def __init__(
        self, home: Home, beam: float = 1e-40, word_beam: float = 1e-28
    ) -> None:
        """Load the acoustic model and the home's words; half a second.

        What is less likely than the best by these factors, within a word and where one
        ends, is not searched on.
        """
        # A word like "(left)" would look like a variant to the dictionary.
        self._token = {
            word: word if _PLAIN.fullmatch(word) else f"~{number}"
            for number, word in enumerate(home.pronunciations)
        }
        self._word = {token: word for word, token in self._token.items()}
        self._decoder = _with_dictionary(
            [
                (self._token[word], variants)
                for word, variants in home.pronunciations.items()
            ],
            beam=beam,
            pbeam=beam,
            wbeam=word_beam,
        )
        self._log = self._decoder.get_logmath()
        grammar = home.grammar
        end = grammar.states
        self._add(
            "home",
            end,
            [
                *(
                    (source, target, 1.0, self._token[word])
                    for source, target, word in grammar.known_arcs()
                ),
                *((state, end, 1.0) for state in grammar.accepting),
            ],
        )
        share = 1 / (len(_PHONES) + 1)
        self._add(
            "phones",
            1,
            [*((0, 0, share, f"={phone}") for phone in _PHONES), (0, 1, share)],
        )

    def decode(self, pcm: Pcm) -> Path:
        """Return the sentence that fits a trimmed utterance best; no words if none does."""
        return self._search("home", pcm)

    def phones(self, pcm: Pcm) -> Path:
        """Return the phones that fit best, whatever they would mean."""
        return self._search("phones", pcm)

    def knows(self, word: str) -> bool:
        """Whether the home's grammar has a word."""
        return word in self._token

    def align(self, words: Sequence[str], pcm: Pcm) -> Path:
        """Lay just these words of the grammar over an utterance."""
        self._add(
            "text",
            len(words),
            [
                (place, place + 1, 1.0, self._token[word])
                for place, word in enumerate(words)
            ],
        )
        return self._search("text", pcm)

    def spot(self, words: Sequence[str], pcm: Pcm) -> Path:
        """Lay words of the grammar over a part of the audio; return that part only.

        Any phones may come before and after it.
        """
        last = len(words)
        share = 1 / (len(_PHONES) + 1)
        arcs: list[_Arc] = [
            (place, place + 1, share, self._token[word])
            for place, word in enumerate(words)
        ]
        for state in (0, last):
            arcs += [(state, state, share, f"={phone}") for phone in _PHONES]
        self._add("spot", last, arcs)
        path = self._search("spot", pcm)
        said = tuple(word for word in path.words if not word.text.startswith("="))
        return Path(said, path.score, path.frames)

    def _add(self, name: str, end: int, arcs: list[_Arc]) -> None:
        self._decoder.add_fsg(name, self._decoder.create_fsg(name, 0, end, arcs))

    def _search(self, name: str, pcm: Pcm) -> Path:
        decoder = self._decoder
        # What it learnt of the last utterance's noise would colour this one.
        decoder.reinit_feat()
        decoder.activate_search(name)
        decoder.start_utt()
        decoder.process_raw(pcm.tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        if hypothesis is None:
            return Path((), -math.inf, decoder.n_frames())
        return Path(
            words=tuple(
                Word(
                    self._text(segment.word),
                    segment.start_frame,
                    segment.end_frame,
                    self._nats(segment.ascore),
                )
                for segment in decoder.seg()
                if not segment.word.startswith(("<", "(", "[", "+"))
            ),
            score=self._nats(hypothesis.score),
            frames=decoder.n_frames(),
        )

    def _text(self, token: str) -> str:
        plain = token.partition("(")[0]
        return self._word.get(plain, plain)

    def _nats(self, score: float) -> float:
        return float(self._log.log(score)) * _NATS


def _with_dictionary(
    words: Iterable[tuple[str, tuple[str, ...]]], **beams: float
) -> pocketsphinx.Decoder:
    lines = [f"={phone} {phone}" for phone in _PHONES]
    for token, variants in words:
        lines.append(f"{token} {variants[0]}")
        lines += [
            f"{token}({number}) {phones}"
            for number, phones in enumerate(variants[1:], start=2)
        ]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "home.dict"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return pocketsphinx.Decoder(dict=str(path), **_SETTINGS, **beams)
