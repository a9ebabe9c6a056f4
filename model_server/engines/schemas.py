"""JSON schemas that an answer from elsewhere is held to: the part that can be checked.

What a server says about following a schema proves nothing, so an answer is checked
here. Patterns are left out, because checking them would let whoever asks choose an
expression that takes for ever on a text that whoever answers chooses; so is whatever
would fetch another document. A schema with such a keyword is refused beforehand,
never half checked. Semantics: JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
import json
import math
from typing import Any, Final, TypeAlias

from .base import UnusableRequestError

Schema: TypeAlias = Mapping[str, Any] | bool

MAX_STEPS: Final = 100_000
"""Subschemas that one answer is held to: references can multiply them without end."""

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": (int, float),
    "boolean": bool,
    "null": type(None),
}

_ANNOTATIONS: Final = frozenset(
    {
        *("$schema", "$comment", "title", "description", "default", "examples"),
        *("deprecated", "readOnly", "writeOnly", "format", "$defs", "definitions"),
    }
)
_ONE: Final = frozenset({"additionalProperties", "items"})
_LISTED: Final = frozenset({"anyOf", "oneOf", "allOf"})
_NAMED: Final = frozenset({"properties", "$defs", "definitions"})


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise UnusableRequestError for a schema that answers cannot be held to."""
    try:
        for each in _subschemas(schema):
            _check(each, schema)
    except RecursionError:
        raise UnusableRequestError("The schema is nested too deeply.") from None


def read_json(answer: str, schema: Mapping[str, Any]) -> Any:
    """The value of an answer that follows a schema which passed `check_schema`.

    Raises ValueError without a word of the answer.
    """
    try:
        value = json.loads(answer, parse_constant=_refuse, parse_float=_finite)
        # Half a surrogate pair can be escaped in JSON, and sent to nobody.
        json.dumps(value, ensure_ascii=False).encode()
        if _Conformity(schema).holds(value, schema):
            return value
    except (ValueError, RecursionError):
        raise ValueError("The answer is no JSON") from None
    raise ValueError("The answer does not follow the schema")


def _refuse(constant: str) -> None:
    """NaN and the infinities are no JSON."""
    raise ValueError(constant)


def _finite(number: str) -> float:
    """A number that JSON can also write; 1e999 is none."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _subschemas(schema: object) -> Iterator[object]:
    """A schema and all schemas within it, whatever stands in their place."""
    yield schema
    for keyword, value in schema.items() if isinstance(schema, Mapping) else ():
        inner: Iterable[object] = ()
        if keyword in _ONE:
            inner = [value]
        elif keyword in _LISTED and isinstance(value, list):
            inner = value
        elif keyword in _NAMED and isinstance(value, Mapping):
            inner = value.values()
        for each in inner:
            yield from _subschemas(each)


def _check(schema: object, root: Mapping[str, Any]) -> None:
    """Refuse what is no schema, or has keywords that are not checked."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise UnusableRequestError("A schema is an object, true or false.")
    for keyword, argument in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        if keyword not in _KEYWORDS:
            raise UnusableRequestError(
                f"The schema has the keyword {str(keyword)[:40]!r}, which this engine "
                "cannot hold an answer to: leave it out."
            )
        if not _KEYWORDS[keyword][0](argument):
            raise UnusableRequestError(
                f"The schema's keyword {keyword!r} has a value that it cannot have."
            )
    if "$ref" in schema and _target(schema["$ref"], root) is None:
        raise UnusableRequestError(
            "The schema has a $ref that leads to none of its own $defs."
        )


def _target(reference: str, root: Mapping[str, Any]) -> Schema | None:
    """The subschema that `#/$defs/name` names; `#` is the whole."""
    if reference == "#":
        return root
    start, *path = reference.split("/")
    if start != "#" or len(path) != 2 or path[0] not in {"$defs", "definitions"}:
        return None
    named = root.get(path[0])
    target = named.get(path[1]) if isinstance(named, Mapping) else None
    return target if isinstance(target, Mapping | bool) else None


class _Conformity:
    """Holds one value to a schema, within a number of steps."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self._steps = MAX_STEPS

    def holds(self, value: object, schema: Schema) -> bool:
        """Whether a value follows a schema."""
        self._steps -= 1
        if self._steps < 0:
            raise ValueError("too many steps")
        if isinstance(schema, bool):
            return schema
        return all(
            keyword in _ANNOTATIONS
            or _KEYWORDS[keyword][1](value, argument, schema, self)
            for keyword, argument in schema.items()
        )


def _of_type(value: object, name: str) -> bool:
    if not isinstance(value, _TYPES[name]):
        return False
    if name in {"number", "integer"} and isinstance(value, bool):
        return False
    return name != "integer" or not isinstance(value, float) or value.is_integer()


def _same(one: object, other: object) -> bool:
    """Equality as JSON has it: true is not 1, but 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _same(one[key], other[key]) for key in one
        )
    return one == other


def _is_number(argument: object) -> bool:
    return _of_type(argument, "number")


def _is_count(argument: object) -> bool:
    return _of_type(argument, "integer") and argument >= 0  # type: ignore[operator]


def _is_schema(argument: object) -> bool:
    return isinstance(argument, Mapping | bool)


def _is_schemas(argument: object) -> bool:
    return isinstance(argument, list) and bool(argument)


def _is_names(argument: object) -> bool:
    return isinstance(argument, list) and all(
        isinstance(each, str) for each in argument
    )


def _is_types(argument: object) -> bool:
    names = argument if isinstance(argument, list) else [argument]
    return bool(names) and all(isinstance(n, str) and n in _TYPES for n in names)


def _type(value: object, argument: Any, *_: Any) -> bool:
    names = argument if isinstance(argument, list) else [argument]
    return any(_of_type(value, name) for name in names)


def _properties(value: object, argument: Any, _: Any, conformity: _Conformity) -> bool:
    return not isinstance(value, dict) or all(
        conformity.holds(value[name], schema)
        for name, schema in argument.items()
        if name in value
    )


def _additional(
    value: object, argument: Any, schema: Mapping[str, Any], conformity: _Conformity
) -> bool:
    return not isinstance(value, dict) or all(
        conformity.holds(each, argument)
        for name, each in value.items()
        if name not in schema.get("properties", {})
    )


def _ref(value: object, argument: Any, _: Any, conformity: _Conformity) -> bool:
    target = _target(argument, conformity.root)
    return target is not None and conformity.holds(value, target)


def _sized(kind: type[Sized], fits: Callable[[int, Any], bool]) -> Callable[..., bool]:
    """A check of how long a value of a kind is."""

    def check(value: Any, argument: Any, *_: Any) -> bool:
        return not isinstance(value, kind) or fits(len(value), argument)

    return check


def _compared(fits: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    """A check of a number."""

    def check(value: Any, argument: Any, *_: Any) -> bool:
        return not _is_number(value) or fits(value, argument)

    return check


def _at_least(value: Any, argument: Any) -> bool:
    return bool(value >= argument)


def _at_most(value: Any, argument: Any) -> bool:
    return bool(value <= argument)


_KEYWORDS: Final[Mapping[str, tuple[Callable[[object], bool], Callable[..., bool]]]] = {
    "$ref": (lambda given: isinstance(given, str), _ref),
    "type": (_is_types, _type),
    "enum": (
        lambda given: isinstance(given, list),
        lambda value, given, *_: any(_same(value, each) for each in given),
    ),
    "const": (lambda _: True, lambda value, given, *_: _same(value, given)),
    "properties": (lambda given: isinstance(given, Mapping), _properties),
    "required": (
        _is_names,
        lambda value, names, *_: not isinstance(value, dict) or {*names} <= {*value},
    ),
    "additionalProperties": (_is_schema, _additional),
    "items": (
        _is_schema,
        lambda value, given, _, conformity: (
            not isinstance(value, list)
            or all(conformity.holds(each, given) for each in value)
        ),
    ),
    "anyOf": (
        _is_schemas,
        lambda value, given, _, conformity: any(
            conformity.holds(value, each) for each in given
        ),
    ),
    "oneOf": (
        _is_schemas,
        lambda value, given, _, conformity: (
            sum(conformity.holds(value, each) for each in given) == 1
        ),
    ),
    "allOf": (
        _is_schemas,
        lambda value, given, _, conformity: all(
            conformity.holds(value, each) for each in given
        ),
    ),
    "minLength": (_is_count, _sized(str, _at_least)),
    "maxLength": (_is_count, _sized(str, _at_most)),
    "minItems": (_is_count, _sized(list, _at_least)),
    "maxItems": (_is_count, _sized(list, _at_most)),
    "minProperties": (_is_count, _sized(dict, _at_least)),
    "maxProperties": (_is_count, _sized(dict, _at_most)),
    "minimum": (_is_number, _compared(_at_least)),
    "maximum": (_is_number, _compared(_at_most)),
    "exclusiveMinimum": (_is_number, _compared(lambda value, low: value > low)),
    "exclusiveMaximum": (_is_number, _compared(lambda value, high: value < high)),
}
"""Each keyword: whether it can have a value, and whether it holds of what was said."""
