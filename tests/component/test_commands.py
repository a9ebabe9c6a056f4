"""What is said is done by Home Assistant itself, and what must not be done is not."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.helpers import (
    area_registry as ar,
    config_validation as cv,
    device_registry as dr,
    entity_registry as er,
    floor_registry as fr,
)
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_mock_service,
)

from custom_components.earshot.client import Engine, Transcript
from custom_components.earshot.commands import (
    NOT_UNDERSTOOD,
    PROTECTED,
    CommandOutcome,
    async_run_command,
)

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

type Furnish = Callable[..., str]


@pytest.fixture
async def house(hass: HomeAssistant) -> None:
    """Home Assistant's voice, without a server."""
    assert await async_setup_component(hass, "homeassistant", {})
    assert await async_setup_component(hass, "intent", {})
    assert await async_setup_component(hass, "conversation", {})
    for domain in ("light", "cover", "lock", "valve"):
        assert await async_setup_component(hass, domain, {})


@pytest.fixture
def furnish(hass: HomeAssistant) -> Furnish:
    """Put an entity into the house."""

    def put(
        item: str,
        name: str,
        area: str | None = None,
        /,
        *,
        exposed: bool = True,
        state: str = "off",
        **attributes: Any,
    ) -> str:
        domain, _, slug = item.partition(".")
        entry = er.async_get(hass).async_get_or_create(
            domain, "test", slug, suggested_object_id=slug, original_name=name
        )
        if area is not None:
            area_id = ar.async_get(hass).async_get_or_create(area).id
            er.async_get(hass).async_update_entity(entry.entity_id, area_id=area_id)
        hass.states.async_set(item, state, {"friendly_name": name, **attributes})
        async_expose_entity(hass, "conversation", item, exposed)
        return item

    return put


@pytest.fixture
def calls(hass: HomeAssistant, house: None) -> dict[str, list[ServiceCall]]:
    """Every service through which something could be moved or switched."""
    services = {
        "homeassistant": ["turn_on", "turn_off", "toggle"],
        "light": ["turn_on", "turn_off"],
        "cover": ["open_cover", "close_cover", "set_cover_position"],
        "lock": ["lock", "unlock"],
        "valve": ["open_valve", "close_valve", "set_valve_position"],
        "scene": ["turn_on"],
        "alarm_control_panel": ["alarm_disarm"],
    }
    return {
        f"{domain}.{service}": async_mock_service(hass, domain, service)
        for domain, names in services.items()
        for service in names
    }


def called(calls: dict[str, list[ServiceCall]]) -> list[tuple[str, Any]]:
    """Return what was done to what; a light may be switched by either service."""
    return [
        (name.replace("homeassistant.", "light."), target)
        for name, those in calls.items()
        for call in those
        for target in cv.ensure_list(call.data["entity_id"])
    ]


def said(text: str) -> Transcript:
    return Transcript(
        "id",
        NOON,
        "kitchen",
        text=text,
        confidence=0.8,
        language="en",
        start=NOON,
        end=NOON,
        engine=Engine("fake", "1"),
    )


async def obey(
    hass: HomeAssistant, text: str, device_id: str | None = None
) -> CommandOutcome:
    return await async_run_command(hass, said(text), device_id)


def device_in(hass: HomeAssistant, area: str) -> str:
    """Return a microphone's device in an area."""
    entry = MockConfigEntry(domain="test")
    entry.add_to_hass(hass)
    device = dr.async_get(hass).async_get_or_create(
        config_entry_id=entry.entry_id, identifiers={("test", "microphone")}
    )
    area_id = ar.async_get(hass).async_get_or_create(area).id
    dr.async_get(hass).async_update_device(device.id, area_id=area_id)
    return device.id


async def test_a_named_light_is_switched(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("light.lamp", "reading lamp")
    furnish("light.other", "floor lamp")
    outcome = await obey(hass, "turn on the reading lamp")
    assert outcome.intent == "HassTurnOn"
    assert outcome.slots == {"name": "reading lamp"}
    assert outcome.targets == ["light.lamp"]
    assert outcome.refused is None
    assert "on" in outcome.response.lower()
    assert called(calls) == [("light.turn_on", "light.lamp")]


async def test_the_microphones_area_completes_a_command(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    furnish("light.hall", "hall lamp", "Hall")
    outcome = await obey(hass, "turn on the lights", device_in(hass, "Kitchen"))
    assert outcome.targets == ["light.kitchen"]
    assert called(calls) == [("light.turn_on", "light.kitchen")]
    assert outcome.slots["area"] == "Kitchen"


async def test_without_an_area_lights_in_general_mean_nothing(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    outcome = await obey(hass, "turn on the lights")
    assert outcome.refused is not None
    assert called(calls) == []


@pytest.mark.parametrize(
    "text",
    [
        "turn on the lights in the cellar",
        "turn on the kitschen lamp",
        "turn off the lamp of doom",
        "turn on the lights on the moon floor",
        "tell me a joke",
        "",
    ],
)
async def test_unknown_names_and_talk_never_widen_to_anything(
    hass: HomeAssistant,
    calls: dict[str, list[ServiceCall]],
    furnish: Furnish,
    text: str,
) -> None:
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    furnish("light.hall", "hall lamp", "Hall")
    outcome = await obey(hass, text, device_in(hass, "Kitchen"))
    assert outcome.refused is not None
    assert called(calls) == []


async def test_what_is_not_exposed_cannot_be_named(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("light.secret", "secret lamp", "Hall", exposed=False)
    furnish("light.hall", "hall lamp", "Hall")
    outcome = await obey(hass, "turn on the secret lamp")
    assert outcome.refused == NOT_UNDERSTOOD
    outcome = await obey(hass, "turn on the hall lights")
    assert outcome.targets == ["light.hall"]
    assert called(calls) == [("light.turn_on", "light.hall")]


@pytest.mark.parametrize(
    ("entity_id", "attributes", "text"),
    [
        ("lock.door", {}, "unlock the front thing"),
        ("lock.door", {}, "lock the front thing"),
        ("valve.main", {}, "open the front thing"),
        ("cover.garage", {"device_class": "garage"}, "open the front thing"),
        ("cover.gate", {"device_class": "gate"}, "open the front thing"),
        ("cover.door", {"device_class": "door"}, "set the front thing to 50%"),
        ("cover.door", {"device_class": "door"}, "close the front thing"),
    ],
)
async def test_locks_valves_and_doors_are_never_touched(
    hass: HomeAssistant,
    calls: dict[str, list[ServiceCall]],
    furnish: Furnish,
    entity_id: str,
    attributes: dict[str, Any],
    text: str,
) -> None:
    furnish(entity_id, "front thing", supported_features=15, **attributes)
    outcome = await obey(hass, text)
    assert outcome.refused == PROTECTED
    assert outcome.targets == [entity_id]
    assert called(calls) == []


async def test_a_class_that_a_person_gave_to_a_cover_counts(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("cover.front", "front thing", supported_features=15)
    er.async_get(hass).async_update_entity("cover.front", device_class="garage")
    assert (await obey(hass, "open the front thing")).refused == PROTECTED
    assert called(calls) == []


async def test_blinds_and_lamps_are_moved(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("cover.blind", "left blind", device_class="blind", supported_features=15)
    outcome = await obey(hass, "open the left blind")
    assert outcome.refused is None
    assert called(calls) == [("cover.open_cover", "cover.blind")]


async def test_what_stands_for_a_lock_is_protected_too(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("lock.door", "front door", exposed=False)
    furnish("light.inner", "inner", entity_id=["lock.door", "light.none"])
    furnish("light.group", "everything", entity_id=["light.inner", "light.group"])
    furnish("scene.leave", "leaving", entity_id=["lock.door"])
    outcome = await obey(hass, "turn on everything")
    assert outcome.targets == ["lock.door"]
    outcome = await obey(hass, "activate the leaving scene")
    assert outcome.refused is not None
    assert called(calls) == []


async def test_a_lock_in_the_room_does_not_keep_the_lights_off(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("lock.door", "front door", "Hall")
    furnish(
        "light.hall", "hall lamp", "Hall",
        supported_color_modes=["brightness"], supported_features=0,
    )  # fmt: skip
    outcome = await obey(hass, "turn on the hall lights")
    assert outcome.targets == ["light.hall"]
    outcome = await obey(hass, "set the hall brightness to 50%")
    assert outcome.intent == "HassLightSet"
    assert outcome.refused is None
    assert {name for name, _ in called(calls)} == {"light.turn_on"}


async def test_a_question_about_a_lock_is_answered(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("lock.door", "front door", state="locked")
    outcome = await obey(hass, "is the front door locked")
    assert outcome.intent == "HassGetState"
    assert outcome.refused is None
    assert outcome.targets == ["lock.door"]
    assert "yes" in outcome.response.lower()


async def test_a_floor_means_its_areas(
    hass: HomeAssistant, calls: dict[str, list[ServiceCall]], furnish: Furnish
) -> None:
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    furnish("light.attic", "attic lamp", "Attic")
    floor = fr.async_get(hass).async_create("ground floor")
    area = ar.async_get(hass).async_get_area_by_name("Kitchen")
    assert area is not None
    ar.async_get(hass).async_update(area.id, floor_id=floor.floor_id)
    outcome = await obey(hass, "turn on the lights on the ground floor")
    assert outcome.targets == ["light.kitchen"]


async def test_a_failing_device_is_told(
    hass: HomeAssistant, house: None, furnish: Furnish
) -> None:
    furnish("button.bell", "bell")
    outcome = await obey(hass, "turn off the bell")
    assert outcome.refused is not None
    assert outcome.intent in ("HassTurnOff", None)


async def test_a_spoken_command_is_done_and_published(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    furnish: Furnish,
    tone: Path,
) -> None:
    area = ar.async_get(hass).async_create("Kitchen")
    await set_up(hass, server, microphone({"url": str(tone)}, area=area.id))
    lights = async_mock_service(hass, "light", "turn_on")
    unlocked = async_mock_service(hass, "lock", "unlock")
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    furnish("lock.door", "front door", "Kitchen")
    stream = await server.stream()
    await stream.transcript("", "no_command")
    await stream.transcript("turn on the lights")
    await stream.transcript("unlock the front door")
    await stream.transcript("nothing of interest")
    await wait_for(lambda: len(witness.on("earshot/kitchen/transcript")) == 3)
    await wait_for(lambda: len(witness.on("earshot/kitchen/intent")) == 2)
    done, refused = witness.json("earshot/kitchen/intent")
    text = witness.json("earshot/kitchen/transcript")[0]
    assert text["text"] == "turn on the lights"
    assert text["confidence"] == 0.8
    assert done == {
        "id": text["id"],
        "time": text["time"],
        "microphone": "kitchen",
        "intent": "HassTurnOn",
        "slots": done["slots"],
        "text": "turn on the lights",
        "confidence": 0.8,
        "targets": ["light.kitchen"],
        "response": done["response"],
        "language": "en",
        "refused": None,
    }
    assert done["slots"]["area"] == "Kitchen"
    assert done["response"]
    assert (refused["refused"], refused["targets"]) == (PROTECTED, ["lock.door"])
    # Devices act on this topic.
    await wait_for(lambda: witness.on("earshot/intent/HassTurnOn"))
    assert witness.json("earshot/intent/HassTurnOn") == [done]
    assert not [
        m for m in witness.heard if m.topic == f"earshot/intent/{refused['intent']}"
    ]
    assert len(lights) == 1
    assert unlocked == []
