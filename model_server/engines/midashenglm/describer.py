"""Captions, answers and JSON about a clip, as they are written."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import CUT, UnusableRequestError
from model_server.engines.prompts import SPEECH_LANGUAGES, transcribe

from .answers import Question
from .clips import Clip
from .core import Core
from .prompt import Prompt

MAX_SECONDS: Final = 60.0
"""Twice what the technical report measures descriptions with; vLLM serves it, too."""


class MiDashengDescriber:
    """Answers in free text, or in JSON that is valid by a schema."""

    max_seconds = MAX_SECONDS

    def __init__(self, core: Core) -> None:
        """Answer with this model."""
        self._core = core
        self.info = core.info
        self.parallel = core.parallel
        self.load = core.load
        self.close = core.close

    def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
    ) -> Generator[str, None, str | None]:
        """Stream the answer about a clip, (samples,), in whole characters.

        Returns CUT where `max_tokens` ended it. JSON is valid then, too: room to
        close it is kept from the beginning, and a schema whose shortest known answer
        is longer is refused. Errors come from the iteration, before the first piece
        unless the engine fails later: UnusableRequestError for a clip that is empty
        or longer than `max_seconds`, an empty instruction, a schema that cannot be
        followed, or too few tokens; else EngineError.
        """
        if not 0 < pcm.size <= MAX_SECONDS * SAMPLE_RATE:
            raise UnusableRequestError(
                f"The clip has {pcm.size / SAMPLE_RATE:.1f} s: up to "
                f"{MAX_SECONDS:g} s can be described."
            )
        if not instruction.strip():
            raise UnusableRequestError("The instruction is empty: ask something.")
        if max_tokens < 1:
            raise UnusableRequestError("An answer has at least one token.")
        grammar = None if schema is None else self._core.grammar(schema)
        prompt = self._prompt(instruction)
        question = Question(Clip.of(pcm), prompt, max_tokens, grammar)
        written = yield from self._core.ask("descriptions", question).pieces()
        return CUT if written.cut else None

    def _prompt(self, instruction: str) -> Prompt:
        """An instruction as tokens; another Earshot may ask here for a transcript."""
        for language in SPEECH_LANGUAGES:
            if instruction == transcribe(language):
                return self._core.prompts.transcription(language)
        return self._core.prompts.instruction(instruction)
