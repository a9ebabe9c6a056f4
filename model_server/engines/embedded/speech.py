"""Commands on a small CPU: pocketsphinx against a grammar of what the home knows."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
import time

from model_server.engines.base import (
    EngineInfo,
    Pcm,
    Recognition,
    Vocabulary,
    VocabularyReport,
)

from .decoder import GrammarDecoder
from .home import cached_home
from .trim import trim

_NOTHING = Recognition(text="", confidence=0.0, rejected="silence")


class EmbeddedRecognizer:
    """English commands of one home; `cache` keeps compiled grammars between starts."""

    info = EngineInfo(name="embedded-speech", version=version("pocketsphinx"))
    languages = ("en",)

    def __init__(self, cache: Path) -> None:
        """Start with what can be said in any home: timers, the time, the date."""
        self._cache = cache
        self._decoder = GrammarDecoder(cached_home(Vocabulary(), cache))

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Compile and swap in a vocabulary; the old one serves until then.

        Raises ValueError for a language other than English.
        """
        _check(vocabulary.language)
        start = time.perf_counter()
        home = cached_home(vocabulary, self._cache)
        # One assignment swaps it: an utterance under way keeps the old decoder.
        self._decoder = GrammarDecoder(home)
        return VocabularyReport(
            version=home.version,
            sentences=home.grammar.sentences,
            words=len(home.grammar.words),
            guessed=home.guessed,
            seconds=time.perf_counter() - start,
        )

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise one utterance, (samples,) with up to 0.5 s of margin around it.

        Raises ValueError for a language other than English.
        """
        _check(language)
        decoder = self._decoder
        speech = trim(pcm)
        if not len(speech):
            return _NOTHING
        path = decoder.decode(speech)
        if not path.words:
            return Recognition(text="", confidence=0.0, rejected="no_command")
        return Recognition(text=path.text, confidence=1.0)


def _check(language: str) -> None:
    if language.partition("-")[0].casefold() != "en":
        raise ValueError(
            f"The embedded recogniser speaks English only, not {language!r}; "
            "choose English or another engine"
        )
