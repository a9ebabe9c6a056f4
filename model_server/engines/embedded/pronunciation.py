"""How the words of a grammar sound: ARPAbet from the bundled dictionary, or a guess."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product, zip_longest
from pathlib import Path
import re
import unicodedata

from pocketsphinx import get_model_path
from unicode_rbnf import FormatPurpose, RbnfEngine

from .letters import guess

DICTIONARY = Path(get_model_path("en-us/cmudict-en-us.dict"))

_MOST_VARIANTS = 8

# Common ways to say them that the dictionary lacks; without them the speakers who
# use them would be heard to say the opposite.
_ALSO = {"off": ("AA F",), "on": ("AO N",)}

_SYMBOLS = {"&": "and", "+": "plus", "%": "percent", "°": "degrees", "@": "at"}

Pronunciations = Mapping[str, tuple[str, ...]]
"""Words and their variants, each phones with spaces between."""


@dataclass(frozen=True)
class Lexicon:
    """Pronunciations of a grammar's words.

    `guessed` are the words with a part that no dictionary has; `silent` those
    that nothing could be made of, which must leave the grammar.
    """

    pronunciations: Pronunciations
    guessed: tuple[str, ...]
    silent: tuple[str, ...]


def pronounce(words: Iterable[str], numbers: Mapping[str, int | float]) -> Lexicon:
    """Find how words sound; `numbers` gives the value of those that are numbers."""
    readings = {
        word: spoken_number(numbers[word]) if word in numbers else (_parts(word),)
        for word in words
    }
    needed = {part for way in readings.values() for parts in way for part in parts}
    known = look_up(frozenset(needed))
    missing = {part for part in needed if part not in known}
    guesses = guess(missing, DICTIONARY) if missing else {}
    found: dict[str, tuple[str, ...]] = {}
    guessed, silent = [], []
    for word, ways in readings.items():
        variants = _variants(
            [[known.get(part) or guesses.get(part, ()) for part in way] for way in ways]
        )
        if not variants:
            silent.append(word)
            continue
        found[word] = variants
        if any(part in missing for parts in ways for part in parts):
            guessed.append(word)
    return Lexicon(found, tuple(sorted(guessed)), tuple(sorted(silent)))


def _variants(ways: list[list[tuple[str, ...]]]) -> tuple[str, ...]:
    """Combine the variants of the parts, every way's likeliest first."""
    spoken = [islice(product(*way), _MOST_VARIANTS) for way in ways if way]
    rounds = zip_longest(*spoken)
    joined = (" ".join(phones) for turn in rounds for phones in turn if phones)
    return tuple(islice(dict.fromkeys(joined), _MOST_VARIANTS))


@lru_cache(maxsize=8)
def look_up(words: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Return the bundled dictionary's pronunciations of those words it has."""
    found: dict[str, list[str]] = {}
    with DICTIONARY.open(encoding="utf-8") as lines:
        for line in lines:
            head, _, phones = line.partition(" ")
            word = head.partition("(")[0]
            if word in words:
                found.setdefault(word, []).append(phones.strip())
    return {
        word: tuple(dict.fromkeys((*variants, *_ALSO.get(word, ()))))
        for word, variants in found.items()
    }


def spoken_number(number: float) -> tuple[tuple[str, ...], ...]:
    """Return the ways a number from 0 to 10000 in halves is said, as words."""
    whole = int(number)
    ways = [_cardinal(whole)]
    hundreds, rest = divmod(whole, 100)
    if hundreds == 1:
        ways.append(("a", *ways[0][1:]))
        ways.append(ways[0][1:])
    elif 10 < hundreds < 100 and hundreds % 10 and not rest:
        ways.append((*_cardinal(hundreds), "hundred"))
    if number == whole:
        return tuple(ways)
    return tuple(
        (*way, *tail)
        for way in ways
        for tail in (("point", "five"), ("and", "a", "half"))
    )


@lru_cache(maxsize=1)
def _engine() -> RbnfEngine:
    return RbnfEngine.for_language("en")


@lru_cache(maxsize=1024)
def _cardinal(number: int) -> tuple[str, ...]:
    text = _engine().format_number(number, purpose=FormatPurpose.CARDINAL).text
    return tuple(text.replace("-", " ").split())


@lru_cache(maxsize=256)
def _ordinal(number: int) -> tuple[str, ...]:
    text = _engine().format_number(number, purpose=FormatPurpose.ORDINAL).text
    return tuple(text.replace("-", " ").split())


def spoken_forms(word: str) -> tuple[str, ...]:
    """Return what is said where a word is written that is a number or holds one."""
    number = re.fullmatch(r"\d{1,4}(\.5)?", word)
    ways = spoken_number(float(word)) if number else (_parts(word),)
    return tuple(" ".join(way) for way in ways)


def _parts(word: str) -> tuple[str, ...]:
    """Take a written word apart into what a dictionary may have.

    "2nd" → second; "living/dining" → living, dining; "küche" → kuche.
    """
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", word.replace("ß", "ss"))
        if not unicodedata.combining(letter)
    )
    parts: list[str] = []
    pattern = r"(\d{1,4})(?:st|nd|rd|th)(?![a-z])|(\d+)|([a-z][a-z']*)|([&+%°@])"
    for ordinal, digits, letters, symbol in re.findall(pattern, plain):
        if ordinal:
            parts.extend(_ordinal(int(ordinal)))
        elif digits:
            parts.extend(
                _cardinal(int(digits))
                if len(digits) < 4
                else (part for digit in digits for part in _cardinal(int(digit)))
            )
        elif symbol:
            parts.append(_SYMBOLS[symbol])
        else:
            parts.append(letters.rstrip("'"))
    return tuple(parts)
