"""JSON by a schema: always valid, whatever chooses the tokens and however few there are."""

from __future__ import annotations

from functools import cache
import json
import random
from typing import Any

from hypothesis import given, settings, strategies as st
import jsonschema
import numpy as np
import pytest

from model_server.engines.base import UnusableRequestError
from model_server.engines.midashenglm.constraints import Grammar, Grammars
from model_server.engines.understanding import intent_schema, read_intent
from tests.server.homes import family_home
from tests.server.midasheng import loaded


@cache
def grammars() -> Grammars:
    model = loaded()
    ends = model.tokens.im_end, model.tokens.endoftext
    return Grammars(model.tokenizer, model.model.config.text["vocab_size"], ends)


def write(
    grammar: Grammar, budget: int, choose: random.Random
) -> tuple[str, int, bool]:
    """An answer by a model that has no idea; its text, its tokens, whether it was cut."""
    answer = grammar.begin(budget)
    tokens = answer.forced()
    while not answer.over and answer.budget > 0:
        allowed = np.flatnonzero(answer.mask())
        tokens += answer.take(int(choose.choice(allowed)))
    assert answer.complete
    return grammars().tokens.decode_bytes(tokens).decode(), len(tokens), answer.cut


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=6)
leaves = st.one_of(
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    st.just({}),
    st.builds(lambda n: {"type": "string", "maxLength": n}, st.integers(0, 5)),
    st.builds(lambda n: {"type": "string", "minLength": n}, st.integers(0, 5)),
    st.just({"type": "string", "pattern": "^[a-f]{2,}x?$"}),
    st.builds(
        lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span},
        st.integers(-50, 50),
        st.integers(0, 900),
    ),
    st.just({"type": "integer", "multipleOf": 7}),
    st.just({"type": "number", "minimum": 0, "maximum": 1}),
    st.builds(lambda values: {"enum": values}, st.lists(texts, min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, texts),
)


def branches(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(
            lambda items, low, more: {
                "type": "array",
                "items": items,
                "minItems": low,
                "maxItems": low + more,
            },
            children,
            st.integers(0, 3),
            st.integers(0, 2),
        ),
        st.builds(
            lambda properties, count, closed: {
                "type": "object",
                "properties": properties,
                "required": list(properties)[:count],
                "additionalProperties": not closed,
            },
            st.dictionaries(texts, children, max_size=3),
            st.integers(0, 3),
            st.booleans(),
        ),
        st.builds(
            lambda some: {"anyOf": some}, st.lists(children, min_size=1, max_size=3)
        ),
    )


schemas = st.recursive(leaves, branches, max_leaves=6)


@settings(max_examples=150)
@given(schemas, st.integers(0, 40), st.randoms(use_true_random=False))
def test_every_answer_is_valid_even_where_it_has_to_end_early(
    schema: dict[str, Any], more: int, choose: random.Random
) -> None:
    grammar = grammars().compile(schema)
    budget = grammar.shortest + more

    text, count, _ = write(grammar, budget, choose)

    assert count <= budget
    jsonschema.validate(json.loads(text), schema)


def test_the_shortest_answer_is_given_to_the_shortest_budget() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "array", "minItems": 2}},
        "required": ["a", "b"],
    }
    grammar = grammars().compile(schema)

    text, count, was_cut = write(grammar, grammar.shortest, random.Random(0))
    assert count == grammar.shortest
    assert was_cut
    jsonschema.validate(json.loads(text), schema)
    with pytest.raises(UnusableRequestError, match=rf"has {count} tokens or more"):
        grammar.begin(grammar.shortest - 1)


def test_what_is_told_of_a_home_is_an_answer_that_can_be_read() -> None:
    home = family_home()
    grammar = grammars().compile(intent_schema(home))
    intents = set()
    for seed in range(60):
        text, _, _ = write(grammar, grammar.shortest + 150, random.Random(seed))
        _, intent = read_intent(text, home)
        intents.add(intent and intent.name)

    assert len(intents) > 5


def test_an_answer_that_is_finished_by_hand_is_valid() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
    }
    answer = grammars().compile(schema).begin(100)
    tokens = answer.forced()
    for sign in (" ", '"', "q"):
        tokens += answer.take(grammars().tokens.greedy_tokenize(sign)[0])
    tokens += answer.finish()

    assert answer.over
    assert grammars().tokens.decode_bytes(tokens) == b'{"a": "q"}'


def test_a_grammar_that_fails_under_way_ends_the_answer_with_an_error() -> None:
    answer = grammars().compile({"type": "boolean"}).begin(9)
    answer._matcher.consume_token(0)

    with pytest.raises(UnusableRequestError, match="too complex"):
        answer.mask()
    with pytest.raises(UnusableRequestError, match="too complex"):
        answer.finish()


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"$ref": "https://example.com/schema"}, "example.com"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(a|b"}, "regex"),
        ({"type": "nonsense"}, "nonsense"),
        ({"enum": []}, "empty"),
        ({"type": "array", "minItems": 9999, "items": {"minLength": 9999}}, "1024"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "1024",
        ),
        ({"type": "string", "pattern": "(a{1000}){1000}"}, "1024"),
        ({"enum": ["x" * 300_000]}, "characters"),
        (nested(70), "levels"),
        (nested(5000), "levels|JSON"),
        ({"enum": [b"bytes"]}, "JSON"),
        ({"enum": ["\ud800"]}, "JSON"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_with_the_reason(
    schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnusableRequestError, match=reason):
        grammars().compile(schema)


def test_a_schema_cannot_allow_itself_endless_whitespace() -> None:
    schema = {
        "x-guidance": {"whitespace_flexible": True, "lenient": True},
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    for seed in range(10):
        text, _, _ = write(grammars().compile(schema), 60, random.Random(seed))
        assert text in {'{"a": true}', '{"a": false}'}
