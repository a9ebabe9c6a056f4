"""docs/protocol.md: every example is a real message, and nothing is left out."""

from __future__ import annotations

import json
from pathlib import Path
import re
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter
import pytest

from model_server.api import http, messages, replay, vocabulary
from model_server.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
FENCES = re.findall(r"(?:<!-- model: (\w+) -->\n)?```json\n(.*?)```", PAGE, re.DOTALL)
SOCKET_MESSAGES = [
    messages.Start,
    messages.Listen,
    messages.Attend,
    messages.End,
    messages.Ready,
    messages.Listening,
    messages.Speech,
    messages.Wake,
    messages.Partial,
    messages.Transcript,
    messages.Sound,
    messages.Clip,
    messages.Level,
    messages.Health,
    messages.Stopped,
    messages.Error,
]


def model_of(name: str, example: dict[str, Any]) -> type[BaseModel]:
    """The model that an example is of: named above it, or by its type."""
    name = name or str(example["type"]).capitalize()
    places = (messages, http, replay, vocabulary)
    found = next(getattr(place, name) for place in places if hasattr(place, name))
    assert issubclass(found, BaseModel)
    return found


def same_keys(example: Any, dumped: Any) -> bool:
    """Whether an example has every field of its model and no other, at any depth."""
    if isinstance(example, dict) and isinstance(dumped, dict):
        return set(example) == set(dumped) and all(
            same_keys(example[key], dumped[key]) for key in example
        )
    if isinstance(example, list) and isinstance(dumped, list):
        return all(map(same_keys, example, dumped))
    return True


@pytest.mark.parametrize(("name", "text"), FENCES)
def test_every_example_is_valid_and_complete(name: str, text: str) -> None:
    example = json.loads(text)
    model = model_of(name, example)

    dumped = model.model_validate(example).model_dump(mode="json")

    if model is vocabulary.VocabularyBody:
        for places in (dumped["floors"], dumped["entities"], dumped["areas"]):
            for place in places:
                if place.get("floor", "") is None:
                    del place["floor"]
    assert same_keys(example, dumped)


@pytest.mark.parametrize("model", SOCKET_MESSAGES)
def test_every_message_has_exactly_one_example(model: type[BaseModel]) -> None:
    kind = model.model_fields["type"].default
    kinds = [json.loads(text).get("type") for _, text in FENCES]

    assert kinds.count(kind) == 1
    assert f"### {kind}\n" in PAGE


def test_no_message_of_the_protocol_is_missing_above() -> None:
    served = TypeAdapter(messages.ServerMessage | messages.ClientMessage).json_schema()
    known = {model.__name__ for model in SOCKET_MESSAGES}

    with_type = {
        name
        for name, schema in served["$defs"].items()
        if "type" in schema.get("properties", {})
    }
    assert with_type == known


def test_every_error_code_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", PAGE, re.MULTILINE)

    assert set(get_args(messages.ErrorCode)) == set(rows)


def test_every_limit_is_listed_with_its_default() -> None:
    for name in messages.Limits.model_fields:
        flag = "--" + name.replace("_", "-")
        default = Settings.model_fields[name].default
        shown = "1 MiB" if name == "max_message_bytes" else f"{default:g}"
        assert f"| {shown} | `{flag}`, `EARSHOT_{name.upper()}` |" in PAGE
