"""Understanding in one pass: what a model is asked, may answer, and is believed.

A model answers with `{"text": ..., "intent": {"name": ..., "slots": {...}} | null}`.
The schema leaves it only intents and names that fit the home; `read_intent` checks
everything again, since a model elsewhere may not have followed the schema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice, zip_longest
import json
from typing import Any, Final
import unicodedata

from .base import Intent, Vocabulary, VocabularyEntity, VocabularyPlace
from .intents import (
    FORMS,
    MAX_ITEM,
    MEANINGS,
    Choice,
    Domain,
    Form,
    Name,
    PlaceName,
    Slots,
    Value,
    Whole,
    Words,
)

MAX_TEXT: Final = 500
"""Characters of an utterance: 30 s of fast speech."""

MAX_ANSWER: Final = 20_000
"""Characters of a whole answer that are looked at, with every one escaped."""

MAX_NAME: Final = 100
MAX_NAMES: Final = 4000
"""Names of entities that a schema holds: each entity's own first, then aliases."""

_PLACES: Final = ("area", "floor")

MAX_TOLD: Final = 2500
"""Characters of names in the instruction; the schema holds the others too."""


def intent_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """The JSON schema of an answer: keywords that every grammar compiler knows.

    Property order matters: a model writes down what it heard before it decides
    what was meant. Names stand once, in `$defs`.
    """
    home = _Home.of(vocabulary)
    intents: list[dict[str, Any]] = [{"type": "null"}]
    for intent, forms in home.forms.items():
        slots = [_object_schema(form.required, form.optional, home) for form in forms]
        intents.append(
            {
                "type": "object",
                "properties": {
                    "name": {"const": intent},
                    "slots": slots[0] if len(slots) == 1 else {"anyOf": slots},
                },
                "required": ["name", "slots"],
                "additionalProperties": False,
            }
        )
    return {
        "type": "object",
        "properties": {
            "text": {"type": "string", "maxLength": MAX_TEXT},
            "intent": {"anyOf": intents},
        },
        "required": ["text", "intent"],
        "additionalProperties": False,
        "$defs": {
            key: {"enum": list(names)} for key, names in home.names.items() if names
        },
    }


def intent_instruction(vocabulary: Vocabulary) -> str:
    """What a model is asked about an utterance, with the home's names it may use."""
    home = _Home.of(vocabulary)
    intents = "\n".join(
        f"{intent}({', '.join(_slots(forms))}): {MEANINGS[intent]}"
        for intent, forms in home.forms.items()
    )
    return (
        "Somebody speaks to their smart home. Answer with one JSON object.\n"
        f'"text": the words that were said, language {vocabulary.language}; '
        "empty if nobody speaks.\n"
        '"intent": what the home should do, as {"name": ..., "slots": {...}}; null '
        "unless the words are clearly a command or question to this home. A name, "
        "area or floor is one of those below; if none of them was meant, the intent "
        "is null. Without name, area and floor it means the room of the speaker.\n"
        f"Intents:\n{intents}\n"
        f"{_told(home)}"
    )


def read_intent(answer: str, vocabulary: Vocabulary) -> tuple[str, Intent | None]:
    """What a model heard and understood, as far as it can be believed.

    The text has no control characters and single spaces; it may be empty. The
    intent is None where the model gave none, and where anything about it does not
    fit the home: an unknown intent, name or place, a slot that is missing, of a
    wrong kind or too much. Aliases become the entity's own name where that is
    unmistakable. Raises ValueError for an answer that is no such JSON object, as
    when it was cut off.
    """
    if len(answer) > MAX_ANSWER:
        raise ValueError("The answer is too long")
    try:
        data = json.loads(answer)
    except (ValueError, RecursionError):
        # The original would quote what was heard.
        raise ValueError("The answer is no JSON") from None
    heard = data.get("text") if isinstance(data, dict) else None
    if not isinstance(heard, str) or len(heard) > MAX_TEXT:
        raise ValueError("The answer has no text, or too long a one")
    text = " ".join("".join(map(_visible, heard)).split())
    if not text:
        return "", None
    return text, _read(data.get("intent"), _Home.of(vocabulary))


def _read(intent: object, home: _Home) -> Intent | None:
    if not isinstance(intent, dict) or intent.keys() != {"name", "slots"}:
        return None
    name, slots = intent["name"], intent["slots"]
    if not isinstance(name, str) or not isinstance(slots, dict):
        return None
    for form in home.forms.get(name, ()):
        known = {**form.required, **form.optional}
        if not form.required.keys() <= slots.keys() <= known.keys():
            continue
        read = {slot: home.read(known[slot], given) for slot, given in slots.items()}
        values = {slot: value for slot, value in read.items() if value is not None}
        if len(values) == len(read):
            return Intent(name, values)
    return None


@dataclass(frozen=True)
class _Home:
    """A vocabulary as tables. `names`: domain, "area" or "floor" → what may be said.

    `meant` has the same keys: a folded name → the name that Home Assistant gets.
    """

    names: dict[str, tuple[str, ...]]
    meant: dict[str, dict[str, str]]
    forms: dict[str, list[Form]]

    @staticmethod
    def of(vocabulary: Vocabulary) -> _Home:
        """The tables of a vocabulary; the last few are kept."""
        return _tables(vocabulary)

    def has(self, key: str) -> bool:
        """Whether there is anything of a domain, an area or a floor."""
        return bool(self.names.get(key))

    def read(self, value: Value, given: object) -> str | int | None:
        """A slot's value as Home Assistant takes it, or None if it is not one."""
        if isinstance(value, Whole):
            if isinstance(given, float) and given.is_integer():
                given = int(given)
            if not isinstance(given, int) or isinstance(given, bool):
                return None
            return given if value.minimum <= given <= value.maximum else None
        if not isinstance(given, str):
            return None
        if isinstance(value, Choice):
            return given if given in value.words else None
        if isinstance(value, Domain):
            return given if given in value.domains and self.has(given) else None
        if isinstance(value, PlaceName):
            return self.meant[value.kind].get(_folded(given))
        if isinstance(value, Name):
            folded = _folded(given)
            tables = (self.meant.get(domain, {}) for domain in value.domains)
            return next((each[folded] for each in tables if folded in each), None)
        item = given.strip()
        return item if item and _plain(item, MAX_ITEM) else None


@lru_cache(maxsize=2)
def _tables(vocabulary: Vocabulary) -> _Home:
    domains = {domain for form in FORMS for domain in _domains(form)}
    said: dict[str, dict[str, None]] = {domain: {} for domain in sorted(domains)}
    for key, name in _by_rank(vocabulary.entities, lambda entity: entity.domain):
        if key in said:
            said[key][name] = None
    said |= {
        "area": {name: None for _, name in _by_rank(vocabulary.areas, str)},
        "floor": {name: None for _, name in _by_rank(vocabulary.floors, str)},
    }
    entities = _meant(vocabulary.entities)
    places = {"area": _meant(vocabulary.areas), "floor": _meant(vocabulary.floors)}
    meant = {
        key: {_folded(name): places.get(key, entities)[_folded(name)] for name in names}
        for key, names in said.items()
    }
    home = _Home({key: tuple(names) for key, names in said.items()}, meant, {})
    for form in FORMS:
        if _possible(form, home):
            home.forms.setdefault(form.intent, []).append(form)
    return home


_Named = VocabularyEntity | VocabularyPlace


def _by_rank(
    named: Sequence[_Named], key: Callable[[Any], str]
) -> Iterator[tuple[str, str]]:
    """Usable names with their key: everything's own name first, then the aliases."""
    ranks = zip_longest(*([(key(each), name) for name in each.names] for each in named))
    pairs = (pair for rank in ranks for pair in rank if pair is not None)
    usable = ((key, name) for key, name in pairs if _sayable(name))
    yield from islice(usable, MAX_NAMES)


def _meant(named: Iterable[_Named]) -> dict[str, str]:
    """Each folded name → an own name, or itself where that could be another's.

    Home Assistant asks or chooses by the room among things of the same name; a
    name that leads to just one of them must not choose for it.
    """
    named = tuple(named)
    folded = [{_folded(name) for name in each.names} for each in named]
    owners = Counter(chain.from_iterable(folded))
    meant: dict[str, str] = {}
    for each in named:
        own = each.names[0]
        for name in each.names:
            unmistakable = owners[_folded(name)] == 1 == owners[_folded(own)]
            meant.setdefault(_folded(name), own if unmistakable else name)
    return meant


def _possible(form: Form, home: _Home) -> bool:
    """Whether a home has what a form speaks of."""
    if form.needs and not any(home.has(domain) for domain in form.needs):
        return False
    for value in form.required.values():
        if isinstance(value, PlaceName) and not home.has(value.kind):
            return False
        if isinstance(value, Name | Domain) and not any(map(home.has, value.domains)):
            return False
    return True


def _slots(forms: list[Form]) -> Iterable[str]:
    """Each slot once."""
    return dict.fromkeys(
        slot for form in forms for slot in (*form.required, *form.optional)
    )


def _domains(form: Form) -> Iterator[str]:
    for value in (*form.required.values(), *form.optional.values()):
        if isinstance(value, Name | Domain):
            yield from value.domains


def _object_schema(required: Slots, optional: Slots, home: _Home) -> dict[str, Any]:
    properties = {
        slot: schema
        for slot, value in {**required, **optional}.items()
        if (schema := _value_schema(value, home)) is not None
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _value_schema(value: Value, home: _Home) -> dict[str, Any] | None:
    """The schema of a slot; None where the home has nothing for it."""
    if isinstance(value, Whole):
        limits = {"minimum": value.minimum, "maximum": value.maximum}
        return {"type": "integer", **limits}
    if isinstance(value, Choice):
        return {"enum": list(value.words)}
    if isinstance(value, Words):
        return {"type": "string", "maxLength": MAX_ITEM}
    if isinstance(value, PlaceName):
        return {"$ref": f"#/$defs/{value.kind}"} if home.has(value.kind) else None
    present = [domain for domain in value.domains if home.has(domain)]
    if not present:
        return None
    if isinstance(value, Domain):
        return {"enum": present}
    refs = [{"$ref": f"#/$defs/{domain}"} for domain in present]
    return refs[0] if len(refs) == 1 else {"anyOf": refs}


def _told(home: _Home) -> str:
    """The home's names for the instruction, cut where they get too many."""
    lines, left = [], MAX_TOLD
    # Places and scenes are few; of the rest, what is switched is asked for most.
    for key in ("area", "floor", *(key for key in home.names if key not in _PLACES)):
        told = []
        for name in home.names[key]:
            left -= len(name) + 2
            if left < 0:
                break
            told.append(name)
        if told:
            lines.append(f"{key}: {', '.join(told)}")
    return "\n".join(lines)


def _folded(name: str) -> str:
    """A name as Home Assistant compares it."""
    return name.strip().casefold()


def _sayable(name: str) -> bool:
    """Whether a name can stand in a schema; "<|" begins a model's own signs."""
    return bool(name.strip()) and _plain(name, MAX_NAME) and "<|" not in name


def _plain(text: str, longest: int) -> bool:
    return len(text) <= longest and all(_visible(sign) == sign for sign in text)


def _visible(sign: str) -> str:
    """A character, or a space for one that controls: line ends, directions, halves."""
    return " " if unicodedata.category(sign).startswith("C") else sign
