"""What Home Assistant understands, and the few sentences that only Earshot does."""

from __future__ import annotations

from functools import cache
from importlib import resources
import json
from typing import Any

from hassil.intents import Intents
from hassil.parse_expression import parse_sentence
from home_assistant_intents import get_intents

# Rules said in fewer ways than Home Assistant understands: its rare words take in
# what was meant for a common one.
_PLAIN_RULES = {"numeric_value_set": "(set|change|make|increase|decrease)"}


def read_templates(language: str) -> Intents:
    """Return Home Assistant's own templates of a language, and Earshot's few.

    Raises ValueError where it has none.
    """
    data = get_intents(language)
    if data is None:
        raise ValueError(f"Home Assistant has no sentences for language {language!r}")
    own = _own()
    if language.partition("-")[0] == own["language"]:
        for name, intent in own["intents"].items():
            data["intents"].setdefault(name, {"data": []})["data"] += intent["data"]
    return Intents.from_dict(data)


@cache
def household_items() -> tuple[str, ...]:
    """Return what is put on shopping lists everywhere, in English."""
    return tuple(_packaged("items.txt").splitlines())


def _own() -> dict[str, Any]:
    """Return the sentences that only Earshot has; the integration has the same file."""
    found: dict[str, Any] = json.loads(_packaged("own_sentences.json"))
    return found


def _packaged(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def read_plain_templates(language: str) -> Intents:
    """Return the templates with the common wordings only.

    Raises ValueError for a language without templates.
    """
    intents = read_templates(language)
    for name, rule in _PLAIN_RULES.items():
        intents.expansion_rules[name] = parse_sentence(rule)
    return intents
