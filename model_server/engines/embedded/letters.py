"""Guess the sound of words that no dictionary has: espeak-ng, else known parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
import shutil
import subprocess

_IPA = {
    "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "ɡ": "G", "g": "G",
    "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH",
    "ʒ": "ZH", "tʃ": "CH", "dʒ": "JH", "h": "HH", "m": "M", "n": "N", "ŋ": "NG",
    "l": "L", "ɹ": "R", "r": "R", "j": "Y", "w": "W", "ʔ": "T", "ɾ": "T", "x": "K",
    "iː": "IY", "i": "IY", "ɪ": "IH", "ᵻ": "IH", "ɨ": "IH", "eɪ": "EY", "ɛ": "EH",
    "e": "EH", "æ": "AE", "a": "AE", "ɑː": "AA", "ɑ": "AA", "ɒ": "AA", "ɔː": "AO",
    "ɔ": "AO", "oʊ": "OW", "əʊ": "OW", "o": "OW", "oː": "AO", "ʊ": "UH", "uː": "UW",
    "u": "UW", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɜː": "ER", "ɚ": "ER", "ɝ": "ER",
    "aɪ": "AY", "aʊ": "AW", "ɔɪ": "OY", "əl": "AH L", "n̩": "AH N",
    "ɑːɹ": "AA R", "ɔːɹ": "AO R", "oːɹ": "AO R", "ɪɹ": "IH R", "ɛɹ": "EH R",
    "ʊɹ": "UH R", "aɪɚ": "AY ER", "aɪə": "AY AH", "iə": "IY AH", "eə": "EH",
    "ɪə": "IH", "ʊə": "UH", "ɛː": "EH", "aː": "AA",
}  # fmt: skip

# What a letter or a few most often say where no known part fits.
_LETTERS = {
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G",
    "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N",
    "o": "OW", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "UW",
    "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z", "'": "",
    "ai": "EY", "ay": "EY", "ar": "AA R", "au": "AO", "aw": "AO", "ce": "S",
    "ch": "CH", "ck": "K", "ea": "IY", "ee": "IY", "er": "ER", "ew": "UW",
    "ey": "IY", "gh": "G", "ie": "IY", "igh": "AY", "ing": "IH NG", "ir": "ER",
    "ng": "NG", "oa": "OW", "oi": "OY", "oo": "UW", "or": "AO R", "ou": "AW",
    "ow": "OW", "oy": "OY", "ph": "F", "qu": "K W", "sh": "SH", "th": "TH",
    "tion": "SH AH N", "un": "AH N", "ur": "ER", "wh": "W", "bb": "B", "cc": "K",
    "dd": "D", "ff": "F", "gg": "G", "ll": "L", "mm": "M", "nn": "N", "pp": "P",
    "rr": "R", "ss": "S", "tt": "T", "zz": "Z",
}  # fmt: skip

_LONGEST = 14
_PART_COST = 1.0
_LETTER_COST = 1.1


def guess(words: Iterable[str], dictionary: Path) -> dict[str, tuple[str, ...]]:
    """Guess pronunciations; words without a letter of a to z are left out.

    Both ways of guessing are kept where they differ: the recogniser takes the
    one that fits what it hears.
    """
    sayable = sorted(word for word in words if any("a" <= c <= "z" for c in word))
    if not sayable:
        return {}
    spoken = _espeak(sayable)
    parts = _read_parts(dictionary)
    guesses = {}
    for word in sayable:
        variants = (spoken.get(word, ""), *parts_of(word, parts))
        guesses[word] = tuple(dict.fromkeys(filter(None, variants)))
    return guesses


def _espeak(words: list[str]) -> dict[str, str]:
    """Ask espeak-ng, if it is installed, for all words at once."""
    program = shutil.which("espeak-ng")
    if program is None:
        return {}
    try:
        answer = subprocess.run(
            [program, "-q", "--ipa", "--sep=_", "-v", "en-us", "--stdin"],
            input="\n\n".join(f"{word}." for word in words),
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    except (subprocess.SubprocessError, OSError):
        return {}
    lines = [line for line in answer.splitlines() if line.strip()]
    if len(lines) != len(words):
        return {}
    return {word: arpabet(line) for word, line in zip(words, lines, strict=True)}


def arpabet(ipa: str) -> str:
    """Turn espeak-ng's IPA, "_" between phonemes, into ARPAbet; "" if one is unknown."""
    phones = []
    for phoneme in ipa.strip().replace(" ", "_").split("_"):
        plain = phoneme.strip("ˈˌ\u200d\u0361").replace("ˈ", "").replace("ˌ", "")
        if not plain:
            continue
        phone = _IPA.get(plain) or _IPA.get(plain.rstrip("ː"))
        if phone is None:
            return ""
        phones.append(phone)
    return " ".join(phones)


def _read_parts(dictionary: Path) -> dict[str, str]:
    """Return the dictionary's words of two letters and more, first variant only."""
    parts = {}
    with dictionary.open(encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.partition(" ")
            if 2 < len(word) <= _LONGEST and word.isalpha():
                parts[word] = phones.strip()
    return parts


def parts_of(word: str, parts: Mapping[str, str]) -> tuple[str, ...]:
    """Cover a word with the fewest known words and letters; one pronunciation.

    "nanoleaf" is nano and leaf. A best-first path over the word's letters,
    where long parts are cheaper per letter than single letters.
    """
    best: list[tuple[float, tuple[str, ...]] | None] = [(0.0, ())]
    for end in range(1, len(word) + 1):
        options = []
        for start in range(max(0, end - _LONGEST), end):
            before = best[start]
            piece = word[start:end]
            if before is None:
                continue
            if piece in parts:
                # Of two covers the one with the longer parts wins.
                cost = _PART_COST + 1 / len(piece)
                options.append((before[0] + cost, (*before[1], parts[piece])))
            if piece in _LETTERS:
                options.append(
                    (before[0] + _LETTER_COST, (*before[1], _LETTERS[piece]))
                )
        best.append(min(options) if options else None)
    found = best[-1]
    if found is None:
        return ()
    return (" ".join(filter(None, found[1])),)
