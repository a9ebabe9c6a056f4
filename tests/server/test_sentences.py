"""Home Assistant's own sentences, template by template: sayable, and heard."""

from __future__ import annotations

from pathlib import Path
import random

import pytest

from benchmarks.sentences import Drawn, heard, walk
from model_server.engines.embedded.home import compile_home
from model_server.engines.embedded.speech import EmbeddedRecognizer
from model_server.engines.embedded.spelling import Spelling
from model_server.evaluation.reading import Reading
from tests.server.homes import family_home, lamp_home

EVERY = 16


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    """A sentence of one template in sixteen."""
    return list(walk(family_home(), EVERY))


def test_most_templates_that_fit_the_home_are_sayable(drawn: list[Drawn]) -> None:
    assert len(drawn) > 35
    assert len({one.intent for one in drawn}) > 15
    lacking = [f"{one.intent}: {one.text}" for one in drawn if not one.sayable]
    # Rare wordings are left out on purpose.
    assert len(lacking) <= 0.1 * len(drawn), lacking


def test_most_of_them_are_heard(drawn: list[Drawn], tmp_path: Path) -> None:
    home = family_home()
    recognizer = EmbeddedRecognizer(tmp_path)
    recognizer.set_vocabulary(home)
    reading = Reading(home)
    spoken = [one for one in drawn if one.sayable]
    missed = [one.text for one in spoken if not heard(one, recognizer, reading)]
    assert len(missed) <= 0.35 * len(spoken), missed


def test_a_grammar_has_its_own_sentences_and_no_others() -> None:
    grammar = compile_home(lamp_home()).grammar
    spelling = Spelling(grammar)
    for seed in range(20):
        assert spelling.says(grammar.sample(random.Random(seed)))
    family = Spelling(compile_home(family_home()).grammar)
    assert family.says("turn on the bed light")
    assert family.says("play some jazz in the kitchen")
    for text in ("", "turn on the", "turn on the moon", "good morning"):
        assert not spelling.says(text)


def test_the_same_seed_draws_the_same(drawn: list[Drawn]) -> None:
    some = list(walk(family_home(), 40 * EVERY))
    assert some
    assert some == list(walk(family_home(), 40 * EVERY))
    reading = Reading(family_home())
    assert all(reading.read(one.text) == one.meaning for one in drawn)
    assert all(one.meaning[0] == one.intent for one in drawn)
