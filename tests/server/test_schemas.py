"""Answers are held to a JSON schema as a full implementation would hold them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator
import pytest

from model_server.engines.base import UnusableRequestError
from model_server.engines.schemas import check_schema, read_json
from model_server.engines.understanding import intent_schema
from tests.server.homes import family_home

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, -2.0])
    | st.sampled_from(["", "a", "bb", "ccc"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "z"]), inner, max_size=3)
    ),
    max_leaves=6,
)
COUNTS = st.sampled_from([0, 1, 2, 2.0])
NUMBERS = st.integers(-2, 2) | st.just(0.5)
KINDS = st.sampled_from(
    ["object", "array", "string", "number", "integer", "boolean", "null"]
)


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas around others."""
    named = st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2)
    several = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS | st.lists(KINDS, min_size=1, max_size=2, unique=True),
            "enum": st.lists(VALUES, max_size=3),
            "const": VALUES,
            "properties": named,
            "required": st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "minLength": COUNTS,
            "maxLength": COUNTS,
            "minItems": COUNTS,
            "maxItems": COUNTS,
            "minProperties": COUNTS,
            "maxProperties": COUNTS,
            "minimum": NUMBERS,
            "maximum": NUMBERS,
            "exclusiveMinimum": NUMBERS,
            "exclusiveMaximum": NUMBERS,
            "$ref": st.just("#/$defs/leaf"),
            "title": st.just("any"),
            "format": st.just("email"),
        },
    )


SCHEMAS = schemas(
    st.recursive(
        st.booleans() | st.fixed_dictionaries({"type": KINDS}), schemas, max_leaves=4
    )
)


def follows(value: object, schema: dict[str, Any]) -> bool:
    """Our verdict."""
    check_schema(schema)
    try:
        assert json.dumps(read_json(json.dumps(value), schema)) == json.dumps(value)
    except ValueError:
        return False
    return True


@given(value=VALUES, schema=SCHEMAS, leaf=VALUES)
def test_the_verdict_is_that_of_a_full_implementation(
    value: object, schema: dict[str, Any], leaf: object
) -> None:
    whole = {**schema, "$defs": {"leaf": {"enum": [leaf, "a", 1]}}}
    Draft202012Validator.check_schema(whole)

    assert follows(value, whole) == Draft202012Validator(whole).is_valid(value)


def test_the_schema_of_a_home_can_be_checked() -> None:
    check_schema(intent_schema(family_home()))


def test_a_number_of_any_size_is_held_to_its_limits() -> None:
    huge = 10**400

    assert follows(huge, {"type": "integer", "minimum": 1})
    assert not follows(huge, {"maximum": 1e300})


def test_a_schema_may_contain_itself() -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}

    assert follows([[], [[]]], tree)
    assert not follows([[], [1]], tree)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(a+)+$"},
        {"patternProperties": {"x": True}},
        {"properties": {"x": {"items": {"uniqueItems": True}}}},
        {"anyOf": [{"not": {}}]},
        {"additionalProperties": {"if": {}}},
        {"$defs": {"x": {"$dynamicRef": "#x"}}},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "#/properties/x", "properties": {"x": {}}},
        {"$ref": "#/$defs/missing"},
        {"$ref": "other.json#/$defs/x"},
        {"type": "text"},
        {"type": []},
        {"enum": "dog"},
        {"required": [1]},
        {"properties": []},
        {"properties": {"x": 7}},
        {"anyOf": []},
        {"anyOf": ["x"]},
        {"minLength": -1},
        {"minimum": "1"},
        {"items": [{}]},
    ],
)
def test_a_schema_that_cannot_be_checked_wholly_is_refused(
    schema: dict[str, Any],
) -> None:
    with pytest.raises(UnusableRequestError):
        check_schema(schema)


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5_000):
        schema = {"items": schema}
    with pytest.raises(UnusableRequestError, match="too deeply"):
        check_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {
            "$ref": "#/$defs/0",
            "$defs": {
                str(n): {"anyOf": [{"$ref": f"#/$defs/{min(n + 1, 40)}"}] * 2}
                for n in range(40)
            }
            | {"40": False},
        },
    ],
)
def test_references_cannot_make_the_check_last(schema: dict[str, Any]) -> None:
    check_schema(schema)
    with pytest.raises(ValueError, match="no JSON"):
        read_json("1", schema)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{",
        "NaN",
        "-Infinity",
        "1e999",
        "1 2",
        "[" * 100_000,
        '"\\ud800"',
        "1" * 5000,
    ],
)
def test_what_is_no_json_follows_no_schema_and_is_not_repeated(answer: str) -> None:
    with pytest.raises(ValueError, match=r"^The answer is no JSON$"):
        read_json(answer, {})
