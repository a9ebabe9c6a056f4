"""The sentences that people gave Home Assistant themselves, for the server to hear."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
import logging
import re
from typing import Any, Final

from hassil.parse_expression import parse_sentence
from hassil.sample import sample_expression
from homeassistant.components.conversation.agent_manager import get_agent_manager
from homeassistant.components.conversation.const import METADATA_CUSTOM_SENTENCE
from homeassistant.core import HomeAssistant

from .client.vocabulary import (
    MAX_LISTS,
    MAX_PHRASE,
    MAX_SENTENCE,
    MAX_SENTENCES,
    MAX_VALUES,
)

_LOGGER = logging.getLogger(__name__)

_RULE: Final = re.compile(r"<(\w+)>")
_LIST: Final = re.compile(r"\{(\w+)")

_DEEPEST: Final = 10
_WAYS: Final = 50
"""So many ways to say one value of a list are told."""


@dataclass(frozen=True)
class CustomSentences:
    """Templates without rules, and the values of the lists in them."""

    sentences: tuple[str, ...] = ()
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)


async def async_custom_sentences(hass: HomeAssistant, language: str) -> CustomSentences:
    """Return sentence triggers, and what the configuration adds to intents."""
    manager = get_agent_manager(hass)
    if manager.default_agent is None:
        return CustomSentences()
    sentences = list(manager.trigger_sentences)
    lists: dict[str, tuple[str, ...]] = {}
    try:
        intents = await manager.default_agent.async_get_or_load_intents(language)
        if intents is not None:
            written = list(_custom(intents.intents_dict))
            sentences += (sentence for sentence, _ in written)
            lists = _lists(written)
    except Exception:
        _LOGGER.warning(
            "Home Assistant cannot read your custom sentences for %r: check the files "
            "in custom_sentences, and intents in its configuration",
            language,
            exc_info=True,
        )
    kept = (sentence for sentence in sentences if 0 < len(sentence) <= MAX_SENTENCE)
    return CustomSentences(tuple(sorted(set(kept)))[:MAX_SENTENCES], lists)


def _custom(intents: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each custom sentence without rules, with the lists that it may use."""
    for intent in intents["intents"].values():
        for block in intent.get("data", ()):
            if not block.get("metadata", {}).get(METADATA_CUSTOM_SENTENCE):
                continue
            rules, lists = (
                {**intents.get(key, {}), **block.get(key, {})}
                for key in ("expansion_rules", "lists")
            )
            for sentence in block["sentences"]:
                yield _without_rules(sentence, rules), lists


def _without_rules(sentence: str, rules: Mapping[str, Any]) -> str:
    """Write out the rules in a sentence; those of nobody are left for others to find."""
    for _ in range(_DEEPEST):
        further = _RULE.sub(
            lambda found: f"({rules[found[1]]})" if found[1] in rules else found[0],
            sentence,
        )
        if further == sentence or len(further) > MAX_SENTENCE:
            break
        sentence = further
    return sentence


def _lists(
    written: Iterable[tuple[str, Mapping[str, Any]]],
) -> dict[str, tuple[str, ...]]:
    """Return the values of every list in these sentences that is not just any words."""
    found: dict[str, tuple[str, ...]] = {}
    for sentence, lists in written:
        for name in _LIST.findall(sentence):
            if name in lists and name not in found and len(found) < MAX_LISTS:
                values = sorted({*_values(lists[name])})
                if values:
                    found[name] = tuple(values[:MAX_VALUES])
    return found


def _values(definition: Mapping[str, Any]) -> Iterator[str]:
    """Yield what may be said for a list."""
    if (limits := definition.get("range")) is not None:
        numbers = range(limits["from"], limits["to"] + 1, limits.get("step", 1))
        yield from map(str, islice(numbers, MAX_VALUES))
    for value in definition.get("values", ()):
        template = value["in"] if isinstance(value, dict) else str(value)
        ways = sample_expression(parse_sentence(template).expression)
        for way in islice(ways, _WAYS):
            if 0 < len(phrase := " ".join(way.split())) <= MAX_PHRASE:
                yield phrase
