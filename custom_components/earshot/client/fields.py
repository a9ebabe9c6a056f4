"""Read typed fields out of decoded JSON; a wrong one raises with its name."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
import json
import re
from typing import Any

from .errors import InvalidMessage

type Json = Mapping[str, Any]

_SLUG = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")


def decode(text: str) -> Json:
    """Decode one JSON object."""
    try:
        value = json.loads(text)
    except ValueError as err:
        raise InvalidMessage("not JSON") from err
    if not isinstance(value, dict):
        raise InvalidMessage("not a JSON object")
    return value


def string(data: Json, name: str) -> str:
    """Return a text field."""
    if isinstance(value := data.get(name), str):
        return value
    raise InvalidMessage(f"{name}: text expected")


def slug(data: Json, name: str) -> str:
    """Return a name that is safe in topics and entity ids."""
    if _SLUG.fullmatch(value := string(data, name)):
        return value
    raise InvalidMessage(f"{name}: lower-case letters, digits and _ expected")


def optional_string(data: Json, name: str) -> str | None:
    """Return a text field that may be absent."""
    return None if data.get(name) is None else string(data, name)


def integer(data: Json, name: str) -> int:
    """Return a whole number."""
    value = data.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidMessage(f"{name}: whole number expected")


def number(data: Json, name: str) -> float:
    """Return a number."""
    value = data.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise InvalidMessage(f"{name}: number expected")


def optional_number(data: Json, name: str) -> float | None:
    """Return a number that may be absent."""
    return None if data.get(name) is None else number(data, name)


def score(data: Json, name: str) -> float:
    """Return a number from 0 to 1."""
    if 0 <= (value := number(data, name)) <= 1:
        return value
    raise InvalidMessage(f"{name}: number from 0 to 1 expected")


def boolean(data: Json, name: str, default: bool = False) -> bool:
    """Return a truth value."""
    if isinstance(value := data.get(name, default), bool):
        return value
    raise InvalidMessage(f"{name}: true or false expected")


def time(data: Json, name: str) -> datetime:
    """Return a UTC time; one without an offset is taken as UTC."""
    try:
        value = datetime.fromisoformat(string(data, name))
    except ValueError as err:
        raise InvalidMessage(f"{name}: time expected") from err
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def optional_time(data: Json, name: str) -> datetime | None:
    """Return a UTC time that may be absent."""
    return None if data.get(name) is None else time(data, name)


def choice[T: str](data: Json, name: str, choices: tuple[T, ...]) -> T:
    """Return one of the given texts."""
    value = string(data, name)
    for known in choices:
        if value == known:
            return known
    raise InvalidMessage(f"{name}: one of {', '.join(choices)} expected")


def strings(data: Json, name: str) -> tuple[str, ...]:
    """Return a list of texts; absent means none."""
    value = data.get(name, [])
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise InvalidMessage(f"{name}: list of texts expected")


def scores(data: Json, name: str) -> dict[str, float]:
    """Return scores by label; absent means none."""
    value = data.get(name, {})
    if not isinstance(value, dict):
        raise InvalidMessage(f"{name}: object expected")
    return {key: score(value, key) for key in value}


def item(data: Json, name: str) -> Json:
    """Return an object field."""
    if isinstance(value := data.get(name), dict):
        return value
    raise InvalidMessage(f"{name}: object expected")


def items[T](data: Json, name: str, read: Callable[[Json], T]) -> tuple[T, ...]:
    """Return a list of objects, each read by `read`; absent means none."""
    value = data.get(name, [])
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return tuple(read(entry) for entry in value)
    raise InvalidMessage(f"{name}: list of objects expected")
