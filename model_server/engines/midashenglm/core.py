"""What the three engines of one model share: its thread, its prompts, its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import numpy as np

from model_server.engines.base import EngineError, EngineInfo, LaneLoad
from model_server.settings import MiDashengSettings

from .answers import Question, Writer, Written
from .checkpoint import Loaded
from .clips import Clip
from .constraints import Grammar, Grammars
from .hearing import Ahead, Ears
from .prompt import Prompts
from .scheduler import SPARE, Call, Lane, Say, Scheduler, Work

ROW_TOKENS: Final = 2304
"""Tokens of a row: a large home takes about 1300 to tell, 30 s of speech 150 and their
answer up to 632; a clip of 60 s takes 300.
At 7B a row has 132 MB, at 0.6B 264 MB."""
MAX_THREADS: Final = 32
"""Calls of a kind that the server lets wait in threads; the others wait before."""

T = TypeVar("T")


class Core:
    """A loaded model that serves calls from any thread."""

    def __init__(
        self, loaded: Loaded, settings: MiDashengSettings, row_tokens: int = ROW_TOKENS
    ) -> None:
        """Take memory for the rows and start the thread."""
        text = loaded.model.config.text
        vocabulary: int = text["vocab_size"]
        length = min(row_tokens, text["max_position_embeddings"])
        ends = loaded.tokens.im_end, loaded.tokens.endoftext
        self.model = loaded.model
        self.info = EngineInfo("midashenglm", loaded.version)
        self.parallel = min(settings.max_batch, MAX_THREADS)
        self.prompts = Prompts(
            loaded.tokenizer,
            loaded.tokens,
            audio_first=settings.audio_first,
            system=settings.system,
        )
        self.grammars = Grammars(loaded.tokenizer, vocabulary, ends)
        self.ends = ends
        self._audio_first = settings.audio_first
        self._writer = Writer(self.grammars.tokens, frozenset(ends), length)
        # No special token in an answer, nor one of those that only fill up the table.
        writable = np.zeros(vocabulary, np.bool_)
        writable[: loaded.tokenizer.get_vocab_size(with_added_tokens=False)] = True
        special = loaded.tokenizer.get_added_tokens_decoder()
        writable[list(special)] = False
        writable[list(ends)] = True
        rows = settings.max_batch + max(SPARE.values())
        self.ears = Ears(loaded.model, rows, length, writable)
        self._scheduler = Scheduler(self.ears, settings.max_batch, settings.max_waiting)

    def load(self) -> Mapping[str, LaneLoad]:
        """What waits in each lane, and what was dropped."""
        return self._scheduler.load()

    def close(self) -> None:
        """End every call with an EngineError."""
        self._scheduler.close()

    def grammar(self, schema: Mapping[str, Any]) -> Grammar:
        """A compiled schema. Raises UnusableRequestError."""
        return self.grammars.compile(schema)

    def room(self, question: Question) -> int:
        """Tokens that an answer may have. Raises UnusableRequestError for too few."""
        audio = self.model.audio_tokens(question.clip.waveform.size)
        room = self._writer.fit(question, audio)
        if question.grammar is not None:
            question.grammar.begin(room)
        return room

    def ask(self, lane: Lane, question: Question) -> Call[Written]:
        """Queue a question. Raises UnusableRequestError, EngineBusyError, EngineError."""
        room = self.room(question)

        def make(row: int, say: Say) -> Work[Written]:
            return self._writer.write(row, question, room, say)

        return self._scheduler.submit(lane, make)

    def ahead(self, clip: Clip) -> None:
        """Work ahead on an open clip when nothing more urgent is to be done."""
        before = self.prompts.instruction("").before if self._audio_first else None

        def make(row: int, say: Say) -> Work[None]:
            yield Ahead(clip, before)

        # Too much to do is a reason not to; nobody waits for it.
        with suppress(EngineError):
            self._scheduler.submit("ahead", make)

    def submit(self, lane: Lane, make: Callable[[int, Say], Work[T]]) -> Call[T]:
        """Queue other work. Raises EngineBusyError, EngineError."""
        return self._scheduler.submit(lane, make)
