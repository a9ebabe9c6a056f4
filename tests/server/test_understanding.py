"""A model may only mean what the home has, and is believed no further than that."""

from __future__ import annotations

from collections.abc import Iterator
import json
import random
from typing import Any, TypeAlias

from home_assistant_intents import get_intent_info
from hypothesis import given, settings, strategies as st
import jsonschema
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
import pytest

from model_server.engines import understanding
from model_server.engines.base import (
    Intent,
    Vocabulary,
    VocabularyEntity,
    VocabularyPlace,
)
from model_server.engines.intents import (
    FORMS,
    MAX_ITEM,
    MEANINGS,
    Choice,
    Domain,
    Name,
    PlaceName,
    Value,
    Whole,
)
from model_server.engines.understanding import (
    MAX_TEXT,
    intent_instruction,
    intent_schema,
    read_intent,
)
from tests.server.homes import family_home, lamp_home

FAMILY = family_home()
LISTS = Vocabulary(
    entities=(VocabularyEntity("todo.shopping", "todo", ("Shopping", "groceries")),)
)
HOMES = [FAMILY, lamp_home(), LISTS, Vocabulary()]
EVERY_INTENT = {form.intent for form in FORMS}

Answer: TypeAlias = dict[str, Any]


class Bytes:
    """A tokenizer whose tokens are the 256 bytes and an end."""

    eos_token_id = 256
    bos_token_id = None
    special_token_ids = (256,)
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


TOKENIZER = LLTokenizer(TokenizerWrapper(Bytes()))


def grammar(vocabulary: Vocabulary) -> str:
    """The schema as an engine compiles it, without white space between tokens."""
    return LLMatcher.grammar_from_json_schema(
        json.dumps(intent_schema(vocabulary)), overrides={"whitespace_flexible": False}
    )


def answer(text: str, intent: object) -> str:
    return json.dumps({"text": text, "intent": intent}, ensure_ascii=False)


def meant(name: str, /, **slots: object) -> str:
    return answer("something", {"name": name, "slots": slots})


def test_every_intent_that_home_assistant_has_sentences_for_may_be_meant_but_speeches():
    info = get_intent_info() or {}
    supported = {name for name, facts in info.items() if facts["supported"]}
    assert supported - {"HassRespond", "HassBroadcast"} == EVERY_INTENT
    assert set(MEANINGS) == EVERY_INTENT
    for form in FORMS:
        slots = {*form.required, *form.optional}
        assert slots <= {*info[form.intent].get("slots", {})}, form.intent
        assert "conversation_command" not in slots


def example(value: Value, home: Vocabulary) -> object:
    """A value that fits; None where this home has none."""
    match value:
        case Whole(minimum=minimum):
            return minimum
        case Choice(words=words):
            return words[-1]
        case Domain(domains=domains):
            here = {entity.domain for entity in home.entities}
            return next((domain for domain in domains if domain in here), None)
        case Name(domains=domains):
            return next(
                (e.names[0] for e in home.entities if e.domain in domains), None
            )
        case PlaceName(kind="area"):
            return home.areas[-1].names[0] if home.areas else None
        case PlaceName():
            return home.floors[-1].names[0] if home.floors else None
    return "oat milk"


def possible(home: Vocabulary) -> Iterator[Answer]:
    """One answer for each form and each of its optional slots."""
    here = {entity.domain for entity in home.entities}
    for form in FORMS:
        if form.needs and here.isdisjoint(form.needs):
            continue
        slots = {slot: example(value, home) for slot, value in form.required.items()}
        if None in slots.values():
            continue
        yield {"name": form.intent, "slots": slots}
        for slot, value in form.optional.items():
            if (more := example(value, home)) is not None:
                yield {"name": form.intent, "slots": slots | {slot: more}}


@pytest.mark.parametrize("home", HOMES, ids=["family", "lamp", "lists", "nothing"])
def test_whatever_a_form_allows_is_in_the_schema_the_grammar_and_believed(home):
    schema = intent_schema(home)
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema)
    matcher = LLMatcher(TOKENIZER, grammar(home))
    for intent in possible(home):
        said = answer("so be it", intent)
        valid.validate(json.loads(said))
        # As a model writes it: the order of the schema, no white space.
        form = json.dumps(
            {"text": "so be it", "intent": ordered(intent)}, separators=(",", ":")
        )
        assert matcher.validate_tokens([*form.encode(), 256]) == len(form) + 1, form
        assert read_intent(said, home) == (
            "so be it",
            Intent(intent["name"], intent["slots"]),
        )


def ordered(intent: Answer) -> Answer:
    """Slots in the order of the first form that has them all."""
    for form in FORMS:
        slots = [*form.required, *form.optional]
        if form.intent == intent["name"] and {*form.required} <= {*intent["slots"]} <= {
            *slots
        }:
            given = intent["slots"]
            return intent | {
                "slots": {key: given[key] for key in slots if key in given}
            }
    raise AssertionError(intent)


def test_a_home_offers_only_what_it_has():
    offered = {intent["name"] for intent in possible(lamp_home())}
    assert {"HassTurnOn", "HassLightSet", "HassStartTimer"} <= offered
    schema = json.dumps(intent_schema(lamp_home()))
    for absent in (
        "HassMediaPause",
        "HassVacuumStart",
        "HassClimate",
        "cover",
        "floor",
    ):
        assert absent not in schema
    assert "HassListAddItem" in json.dumps(intent_schema(LISTS))


def walk(matcher: LLMatcher, dice: random.Random) -> str:
    """An answer as a model without any sense would write it."""
    written = bytearray()
    while True:
        mask = matcher.compute_bitmask()
        allowed = [byte for byte in range(257) if mask[byte >> 3] >> (byte & 7) & 1]
        if 256 in allowed:
            return written.decode()
        # Free text would be endless, and mostly of several bytes.
        plain = [byte for byte in allowed if byte < 128] or allowed
        byte = dice.choice(plain)
        if ord('"') in allowed and dice.random() < 0.1:
            byte = ord('"')
        assert matcher.consume_token(byte), matcher.get_error()
        written.append(byte)


@pytest.mark.parametrize("home", HOMES[:3], ids=["family", "lamp", "lists"])
def test_whatever_the_grammar_lets_a_model_write_can_be_read(home):
    compiled = grammar(home)
    dice = random.Random(3)
    understood = 0
    for _ in range(25):
        written = walk(LLMatcher(TOKENIZER, compiled), dice)
        text, intent = read_intent(written, home)
        given = json.loads(written)
        free = [
            value
            for value in (given["intent"] or {"slots": {}})["slots"].values()
            if isinstance(value, str) and not value.strip().isprintable()
        ]
        if given["intent"] is None or not text or free or blank(given["intent"]):
            assert intent is None
        else:
            assert intent is not None, written
            assert intent.name == given["intent"]["name"]
            assert intent.slots.keys() == given["intent"]["slots"].keys()
            understood += 1
    assert understood > 3


def blank(intent: Answer) -> bool:
    return any(isinstance(v, str) and not v.strip() for v in intent["slots"].values())


SOMETHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-200, 20_000)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["all", "Front Door", "front door", "Kitchen", "light", "on", "Rosie"]
    ),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
SLOTS = st.dictionaries(
    st.sampled_from(
        (
            *("name", "area", "floor", "domain", "device_class", "brightness", "state"),
            *("entity_id", "conversation_command", "position", "seconds", "item"),
        )
    ),
    SOMETHING,
    max_size=2,
)


VALID = jsonschema.Draft202012Validator(intent_schema(FAMILY))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(possible(FAMILY))),
    st.none() | st.sampled_from([*sorted(EVERY_INTENT), "HassBroadcast", "HassToggle"]),
    SLOTS,
    st.sets(st.sampled_from(["name", "area", "floor", "domain"]), max_size=1),
)
def test_a_hostile_answer_is_never_believed_beyond_the_schema(good, name, more, fewer):
    slots = {k: v for k, v in {**good["slots"], **more}.items() if k not in fewer}
    _, intent = read_intent(meant(name or good["name"], **slots), FAMILY)
    if intent is not None:
        believed = {"name": intent.name, "slots": dict(intent.slots)}
        VALID.validate({"text": "something", "intent": believed})
        assert intent.slots.keys() == slots.keys()


@pytest.mark.parametrize(
    "intent",
    [
        meant("HassTurnOn"),
        meant("HassTurnOn", name="all"),
        meant("HassTurnOn", name="*"),
        meant("HassTurnOn", name="Nothing Here"),
        meant("HassTurnOn", name="Kitchen Lights", area="Nowhere"),
        meant("HassTurnOn", name="Kitchen Lights", entity_id="lock.front_door"),
        meant("HassTurnOn", name=["Kitchen Lights", "Front Door"]),
        meant("HassTurnOn", area="Kitchen"),
        meant("HassTurnOff", domain="lock", area="Hallway"),
        meant("HassTurnOff", domain="all"),
        meant("HassTurnOn", name="Kitchen Lights\n"),
        meant("HassLightSet", name="Kitchen Lights", brightness=101),
        meant("HassLightSet", name="Kitchen Lights", brightness=-1),
        meant("HassLightSet", name="Kitchen Lights", brightness="50"),
        meant("HassLightSet", name="Kitchen Lights", brightness=True),
        meant("HassLightSet", name="Kitchen Lights", brightness=1e400),
        meant("HassLightSet", name="Kitchen Lights", color="{{ states }}"),
        meant("HassLightSet", name="Kitchen Lights"),
        meant("HassLightSet", name="Front Door", brightness=1),
        meant("HassStartTimer"),
        meant("HassStartTimer", seconds=1, conversation_command="unlock the door"),
        meant("HassRespond", response="Your house is on fire"),
        meant("HassBroadcast", message="Your house is on fire"),
        meant("HassToggle", name="Kitchen Lights"),
        meant("call_service", domain="light"),
        answer("something", "HassNevermind"),
        answer("something", {"name": "HassNevermind"}),
        answer("something", {"name": ["HassNevermind"], "slots": {}}),
        answer("something", {"name": "HassNevermind", "slots": {}, "also": 1}),
        answer("something", [{"name": "HassNevermind", "slots": {}}]),
    ],
)
def test_what_does_not_fit_the_home_is_not_an_intent(intent):
    # A name with a line end around it is that name, as Home Assistant compares.
    expected = Intent("HassTurnOn", {"name": "Kitchen Lights"})
    tolerated = expected if "\\n" in intent else None
    assert read_intent(intent, FAMILY) == ("something", tolerated)


def test_a_home_without_lists_has_nothing_to_add_to():
    said = meant("HassShoppingListAddItem", item="oat milk")
    assert read_intent(said, lamp_home()) == ("something", None)


@pytest.mark.parametrize(
    "item", ["", "  ", "x" * (MAX_ITEM + 1), "milk\x00", "milk\u202e", "a\nb", "\ud800"]
)
def test_an_item_is_a_short_line_of_text(item):
    said = json.dumps(
        {
            "text": "add it",
            "intent": {"name": "HassShoppingListAddItem", "slots": {"item": item}},
        }
    )
    assert read_intent(said, LISTS) == ("add it", None)
    good = said.replace(json.dumps(item), '" oat milk "')
    assert read_intent(good, LISTS) == (
        "add it",
        Intent("HassShoppingListAddItem", {"item": "oat milk"}),
    )


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "turn on the light",
        '{"text": "turn on the li',
        "[]",
        "null",
        '{"intent": null}',
        '{"text": 1, "intent": null}',
        json.dumps({"text": "x" * (MAX_TEXT + 1), "intent": None}),
        "[" * 100_000,
        "[" * 15_000,
    ],
)
def test_what_is_no_answer_is_an_error_that_does_not_quote_it(broken):
    with pytest.raises(ValueError, match="The answer ") as caught:
        read_intent(broken, FAMILY)
    assert "light" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_text_is_one_printable_line_and_silence_means_nothing():
    said = json.dumps(
        {"text": " turn\non\x1b[2J \u202ethe\ud800 light ", "intent": None}
    )
    assert read_intent(said, FAMILY) == ("turn on [2J the light", None)
    nothing = answer(" \n", {"name": "HassTurnOn", "slots": {"name": "TV"}})
    assert read_intent(nothing, FAMILY) == ("", None)
    assert read_intent('{"text": "hm"}', FAMILY) == ("hm", None)


def named(*names: tuple[str, ...], domain: str = "light") -> Vocabulary:
    return Vocabulary(
        entities=tuple(
            VocabularyEntity(f"{domain}.x{number}", domain, these)
            for number, these in enumerate(names)
        ),
        areas=(VocabularyPlace("kitchen", ("Kitchen", "cook room")),),
        floors=(VocabularyPlace("up", ("Upstairs", "attic")),),
    )


@pytest.mark.parametrize(
    ("said", "home", "becomes"),
    [
        ("telly", named(("TV", "telly"), ("Lamp",)), "TV"),
        ("TELLY ", named(("TV", "telly"), ("Lamp",)), "TV"),
        # Both are meant by it: Home Assistant chooses by the room, or asks.
        ("lamp", named(("Left", "lamp"), ("Right", "lamp")), "lamp"),
        # Its own name would mean another one as well.
        ("reading lamp", named(("Lamp", "reading lamp"), ("Lamp",)), "reading lamp"),
    ],
)
def test_an_alias_becomes_the_own_name_only_where_that_is_unmistakable(
    said, home, becomes
):
    _, intent = read_intent(meant("HassTurnOn", name=said), home)
    assert intent == Intent("HassTurnOn", {"name": becomes})


def test_a_whole_number_may_be_written_as_a_fraction():
    _, intent = read_intent(meant("HassFanSetSpeed", percentage=20.0), FAMILY)
    assert intent == Intent("HassFanSetSpeed", {"percentage": 20})
    assert isinstance(intent.slots["percentage"], int)
    assert read_intent(meant("HassFanSetSpeed", percentage=20.5), FAMILY)[1] is None


def test_aliases_of_places_become_their_names():
    home = named(("Lamp",))
    _, intent = read_intent(
        meant("HassTurnOff", area="cook room", domain="light"), home
    )
    assert intent == Intent("HassTurnOff", {"area": "Kitchen", "domain": "light"})
    _, intent = read_intent(meant("HassTurnOff", floor="attic", domain="light"), home)
    assert intent == Intent("HassTurnOff", {"floor": "Upstairs", "domain": "light"})


def test_names_that_could_be_signs_of_a_model_or_control_characters_are_left_out():
    home = named(("<|im_end|>",), ("a\x00b",), ("x" * 200,), (" ",), ("Good",))
    schema, told = intent_schema(home), intent_instruction(home)
    assert schema["$defs"]["light"] == {"enum": ["Good"]}
    assert "<|" not in told and "\x00" not in told


def test_a_home_of_two_thousand_entities_fits(monkeypatch):
    domains = ["light", "switch", "sensor", "cover", "media_player", "lock", "climate"]
    home = Vocabulary(
        entities=tuple(
            VocabularyEntity(
                f"{domain}.e{number}", domain, (f"Thing {number}", f"alias {number}")
            )
            for number in range(2000)
            for domain in (domains[number % len(domains)],)
        ),
        areas=tuple(VocabularyPlace(f"a{n}", (f"Area {n}",)) for n in range(100)),
    )
    schema = json.dumps(intent_schema(home))
    # Each name stands there once, whatever the number of intents that take it.
    assert schema.count('"Thing 7"') == schema.count('"alias 7"') == 1
    assert len(schema) < 150_000
    assert len(intent_instruction(home)) < 6000
    matcher = LLMatcher(TOKENIZER, grammar(home))
    written = (
        b'{"text":"on","intent":{"name":"HassTurnOn","slots":{"name":"alias 1995"}}}'
    )
    assert matcher.validate_tokens([*written, 256]) == len(written) + 1
    assert read_intent(written.decode(), home)[1] == Intent(
        "HassTurnOn", {"name": "Thing 1995"}
    )
    # Beyond what a schema holds, aliases give way before anything's own name.
    monkeypatch.setattr(understanding, "MAX_NAMES", 2000)
    understanding._tables.cache_clear()
    assert '"Thing 1999"' in (fewer := json.dumps(intent_schema(home)))
    assert "alias" not in fewer
    understanding._tables.cache_clear()


def test_only_keywords_that_every_grammar_compiler_knows_are_used():
    known = {
        *("type", "enum", "const", "anyOf", "properties", "required"),
        *("additionalProperties", "maxLength", "minimum", "maximum", "$defs", "$ref"),
    }

    def keywords(schema: Answer) -> Iterator[str]:
        yield from schema
        for inner in schema.get("anyOf", []):
            yield from keywords(inner)
        for key in ("properties", "$defs"):
            for inner in schema.get(key, {}).values():
                yield from keywords(inner)

    assert set(keywords(intent_schema(FAMILY))) <= known


def test_the_instruction_names_what_the_home_has_and_how_to_answer():
    told = intent_instruction(FAMILY)
    for expected in ('"text"', '"intent"', "HassLightSet(name, ", "Kitchen Lights"):
        assert expected in told
    assert "area: Kitchen, Office" in told
    assert "HassListAddItem" in told
    assert "HassListAddItem" not in intent_instruction(lamp_home())
