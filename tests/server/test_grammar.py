"""What may be said in a home, and that Home Assistant understands all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
import random

from hypothesis import given, strategies as st
import pytest

from model_server.engines.base import Vocabulary, VocabularyEntity, VocabularyPlace
from model_server.engines.embedded.grammar import Grammar, compile_network
from model_server.engines.embedded.home import Home, compile_home
from model_server.engines.embedded.network import END, Network
from model_server.engines.embedded.sentences import ANSWERS, build_network
from model_server.engines.embedded.templates import read_templates
from model_server.evaluation.reading import Reading
from tests.server.homes import family_home, lamp_home


def says(grammar: Grammar, sentence: str) -> bool:
    """Whether a grammar has exactly this sentence."""
    arcs = {(source, word): target for source, target, word in grammar.arcs}
    state: int | None = 0
    for word in sentence.split():
        if state is None:
            return False
        state = arcs.get((state, word))
    return state in grammar.accepting


def home_with(*entities: tuple[str, str]) -> Grammar:
    """Compile a home of (domain, name) pairs and one kitchen."""
    return compile_home(
        Vocabulary(
            entities=tuple(
                VocabularyEntity(f"{domain}.e{number}", domain, (name,))
                for number, (domain, name) in enumerate(entities)
            ),
            areas=(VocabularyPlace("kitchen", ("Kitchen", "Cook's Corner")),),
        )
    ).grammar


@pytest.fixture(scope="module")
def family() -> Home:
    """The family home, compiled."""
    return compile_home(family_home())


@pytest.mark.parametrize(
    "sentence",
    [
        "turn on the kitchen lights",
        "turn the standing light in the office off",
        "turn off the television",
        "kitchen lights off",
        "set bed light brightness to 75 percent",
        "set the ecobee to 21.5 degrees",
        "set a timer for 10 minutes",
        "create a timer for 4 and a half hours",
        "is the front door locked",
        "what's the weather in new york",
        "run party time",
        "never mind",
        "add milk to my shopping list",
        "put toilet paper on the shopping list",
        "remove nutritional yeast from the shopping list",
        "add batteries to chores",
        "what is on my shopping list",
        "next song",
        "pause the music in the kitchen",
        "turn it down",
        "set the volume to 40 percent",
        "play jazz radio in the kitchen",
        "cancel the timer",
        "how much time is left",
        "activate movie night",
        "set the temperature to 21 degrees",
        "what is the temperature in the bedroom",
    ],
)
def test_a_family_can_say(family: Home, sentence: str) -> None:
    assert says(family.grammar, sentence)


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("lock the bed light", "a lamp has no lock"),
        ("open the tv", "a television does not open"),
        ("bed light", "a name that is mentioned is no command"),
        ("the kitchen to 50", "without a verb it is talk"),
        ("turn out each light", "hardly anybody says so"),
        ("turn on the pool lights", "there is no pool"),
        ("next", "a single word is said too often"),
        ("stop", "a single word is said too often"),
        ("add a submarine to my shopping list", "nobody has put one on it yet"),
        ("broadcast dinner is ready", "free text cannot be heard"),
    ],
)
def test_a_family_cannot_say(family: Home, sentence: str, why: str) -> None:
    assert not says(family.grammar, sentence), why


def test_home_assistant_understands_every_sentence(family: Home) -> None:
    agent = Reading(family_home())
    chosen = random.Random(7)
    sentences = {family.grammar.sample(chosen) for _ in range(60)} - {*ANSWERS}
    assert {text for text in sentences if agent.read(text) is None} == set()


def test_the_integration_understands_the_same_sentences_of_our_own() -> None:
    ours, theirs = (
        (Path(__file__).parents[2] / folder / "own_sentences.json").read_text()
        for folder in ("model_server/engines/embedded", "custom_components/earshot")
    )
    assert ours == theirs


def test_devices_that_are_not_there_cannot_be_talked_to() -> None:
    lamp = compile_home(lamp_home()).grammar
    assert says(lamp, "turn on the kitchen light")
    assert not any(
        says(lamp, text)
        for text in ("start the vacuum", "pause the music", "open the garage door")
    )
    covers = home_with(("cover", "Garage Door"))
    assert says(covers, "open the garage door")


def test_an_answer_can_be_said_alone_and_only_alone(family: Home) -> None:
    for answer in ANSWERS:
        assert says(family.grammar, answer)
    assert not says(family.grammar, "yes turn on the kitchen lights")
    assert not says(family.grammar, "yes no")


def test_an_empty_home_still_has_timers_and_the_time() -> None:
    empty = compile_home(Vocabulary()).grammar
    assert says(empty, "what time is it")
    assert says(empty, "set a timer for 5 minutes")
    assert not says(empty, "turn on the lights")


def test_names_are_said_as_home_assistant_matches_them() -> None:
    grammar = home_with(
        ("light", "Lamp, left!"), ("switch", "Küche (2)"), ("fan", "Fan & Co")
    )
    for sentence in (
        "turn on lamp left",
        "turn on küche (2)",
        "turn off fan & co",
    ):
        assert says(grammar, sentence), sentence


def test_a_name_without_letters_is_left_out_and_the_rest_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    grammar = home_with(("light", "客厅"), ("light", "Lamp"))
    assert says(grammar, "turn on the lamp")
    assert "客厅" not in grammar.words
    assert "not sayable" in caplog.text


def test_floors_are_known_by_their_aliases(family: Home) -> None:
    assert says(family.grammar, "turn on the lights on the ground floor")
    assert says(family.grammar, "turn off upstairs lights")


def test_a_language_without_sentences_is_refused() -> None:
    with pytest.raises(ValueError, match="'tlh'"):
        compile_home(replace(lamp_home(), language="tlh"))


def test_an_unknown_rule_in_a_template_is_named() -> None:
    intents = read_templates("en")
    intents.expansion_rules.pop("turn")
    with pytest.raises(ValueError, match="turn"):
        build_network(lamp_home(), intents)


phrases = st.lists(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=5).map(tuple),
    min_size=1,
    max_size=8,
)


def network_of(said: Iterable[tuple[str, ...]]) -> Network:
    """Chain every phrase by itself, as nondeterministic as can be."""
    network = Network()
    state = 1
    for phrase in said:
        network.starts.append(state)
        for word in phrase[:-1]:
            network.words.setdefault(state, []).append((word, state + 1))
            state += 1
        network.words.setdefault(state, []).append((phrase[-1], END))
        state += 1
    return network


@given(phrases)
def test_a_grammar_says_what_its_network_says_once(
    said: list[tuple[str, ...]],
) -> None:
    grammar = compile_network(network_of(said))
    assert grammar.sentences == len(set(said))
    assert all(says(grammar, " ".join(phrase)) for phrase in said)
    sources = [(source, word) for source, _, word in grammar.arcs]
    assert len(sources) == len(set(sources)), "deterministic"


@given(phrases)
def test_no_two_states_of_a_grammar_have_the_same_future(
    said: list[tuple[str, ...]],
) -> None:
    grammar = compile_network(network_of(said))
    futures = sorted(
        (
            state in grammar.accepting,
            sorted((word, to) for source, to, word in grammar.arcs if source == state),
        )
        for state in range(grammar.states)
    )
    assert all(one != other for one, other in pairwise(futures))


def test_nothing_to_say_is_an_error() -> None:
    with pytest.raises(ValueError, match="No sentence"):
        compile_network(Network(starts=[1]))
