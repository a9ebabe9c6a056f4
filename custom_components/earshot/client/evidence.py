"""Read what explains a result: what is wrong or unknown in it never costs the result."""

import re
from typing import TypeIs

from .fields import Json

MAX_WINDOWS = 20
MAX_GATES = 20
MAX_LINE = 500

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def scores(data: Json, name: str) -> tuple[float, ...]:
    """Return the newest numbers from 0 to 1, oldest first; () for anything else."""
    value = data.get(name)
    if not isinstance(value, list) or not all(map(_is_score, value)):
        return ()
    return tuple(float(score) for score in value[-MAX_WINDOWS:])


def words(data: Json, name: str) -> tuple[str, ...]:
    """Return those of a list that are short words; () for anything else."""
    value = data.get(name)
    if not isinstance(value, list):
        return ()
    return tuple(word for word in value if _is_word(word))[:MAX_GATES]


def word(data: Json, name: str) -> str | None:
    """Return a short word, safe in addresses and topics, else None."""
    value = data.get(name)
    return value if _is_word(value) else None


def line(data: Json, name: str) -> str | None:
    """Return what a model wrote as one line of limited length, else None."""
    value = data.get(name)
    if not isinstance(value, str):
        return None
    # Control and direction marks could make a notification say something else.
    plain = "".join(char if char.isprintable() else " " for char in value)
    return " ".join(plain.split())[:MAX_LINE] or None


def level(data: Json, name: str) -> float | None:
    """Return a loudness, else None."""
    value = data.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Python's JSON knows numbers that no loudness is, and that win any comparison.
        return float(value) if -200 <= value <= 0 else None
    return None


def _is_score(value: object) -> bool:
    """Tell whether this is a number from 0 to 1."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value <= 1
    )


def _is_word(value: object) -> TypeIs[str]:
    """Tell whether this is one short word."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None
