"""Recognition that goes on while the better engine is away: the lights still work."""

from __future__ import annotations

from dataclasses import replace
import hashlib
import logging
import threading
from typing import Final

from .base import (
    EngineError,
    Overhearing,
    Pcm,
    Recognition,
    SpeechRecognizer,
    Vocabulary,
    VocabularyReport,
)

_LOGGER: Final = logging.getLogger(__name__)


class FallbackRecognizer:
    """Asks the first engine; what it cannot answer, the second hears.

    A language may be spoken by either. A result of the second names it.
    """

    def __init__(self, primary: SpeechRecognizer, secondary: SpeechRecognizer) -> None:
        """Keep both ready; both know the home."""
        self._primary = primary
        self._secondary = secondary
        self._second = threading.BoundedSemaphore(secondary.parallel)
        """As many calls at a time as the second engine takes."""
        self._lock = threading.Lock()
        self._away = False
        self.info = primary.info
        self.parallel = primary.parallel
        self.languages = tuple(
            dict.fromkeys((*primary.languages, *secondary.languages))
        )

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Tell both engines, as far as they speak the language.

        Raises ValueError if none does. The report is that of the engine that
        compiles most; its version is that of both.
        """
        engines = [
            engine
            for engine in (self._primary, self._secondary)
            if _speaks(engine, vocabulary.language)
        ]
        if not engines:
            raise ValueError(
                f"No engine speaks {vocabulary.language!r}; choose one of "
                f"{', '.join(self.languages)}"
            )
        reports = [engine.set_vocabulary(vocabulary) for engine in engines]
        if len(reports) == 1:
            return reports[0]
        versions = " ".join(report.version for report in reports)
        return replace(
            max(reports, key=lambda report: report.sentences),
            version=hashlib.sha256(versions.encode()).hexdigest()[:16],
            seconds=sum(report.seconds for report in reports),
        )

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise one utterance, (samples,) with up to 0.65 s of margin around it.

        Raises the first engine's EngineError where the second does not speak the
        language, and ValueError where neither does.
        """
        if not _speaks(self._primary, language):
            return self._instead(pcm, language)
        try:
            said = self._primary.recognize(pcm, language)
        except EngineError as error:
            if not _speaks(self._secondary, language):
                raise
            self._note(error)
            return self._instead(pcm, language)
        self._note(None)
        return said

    def foresee(self, pcm: Pcm) -> Recognition | None:
        """Only the first engine may have work to do ahead."""
        return self._primary.foresee(pcm)

    def overhear(self, pcm: Pcm, language: str) -> str:
        """The first engine that can tell words so soon does, unless the second is busy."""
        first, second = self._primary, self._secondary
        if isinstance(first, Overhearing) and _speaks(first, language):
            return first.overhear(pcm, language)
        if not isinstance(second, Overhearing) or not _speaks(second, language):
            return ""
        if not self._second.acquire(blocking=False):
            return ""
        try:
            return second.overhear(pcm, language)
        finally:
            self._second.release()

    def _instead(self, pcm: Pcm, language: str) -> Recognition:
        with self._second:
            said = self._secondary.recognize(pcm, language)
        return replace(said, engine=said.engine or self._secondary.info)

    def _note(self, error: EngineError | None) -> None:
        """Log a change, once."""
        with self._lock:
            changed = self._away != (error is not None)
            self._away = error is not None
        if not changed:
            return
        if error is None:
            _LOGGER.info("The %s engine hears again", self._primary.info.name)
        else:
            _LOGGER.warning(
                "The %s engine hears until this is over: %s",
                self._secondary.info.name,
                error,
            )


def _speaks(engine: SpeechRecognizer, language: str) -> bool:
    """Whether an engine knows a language tag such as en-GB."""
    primary = language.replace("_", "-").partition("-")[0].casefold()
    return language in engine.languages or primary in engine.languages
