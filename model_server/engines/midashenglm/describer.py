"""Captions, answers and JSON about a clip, as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import UnusableRequestError

from .answers import Question
from .clips import Clip
from .core import Core

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

    def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
    ) -> Iterator[str]:
        """Stream the answer about a clip, (samples,), in whole characters.

        Free text ends where `max_tokens` are written. JSON is valid then, too: room
        to close it is kept from the beginning, and a schema whose shortest known
        answer is longer is refused. Errors come from the iteration, before the
        first piece unless the engine fails later: UnusableRequestError for a clip
        that is empty or longer than `max_seconds`, an empty instruction, a schema
        that cannot be followed, or too few tokens; else EngineError.
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
        prompt = self._core.prompts.instruction(instruction)
        question = Question(Clip.of(pcm), prompt, max_tokens, grammar)
        yield from self._core.ask("descriptions", question).pieces()
