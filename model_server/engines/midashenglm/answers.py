"""One answer of the model under way: from a clip and a prompt to the last token."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from llguidance import LLTokenizer

from model_server.engines.base import UnusableRequestError

from .clips import Clip
from .constraints import Answer, Grammar
from .hearing import Begin, Choice, Extend
from .prompt import Prompt
from .repetition import Repetition

Steps: TypeAlias = Generator[Begin | Extend, Choice, "Written"]

MIN_ANSWER: Final = 16
"""Tokens that an answer needs room for, whatever was asked."""


@dataclass(frozen=True)
class Question:
    """What is asked about a clip, and how the answer may look."""

    clip: Clip
    prompt: Prompt
    max_tokens: int
    grammar: Grammar | None = None


@dataclass
class Written:
    """An answer: its text, how likely each chosen token was, and why it ended."""

    text: str = ""
    logprobs: list[float] = field(default_factory=list)
    looped: bool = False
    cut: bool = False


class Writer:
    """Writes answers in one tokenizer's tokens."""

    def __init__(self, tokens: LLTokenizer, ends: frozenset[int], length: int) -> None:
        """`ends` finish a free answer; a row has `length` tokens."""
        self._tokens = tokens
        self._ends = ends
        self._length = length

    def fit(self, question: Question, audio: int) -> int:
        """How many tokens its answer may have. Raises UnusableRequestError for too few.

        `audio`: tokens of its clip.
        """
        asked = len(question.prompt.before) + audio + len(question.prompt.after)
        room = min(question.max_tokens, self._length - asked)
        if room < min(MIN_ANSWER, question.max_tokens):
            raise UnusableRequestError(
                f"Clip and instruction have {asked} tokens, and with the answer "
                f"{self._length} are allowed: say less, or cut the clip."
            )
        return room

    def write(
        self, row: int, question: Question, room: int, say: Callable[[str], None]
    ) -> Steps:
        """Answer in at most `room` tokens, saying whole characters as they come.

        An answer that goes in circles ends there: a free one keeps the passage once,
        JSON is closed. Raises UnusableRequestError where JSON cannot be closed.
        """
        if question.grammar is None:
            return self._free(row, question, room, say)
        return self._bound(row, question, question.grammar.begin(room), say)

    def _free(
        self, row: int, question: Question, room: int, say: Callable[[str], None]
    ) -> Steps:
        written = Written()
        text = _Text(self._tokens, say)
        circles = Repetition()
        tokens: list[int] = []
        choice = yield Begin(row, question.clip, question.prompt)
        while choice.token not in self._ends:
            tokens.append(choice.token)
            written.logprobs.append(choice.logprob)
            text.add([choice.token])
            if (keep := circles.add([choice.token])) is not None:
                written.looped = True
                written.text = _Text(self._tokens).add(tokens[:keep])
                del written.logprobs[keep:]
                return written
            if len(tokens) >= room:
                written.cut = True
                break
            choice = yield Extend(row, [choice.token])
        written.text = text.all
        return written

    def _bound(
        self, row: int, question: Question, answer: Answer, say: Callable[[str], None]
    ) -> Steps:
        written = Written()
        text = _Text(self._tokens, say)
        circles = Repetition()
        begin = answer.forced()
        text.add(begin)
        if answer.over:
            written.text = text.all
            return written
        choice = yield Begin(row, question.clip, question.prompt, begin, answer.mask())
        while True:
            tokens = answer.take(choice.token)
            if tokens[:1] == [choice.token]:
                written.logprobs.append(choice.logprob)
            if not answer.over and circles.add(tokens) is not None:
                written.looped = True
                tokens = [*tokens, *answer.finish()]
            text.add(tokens)
            if answer.over or answer.budget <= 0:
                break
            choice = yield Extend(row, tokens, answer.mask())
        written.cut = answer.cut
        if not answer.complete:
            # A way out was always in hand, so this is a defect of the grammar.
            raise UnusableRequestError("The schema could not be followed to its end.")
        written.text = text.all
        return written


class _Text:
    """Tokens as text, in whole characters: half a one waits for its other half."""

    def __init__(
        self, tokens: LLTokenizer, say: Callable[[str], None] | None = None
    ) -> None:
        self._tokens = tokens
        self._say = say
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.all = ""

    def add(self, tokens: list[int]) -> str:
        """Go on; returns all text so far."""
        piece = self._decoder.decode(self._tokens.decode_bytes(tokens))
        self.all += piece
        if piece and self._say:
            self._say(piece)
        return self.all
