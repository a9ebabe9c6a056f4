"""Commands on a small CPU: pocketsphinx against a grammar of what the home knows."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
import time

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import (
    EngineInfo,
    Hypothesis,
    Pcm,
    Recognition,
    Vocabulary,
    VocabularyReport,
)

from .cleaning import clean
from .decoder import GrammarDecoder
from .home import cached_home, plain
from .opposites import Opposition, oppose, opposes
from .rejection import (
    ACCEPTED,
    ACCEPTED_IN_NOISE,
    POSSIBLE,
    Evidence,
    confidence,
    weigh,
)
from .sentences import DECLINING
from .trim import dither, loudness, trim

_LONGEST = 6 * SAMPLE_RATE
"""Samples beyond which an utterance is hardly a command, and not worked ahead on."""


class EmbeddedRecognizer:
    """English commands of one home; `cache` keeps compiled grammars between starts."""

    info = EngineInfo(name="embedded-speech", version=version("pocketsphinx"))
    languages: tuple[str, ...] = ("en",)
    parallel = 1

    def __init__(self, cache: Path) -> None:
        """Start with what can be said in any home: timers, the time, the date."""
        self._cache = cache
        self._foreseen: tuple[GrammarDecoder, bytes, Recognition] | None = None
        self._decoder = GrammarDecoder(cached_home(Vocabulary(), cache))

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Compile and swap in a vocabulary; the old one serves until then.

        Raises ValueError for a language other than English.
        """
        _check(vocabulary.language)
        start = time.perf_counter()
        home = cached_home(plain(vocabulary), self._cache)
        # One assignment swaps it: an utterance under way keeps the old decoder.
        self._decoder = GrammarDecoder(home)
        return VocabularyReport(
            version=home.version,
            sentences=home.grammar.sentences,
            words=len(home.grammar.words),
            guessed=home.guessed,
            seconds=time.perf_counter() - start,
            unheard=home.unheard,
        )

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise one utterance, (samples,) with up to 0.65 s of margin around it.

        Raises ValueError for a language other than English.
        """
        _check(language)
        return self._recognize(self._decoder, pcm)

    def foresee(self, pcm: Pcm) -> Recognition | None:
        """Recognise an utterance that ends here unless somebody goes on, (samples,)."""
        if len(pcm) > _LONGEST:
            return None
        decoder = self._decoder
        said = self._recognize(decoder, pcm)
        self._foreseen = decoder, pcm.tobytes(), said
        return said

    def _recognize(self, decoder: GrammarDecoder, pcm: Pcm) -> Recognition:
        """Do it, unless that was done."""
        foreseen = self._foreseen
        if foreseen and (foreseen[0], foreseen[1]) == (decoder, pcm.tobytes()):
            return foreseen[2]
        return _recognize(decoder, pcm)


def _recognize(decoder: GrammarDecoder, pcm: Pcm) -> Recognition:
    finding = look(decoder, pcm)
    if finding is None:
        return Recognition(text="", confidence=0.0, rejected="silence")
    return judge(finding)


@dataclass(frozen=True)
class Finding:
    """What was found in an utterance, before anybody decides about it.

    `noisy`: speech hardly stood out. `opposites` is how surely its on or off was heard,
    None without such a word.
    """

    text: str
    evidence: Evidence | None
    noisy: bool
    opposites: Opposition | None = None


def look(decoder: GrammarDecoder, pcm: Pcm) -> Finding | None:
    """Find the best sentence in an utterance, and what speaks for it; None in silence."""
    cleaned = clean(pcm)
    noisy = cleaned is not pcm
    speech = trim(cleaned)
    if not len(speech):
        return None
    speech = dither(speech)
    path = decoder.decode(speech)
    if not path.words:
        return Finding("", None, noisy)
    found = weigh(path, decoder.phones(speech), loudness(speech))
    if confidence(found) < POSSIBLE or not opposes(decoder, path):
        return Finding(path.text, found, noisy)
    return Finding(path.text, found, noisy, oppose(decoder, path, speech))


def judge(finding: Finding) -> Recognition:
    """Accept a finding, or say that it is no command, and which it might have been.

    A house that does nothing is asked again; one that does the opposite is not
    forgiven. So a thin margin between on and off is no command either.
    """
    if finding.evidence is None:
        return Recognition(text="", confidence=0.0, rejected="no_command")
    sure = confidence(finding.evidence)
    unsure = finding.opposites is not None and not finding.opposites.settled(sure)
    if unsure or sure < POSSIBLE:
        return Recognition(text="", confidence=sure, rejected="no_command")
    # To decline does nothing, so it may be less sure.
    needed = ACCEPTED_IN_NOISE if finding.noisy else ACCEPTED
    if sure < needed and finding.text not in DECLINING:
        perhaps = Hypothesis(finding.text, sure)
        return Recognition("", sure, alternatives=(perhaps,), rejected="no_command")
    return Recognition(text=finding.text, confidence=sure)


def _check(language: str) -> None:
    if language.partition("-")[0].casefold() != "en":
        raise ValueError(
            f"The embedded recogniser speaks English only, not {language!r}; "
            "choose English or another engine"
        )
