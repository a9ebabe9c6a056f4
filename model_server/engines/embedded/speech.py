"""Commands on a small CPU, against a grammar of what the home knows."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
import time
from typing import Protocol

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import (
    EngineInfo,
    Pcm,
    Recognition,
    Vocabulary,
    VocabularyReport,
)

from . import moonshine
from .home import Home, cached_home, plain
from .phonetic import PhoneticEar
from .writing import WritingEar

_LONGEST = 6 * SAMPLE_RATE
"""Samples beyond which an utterance is hardly a command, and not worked ahead on."""


class _Ear(Protocol):
    """What hears one home."""

    def recognize(self, pcm: Pcm) -> Recognition:
        """Recognise one utterance, (samples,)."""


class EmbeddedRecognizer:
    """English commands of one home; `cache` keeps compiled grammars between starts."""

    info = EngineInfo(name="embedded-speech", version=version("pocketsphinx"))
    languages: tuple[str, ...] = ("en",)
    parallel = 1

    def __init__(self, cache: Path, phonetic: bool = False) -> None:
        """Start with what can be said in any home: timers, the time, the date.

        `phonetic` has pocketsphinx recognise even where Moonshine is installed.
        """
        self._cache = cache
        self._weights = None if phonetic else moonshine.weights()
        if self._weights is not None:
            self.info = EngineInfo(self.info.name, version("moonshine-voice"))
        self._foreseen: tuple[_Ear, bytes, Recognition] | None = None
        self._ear = self._listen_to(cached_home(Vocabulary(), cache))

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Compile and swap in a vocabulary; the old one serves until then.

        Raises ValueError for a language other than English.
        """
        _check(vocabulary.language)
        start = time.perf_counter()
        home = cached_home(plain(vocabulary), self._cache)
        # One assignment swaps it: an utterance under way keeps the old ear.
        self._ear = self._listen_to(home)
        return VocabularyReport(
            version=home.version,
            sentences=home.grammar.sentences,
            words=len(home.grammar.words),
            guessed=home.guessed,
            seconds=time.perf_counter() - start,
            unheard=home.unheard + (home.open if self._weights is None else ()),
        )

    def _listen_to(self, home: Home) -> _Ear:
        if self._weights is None:
            return PhoneticEar(home)
        return WritingEar(moonshine.load(self._weights), home)

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise one utterance, (samples,) with up to 0.65 s of margin around it.

        Raises ValueError for a language other than English.
        """
        _check(language)
        return self._recognize(self._ear, pcm)

    def foresee(self, pcm: Pcm) -> Recognition | None:
        """Recognise an utterance that ends here unless somebody goes on, (samples,)."""
        if len(pcm) > _LONGEST:
            return None
        ear = self._ear
        said = self._recognize(ear, pcm)
        self._foreseen = ear, pcm.tobytes(), said
        return said

    def overhear(self, pcm: Pcm, language: str) -> str:
        """Tell how an utterance begins that still goes on, (samples,).

        Raises ValueError for a language other than English.
        """
        _check(language)
        ear = self._ear
        return ear.overhear(pcm) if isinstance(ear, WritingEar) else ""

    def _recognize(self, ear: _Ear, pcm: Pcm) -> Recognition:
        """Do it, unless that was done."""
        foreseen = self._foreseen
        if foreseen and (foreseen[0], foreseen[1]) == (ear, pcm.tobytes()):
            return foreseen[2]
        return ear.recognize(pcm)


def _check(language: str) -> None:
    if language.partition("-")[0].casefold() != "en":
        raise ValueError(
            f"The embedded recogniser speaks English only, not {language!r}; "
            "choose English or another engine"
        )
