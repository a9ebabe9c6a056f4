"""What a model's answer says: its words without signs that control, and how sure they are."""

from __future__ import annotations

import math
import re
from typing import Final
import unicodedata

from .remote_chat import Piece

CONFIDENCE: Final = 0.5
"""Of a text whose server gives no log-probabilities: neither sure nor unsure."""

_TEXT: Final = re.compile(r'"text"\s*:\s*"((?:[^"\\]|\\.)*)"')
_MARK: Final = re.compile(r"<\|[a-z_]{1,20}\|>")
"""A sign of the model's own, such as its language tokens."""


def confidence(tokens: tuple[tuple[str, float], ...]) -> float:
    """Geometric mean of the tokens' probabilities; a constant without any."""
    if not tokens:
        return CONFIDENCE
    return math.exp(sum(logprob for _, logprob in tokens) / len(tokens))


def within(answer: Piece) -> tuple[tuple[str, float], ...]:
    """The tokens of a JSON answer in which its `text` stands; braces say nothing."""
    written = "".join(token for token, _ in answer.tokens)
    found = _TEXT.search(written)
    if found is None:
        return ()
    kept = []
    start = 0
    for token, logprob in answer.tokens:
        stop = start + len(token)
        if start < found.end(1) and stop > found.start(1):
            kept.append((token, logprob))
        start = stop
    return tuple(kept)


def spoken_words(text: str) -> str:
    """A transcription in single spaces, without the model's signs and control signs."""
    plain = (" " if _controls(sign) else sign for sign in _MARK.sub(" ", text))
    return " ".join("".join(plain).split())


def readable(text: str) -> str:
    """A piece of text without signs that control something; line ends stay."""
    return "".join(sign for sign in text if sign == "\n" or not _controls(sign))


def _controls(sign: str) -> bool:
    """Whether a character is for machines: it moves, turns or hides text."""
    return unicodedata.category(sign).startswith("C")
