"""How words sound: from the dictionary, as numbers, or guessed with and without espeak-ng."""

from __future__ import annotations

from pathlib import Path
import shutil

import pytest

from model_server.engines.embedded.letters import arpabet, guess, parts_of
from model_server.engines.embedded.pronunciation import (
    DICTIONARY,
    pronounce,
    spoken_number,
)


@pytest.fixture
def no_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without espeak-ng."""
    monkeypatch.setenv("PATH", "")


def test_known_words_keep_all_their_variants() -> None:
    lexicon = pronounce(["the", "kitchen"], {})
    assert lexicon.pronunciations["kitchen"] == ("K IH CH AH N",)
    assert set(lexicon.pronunciations["the"]) >= {"DH AH", "DH IY"}
    assert lexicon.guessed == ()


def test_off_and_on_are_said_in_more_ways_than_the_dictionary_knows() -> None:
    lexicon = pronounce(["on", "off"], {})
    assert {"AO F", "AA F"} <= set(lexicon.pronunciations["off"])
    assert {"AA N", "AO N"} <= set(lexicon.pronunciations["on"])


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (7, "seven"),
        (75, "seventy five"),
        (100, "a hundred"),
        (4500, "forty five hundred"),
        (4500, "four thousand five hundred"),
        (21.5, "twenty one point five"),
        (0.5, "zero and a half"),
    ],
)
def test_numbers_are_said_as_people_say_them(number: float, said: str) -> None:
    assert tuple(said.split()) in spoken_number(number)


def test_a_number_stays_one_word_that_sounds_like_several() -> None:
    lexicon = pronounce(["75"], {"75": 75})
    assert "S EH V AH N T IY F AY V" in lexicon.pronunciations["75"]


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("2nd", "S EH K AH N D"),
        ("lamp2", "L AE M P T UW"),
        ("living/dining", "L IH V IH NG D AY N IH NG"),
        ("&", "AE N D"),
        ("1984", "W AH N N AY N EY T F AO R"),
    ],
)
def test_odd_spellings_are_read_out(word: str, phones: str) -> None:
    assert phones in pronounce([word], {}).pronunciations[word]


@pytest.mark.usefixtures("no_espeak")
def test_without_espeak_unknown_words_are_made_of_known_parts() -> None:
    lexicon = pronounce(["nanoleaf", "ecobee", "kitchen"], {})
    assert lexicon.pronunciations["nanoleaf"] == ("N AA N OW L IY F",)
    assert lexicon.pronunciations["ecobee"][0].endswith("B IY")
    assert lexicon.guessed == ("ecobee", "nanoleaf")


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng not installed")
def test_espeak_and_known_parts_both_have_a_say() -> None:
    guesses = guess(["nanoleaf"], DICTIONARY)["nanoleaf"]
    assert set(guesses) == {"N AE N OW L IY F", "N AA N OW L IY F"}


def fake_espeak(folder: Path, body: str) -> str:
    """Put a program called espeak-ng into a folder."""
    program = folder / "espeak-ng"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("body", ["exit 1", "echo one line too few"])
def test_a_broken_espeak_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setenv("PATH", fake_espeak(tmp_path, body))
    assert guess(["nanoleaf", "zigbee"], DICTIONARY)["nanoleaf"] == (
        "N AA N OW L IY F",
    )


def test_ipa_becomes_arpabet_and_the_unknown_nothing() -> None:
    assert arpabet("t_ˈɜː_n") == "T ER N"
    assert arpabet("l_ˈæ_m_p") == "L AE M P"
    assert arpabet("ǃ_a") == ""


def test_words_without_letters_stay_silent() -> None:
    lexicon = pronounce(["客厅", "lamp"], {})
    assert lexicon.silent == ("客厅",)
    assert guess(["客厅"], DICTIONARY) == {}


def test_what_no_part_covers_has_no_sound() -> None:
    assert parts_of("a1b", {}) == ()
    assert parts_of("shed", {}) == ("SH EH D",)
