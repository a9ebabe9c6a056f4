"""The home's own sentences are heard like Home Assistant's; a bad one costs no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.spoken import say
from model_server.api.vocabulary import VocabularyError, parse_vocabulary, to_vocabulary
from model_server.engines.embedded.custom import LARGEST, read_custom
from model_server.engines.embedded.home import Home, cached_home, compile_home
from model_server.engines.embedded.speech import EmbeddedRecognizer
from tests.server.homes import family_home
from tests.server.test_grammar import says

SENTENCES = (
    "movie time",
    "(start|begin) party mode [in] [the] {area}",
    "{area} is too dark",
    "scene 2 please",
    "<turn> on the café",
    "(water; now) the flowers",
    "time for {occasion}",
    "take {step} steps",
    "whole house party",
    "lets party",
)
TALK = "the party was in the kitchen and I started it"
UNHEARD = (
    "(broken",
    "<nothing> at all",
    "(a;b;c;d;e;f;g;h;i)",
    "[" * 200 + "very deep" + "]" * 200,
    "goodnight",
    "{anything}",
    "{this} {that}",
)
OPEN = ("remind me to {anything}", "tell {person} that {message} [now]")

HOME = replace(
    family_home(),
    sentences=UNHEARD + SENTENCES + OPEN,
    lists={"occasion": ("bed", "The Late Movie"), "step": ("1", "2", "10")},
)


@pytest.fixture(scope="module")
def home() -> Home:
    return compile_home(HOME)


@pytest.mark.parametrize(
    "sentence",
    [
        "movie time",
        "start party mode in the kitchen",
        "begin party mode kitchen",
        "kitchen is too dark",
        "scene 2 please",
        "turn on the café",
        "water now the flowers",
        "now water the flowers",
        "time for bed",
        "time for the late movie",
        "take 10 steps",
        # Rare words and spellings that Home Assistant's sentences leave out.
        "whole house party",
        "lets party",
    ],
)
def test_it_can_be_said(home: Home, sentence: str) -> None:
    assert says(home.grammar, sentence)
    assert not says(compile_home(family_home()).grammar, sentence)


@pytest.mark.parametrize(
    "sentence", ["time for anything", "take 3 steps", "party mode kitchen", "goodnight"]
)
def test_nothing_else_can_be_said(home: Home, sentence: str) -> None:
    assert not says(home.grammar, sentence)


def test_what_cannot_be_heard_is_told_and_costs_nothing_else(home: Home) -> None:
    assert sorted(home.unheard) == sorted(UNHEARD)
    assert sorted(home.open) == sorted(OPEN)
    assert says(home.grammar, "turn on the kitchen lights")


def test_own_sentences_make_home_assistants_no_wider() -> None:
    before = compile_home(family_home()).grammar.sentences

    with_one_more = compile_home(replace(HOME, sentences=("whole house party",)))

    assert with_one_more.grammar.sentences == before + 1


def test_too_many_are_left_out_without_the_small_ones() -> None:
    wide = "(a;b;c;d;e;f)"
    custom = read_custom(
        [f"{wide} {number}" for number in range(20)] + ["all of it"], {}
    )

    assert 0 < len(custom.unreadable) < 20
    assert "all of it" in custom.sentences
    assert len(custom.sentences) * 6 * 720 < LARGEST * 1.1


def test_the_cache_keeps_what_cannot_be_heard(tmp_path: Path) -> None:
    first = cached_home(HOME, tmp_path)

    assert cached_home(HOME, tmp_path) == first
    assert first.unheard


def test_a_spoken_one_is_heard_and_similar_talk_is_not(tmp_path: Path) -> None:
    recognizer = EmbeddedRecognizer(tmp_path)
    report = recognizer.set_vocabulary(HOME)

    heard = recognizer.recognize(
        say("start party mode in the kitchen", "flite:slt"), "en"
    )
    talk = recognizer.recognize(say(TALK, "flite:slt"), "en")

    assert set(report.unheard) == set(UNHEARD)
    assert (heard.text, heard.rejected) == ("start party mode in the kitchen", None)
    assert talk.rejected is not None


@pytest.mark.parametrize("phonetic", [False, True])
def test_who_knows_no_other_words_says_what_is_unheard(
    tmp_path: Path, phonetic: bool
) -> None:
    report = EmbeddedRecognizer(tmp_path, phonetic).set_vocabulary(HOME)

    assert set(report.unheard) == {*UNHEARD, *(OPEN if phonetic else ())}


def test_the_wire_has_limits() -> None:
    body = b'{"sentences": ["movie time"], "lists": {"occasion": ["bed"]}}'
    vocabulary = to_vocabulary(parse_vocabulary(body))

    assert vocabulary.sentences == ("movie time",)
    assert vocabulary.lists == {"occasion": ("bed",)}
    for wrong in (
        b'{"sentences": ["%s"]}' % (b"a " * 251),
        b'{"sentences": [%s]}' % b",".join([b'"a b"'] * 501),
        b'{"lists": {"no name": ["bed"]}}',
        b'{"lists": {"occasion": [""]}}',
    ):
        with pytest.raises(VocabularyError, match="^(sentences|lists)"):
            parse_vocabulary(wrong)
