"""What is said is done by Home Assistant itself, and what must not be done is not."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.helpers import (
    area_registry as ar,
    entity_registry as er,
    floor_registry as fr,
)
from homeassistant.util.dt import utcnow
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
    async_mock_service,
)

from custom_components.earshot.commands import async_run_command
from custom_components.earshot.guard import DELAYED
from custom_components.earshot.outcome import (
    NEEDS_CONFIRMATION,
    NOT_UNDERSTOOD,
    CommandOutcome,
)

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer
from .house import Calls, Furnish, called, device_in, said


async def obey(
    hass: HomeAssistant, text: str, device_id: str | None = None
) -> CommandOutcome:
    return await async_run_command(hass, said(text), device_id)


async def test_a_named_light_is_switched(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
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
    hass: HomeAssistant, calls: Calls, furnish: Furnish
) -> None:
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    furnish("light.hall", "hall lamp", "Hall")
    outcome = await obey(hass, "turn on the lights", device_in(hass, "Kitchen"))
    assert outcome.targets == ["light.kitchen"]
    assert called(calls) == [("light.turn_on", "light.kitchen")]
    assert outcome.slots["area"] == "Kitchen"


async def test_without_an_area_lights_in_general_mean_nothing(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
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
    calls: Calls,
    furnish: Furnish,
    text: str,
) -> None:
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    furnish("light.hall", "hall lamp", "Hall")
    outcome = await obey(hass, text, device_in(hass, "Kitchen"))
    assert outcome.refused is not None
    assert called(calls) == []


async def test_what_is_not_exposed_cannot_be_named(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
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
    calls: Calls,
    furnish: Furnish,
    entity_id: str,
    attributes: dict[str, Any],
    text: str,
) -> None:
    furnish(entity_id, "front thing", supported_features=15, **attributes)
    outcome = await obey(hass, text)
    assert outcome.refused == NEEDS_CONFIRMATION
    assert outcome.targets == [entity_id]
    assert called(calls) == []


async def test_a_class_that_a_person_gave_to_a_cover_counts(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
) -> None:
    furnish("cover.front", "front thing", supported_features=15)
    er.async_get(hass).async_update_entity("cover.front", device_class="garage")
    assert (await obey(hass, "open the front thing")).refused == NEEDS_CONFIRMATION
    assert called(calls) == []


async def test_blinds_and_lamps_are_moved(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
) -> None:
    furnish("cover.blind", "left blind", device_class="blind", supported_features=15)
    outcome = await obey(hass, "open the left blind")
    assert outcome.refused is None
    assert called(calls) == [("cover.open_cover", "cover.blind")]


async def test_what_stands_for_a_lock_is_protected_too(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
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
    hass: HomeAssistant, calls: Calls, furnish: Furnish
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


async def test_a_lock_in_the_room_does_not_keep_it_cold(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
) -> None:
    furnish("lock.door", "front door", "Hall")
    furnish("climate.hall", "hall heating", "Hall", supported_features=1)
    outcome = await obey(hass, "set the temperature in the hall to 20 degrees")
    assert (outcome.refused, outcome.targets) == (None, ["climate.hall"])
    assert called(calls) == [("climate.set_temperature", "climate.hall")]


@pytest.mark.parametrize(
    "text",
    [
        "unlock the front door in 5 minutes",
        "in 1 second open the front door",
        "turn on the lamp in 1 minute",
    ],
)
async def test_no_command_is_kept_for_when_no_guard_looks(
    hass: HomeAssistant, calls: Calls, furnish: Furnish, text: str
) -> None:
    furnish("lock.door", "front door")
    furnish("light.lamp", "lamp")
    outcome = await obey(hass, text)
    assert (outcome.intent, outcome.refused) == ("HassStartTimer", DELAYED)
    async_fire_time_changed(hass, utcnow() + timedelta(hours=1))
    await hass.async_block_till_done()
    assert called(calls) == []


async def test_a_question_about_a_lock_is_answered(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
) -> None:
    furnish("lock.door", "front door", state="locked")
    outcome = await obey(hass, "is the front door locked")
    assert outcome.intent == "HassGetState"
    assert outcome.refused is None
    assert outcome.targets == ["lock.door"]
    assert "yes" in outcome.response.lower()


async def test_a_floor_means_its_areas(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
) -> None:
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    furnish("light.attic", "attic lamp", "Attic")
    floor = fr.async_get(hass).async_create("ground floor")
    area = ar.async_get(hass).async_get_area_by_name("Kitchen")
    assert area is not None
    ar.async_get(hass).async_update(area.id, floor_id=floor.floor_id)
    outcome = await obey(hass, "turn on the lights on the ground floor")
    assert outcome.targets == ["light.kitchen"]


async def test_of_namesakes_none_is_chosen(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
) -> None:
    furnish("light.left", "lamp", "Kitchen")
    furnish("light.right", "lamp", "Hall")
    outcome = await obey(hass, "turn on the lamp")
    assert (outcome.intent, outcome.refused) == ("HassTurnOn", NOT_UNDERSTOOD)
    assert called(calls) == []


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
    # What people say to each other is not published.
    await stream.transcript("nothing of interest")
    await stream.transcript("unlock the front door")
    await wait_for(lambda: len(witness.on("earshot/kitchen/intent")) == 2)
    done, refused = witness.json("earshot/kitchen/intent")
    text, other = witness.json("earshot/kitchen/transcript")
    assert other["text"] == "unlock the front door"
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
        "source": "sentence",
    }
    assert done["slots"]["area"] == "Kitchen"
    assert done["response"]
    assert (refused["refused"], refused["targets"]) == (
        NEEDS_CONFIRMATION,
        ["lock.door"],
    )
    # Devices act on this topic.
    await wait_for(lambda: witness.on("earshot/intent/HassTurnOn"))
    assert witness.json("earshot/intent/HassTurnOn") == [done]
    assert not [
        m for m in witness.heard if m.topic == f"earshot/intent/{refused['intent']}"
    ]
    assert len(lights) == 1
    assert unlocked == []


async def test_what_a_model_understood_is_published_as_such(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    furnish: Furnish,
    tone: Path,
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    async_mock_service(hass, "light", "turn_on")
    unlocked = async_mock_service(hass, "lock", "unlock")
    furnish("light.kitchen", "kitchen lamp", "Kitchen")
    furnish("lock.door", "front door", "Kitchen")
    stream = await server.stream()
    for name, item in (("HassTurnOn", "kitchen lamp"), ("HassTurnOff", "front door")):
        meant = {"name": name, "slots": {"name": item}}
        await stream.transcript("do what i mean", intent=meant)
    # What a newer server may mean by it is no reason to lose the text.
    broken = {"name": ["?"], "slots": 7}
    await stream.transcript("turn on the kitchen lamp", intent=broken)
    await wait_for(lambda: len(witness.on("earshot/kitchen/intent")) == 3)
    done, refused, understood = witness.json("earshot/kitchen/intent")
    assert (understood["source"], understood["refused"]) == ("sentence", None)
    assert (done["intent"], done["source"]) == ("HassTurnOn", "model")
    assert (done["targets"], done["refused"]) == (["light.kitchen"], None)
    assert (refused["source"], refused["refused"]) == ("model", NEEDS_CONFIRMATION)
    await wait_for(lambda: len(witness.on("earshot/intent/HassTurnOn")) == 2)
    assert not witness.on("earshot/intent/HassTurnOff")
    assert unlocked == []


async def test_an_engine_that_is_away_is_told_once(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    (kitchen,) = entry.runtime_data.microphones.values()
    stream = await server.stream()
    for _ in range(2):
        await stream.transcript("", "unavailable")
        await wait_for(lambda: not kitchen.understands)
    await stream.transcript("", "no_command")
    await wait_for(lambda: kitchen.understands)
    assert caplog.text.count("the server's speech engine is away") == 1
    assert caplog.text.count("Microphone Kitchen is understood again") == 1
