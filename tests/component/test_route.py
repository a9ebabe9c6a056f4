"""Devices that only an MQTT broker knows: named, told, and believed when they report."""

import asyncio
from collections.abc import Awaitable, Callable
import json
from typing import Any

from homeassistant.components import mqtt
from homeassistant.components.homeassistant.exposed_entities import (
    async_expose_entity,
    async_should_expose,
)
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntry,
    ConfigSubentryData,
    SubentryFlowResult,
)
from homeassistant.core import HomeAssistant, State
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import area_registry as ar, device_registry as dr
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import mock_restore_cache

from custom_components.earshot import route as route_module
from custom_components.earshot.commands import async_run_command
from custom_components.earshot.const import ASSISTANT, DOMAIN
from custom_components.earshot.outcome import (
    NEEDS_CONFIRMATION,
    NO_ANSWER,
    CommandOutcome,
)
from custom_components.earshot.route_presets import preset
from custom_components.earshot.vocabulary import async_build

from .conftest import Broker, Witness, set_up, wait_for
from .fake_server import FakeServer
from .house import said

type Say = Callable[[str], Awaitable[CommandOutcome]]


def device(kind: str, title: str, settings: dict[str, Any]) -> ConfigSubentryData:
    """Return an MQTT device as its dialog keeps it."""
    extra = {"device_class": "blind"} if kind == "cover" else {}
    return ConfigSubentryData(
        data={"kind": kind, "aliases": [], "retain": False, **extra, **settings},
        subentry_type="mqtt_device",
        title=title,
        unique_id=None,
    )


@pytest.fixture
def say(hass: HomeAssistant) -> Say:
    """Say something to the house."""

    async def speak(text: str) -> CommandOutcome:
        return await async_run_command(hass, said(text), None)

    return speak


@pytest.fixture
async def voice(hass: HomeAssistant, server: FakeServer) -> None:
    """Home Assistant understands sentences."""
    for component in ("intent", "conversation"):
        assert await async_setup_component(hass, component, {})


@pytest.fixture
async def air(broker: Broker) -> Any:
    """All that is said on the broker."""
    witness = Witness()
    # "#" shows what others retained; the first report ends the waiting for it.
    await witness.start(broker.port, "+/#")
    yield witness
    await witness.stop()


async def obedient(
    hass: HomeAssistant, topic: str, answer: Callable[[mqtt.ReceiveMessage], Any]
) -> None:
    """Be a device on the broker: answer what comes on a topic, as (topic, payload)."""

    async def heard(message: mqtt.ReceiveMessage) -> None:
        where, what = answer(message)
        await mqtt.async_publish(hass, where, what)

    await mqtt.async_subscribe(hass, topic, heard)
    # Home Assistant gathers subscriptions for a moment.
    await asyncio.sleep(1)


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_tasmota_switches_and_reports(
    hass: HomeAssistant, server: FakeServer, say: Say
) -> None:
    await set_up(
        hass, server, device("switch", "Fountain", preset("tasmota", "switch", "pump"))
    )
    assert hass.states.get("switch.fountain").state == "unknown"
    await obedient(
        hass,
        "cmnd/pump/POWER",
        lambda message: ("stat/pump/RESULT", json.dumps({"POWER": message.payload})),
    )
    outcome = await say("turn on the fountain")
    assert (outcome.refused, outcome.targets) == (None, ["switch.fountain"])
    assert hass.states.get("switch.fountain").state == "on"
    outcome = await say("turn off the fountain")
    assert outcome.refused is None
    assert hass.states.get("switch.fountain").state == "off"
    # Somebody pressed its button.
    await mqtt.async_publish(hass, "stat/pump/RESULT", '{"POWER":"ON"}')
    await wait_for(lambda: hass.states.get("switch.fountain").state == "on")
    # Neither is a state.
    for payload in ('{"Uptime":"1T"}', "garbage", "[]", '{"POWER":"MAYBE"}'):
        await mqtt.async_publish(hass, "stat/pump/RESULT", payload)
    await mqtt.async_publish(hass, "stat/pump/RESULT", '{"POWER":"OFF"}')
    await wait_for(lambda: hass.states.get("switch.fountain").state == "off")


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_zigbee2mqtt_dims_a_light(
    hass: HomeAssistant, server: FakeServer, say: Say
) -> None:
    settings = preset("zigbee2mqtt", "light", "desk")
    await set_up(hass, server, device("light", "Desk lamp", settings))
    told: list[dict[str, Any]] = []

    def answer(message: mqtt.ReceiveMessage) -> tuple[str, str]:
        told.append(json.loads(message.payload))
        return "zigbee2mqtt/desk", json.dumps({"state": "ON", **told[-1]})

    await obedient(hass, "zigbee2mqtt/desk/set", answer)
    outcome = await say("set the desk lamp brightness to 50 percent")
    assert outcome.refused is None
    assert told == [{"brightness": 127}]
    state = hass.states.get("light.desk_lamp")
    assert (state.state, state.attributes["brightness"]) == ("on", 128)
    assert (await say("turn off the desk lamp")).refused is None
    assert told[-1] == {"state": "OFF"}
    assert hass.states.get("light.desk_lamp").state == "off"
    assert (await say("turn on the desk lamp")).refused is None
    assert told[-1] == {"state": "ON"}


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_tasmotas_shutter_has_a_topic_for_each_command(
    hass: HomeAssistant, server: FakeServer, say: Say
) -> None:
    settings = preset("tasmota", "cover", "blind")
    await set_up(hass, server, device("cover", "Office blind", settings))
    told: list[tuple[str, str]] = []
    moved = {"Open1": 100, "Close1": 0}

    def answer(message: mqtt.ReceiveMessage) -> tuple[str, str]:
        what = message.topic.partition("Shutter")[2]
        told.append((what, message.payload))
        position = moved.get(what, message.payload or 0)
        return "stat/blind/RESULT", json.dumps(
            {"Shutter1": {"Position": int(position)}}
        )

    await obedient(hass, "cmnd/blind/+", answer)
    for text, expected, position in (
        ("open the office blind", ("Open1", ""), 100),
        ("set the office blind position to 40 percent", ("Position1", "40"), 40),
        ("close the office blind", ("Close1", ""), 0),
    ):
        outcome = await say(text)
        assert (outcome.refused, told[-1]) == (None, expected), text
        state = hass.states.get("cover.office_blind")
        assert state.attributes["current_position"] == position
        assert state.state == ("open" if position else "closed")
    await hass.services.async_call(
        "cover", "stop_cover", {"entity_id": "cover.office_blind"}, blocking=True
    )
    await wait_for(lambda: told[-1] == ("Stop1", ""))


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_zigbee2mqtt_moves_a_cover(
    hass: HomeAssistant, server: FakeServer, say: Say
) -> None:
    settings = preset("zigbee2mqtt", "cover", "curtain")
    await set_up(hass, server, device("cover", "Curtain", settings))
    told: list[Any] = []

    def answer(message: mqtt.ReceiveMessage) -> tuple[str, str]:
        told.append(json.loads(message.payload))
        return "zigbee2mqtt/curtain", json.dumps(told[-1])

    await obedient(hass, "zigbee2mqtt/curtain/set", answer)
    assert (await say("set the curtain position to 30 percent")).refused is None
    assert told == [{"position": 30}]
    assert hass.states.get("cover.curtain").attributes["current_position"] == 30


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_without_reports_what_was_told_is_assumed_and_kept(
    hass: HomeAssistant, server: FakeServer, say: Say, air: Witness
) -> None:
    mock_restore_cache(
        hass,
        [
            State("switch.bell", "on"),
            State("light.glow", "on", {"brightness": 51}),
            State("cover.awning", "open", {"current_position": 60}),
        ],
    )
    plain = {"command_payload": "{{ command }}", "level_payload": "{{ value }}"}
    await set_up(
        hass,
        server,
        device("switch", "Bell", {**plain, "command_topic": "house/bell"}),
        device(
            "light",
            "Glow",
            {
                **plain,
                "command_topic": "house/glow",
                "level_topic": "house/glow/level",
                "level_max": 10,
            },
        ),
        device(
            "cover",
            "Awning",
            {
                **plain,
                "command_topic": "house/awning",
                "level_topic": "house/awning/{{ command }}",
                "level_max": 100,
                "retain": True,
            },
        ),
    )
    bell = hass.states.get("switch.bell")
    assert (bell.state, bell.attributes["assumed_state"]) == ("on", True)
    assert hass.states.get("light.glow").attributes["brightness"] == 51
    assert hass.states.get("cover.awning").attributes["current_position"] == 60

    assert (await say("turn off the bell")).refused is None
    assert hass.states.get("switch.bell").state == "off"
    assert (await say("set the glow brightness to 70 percent")).refused is None
    assert hass.states.get("light.glow").state == "on"
    assert (await say("set the awning position to 20 percent")).refused is None
    assert hass.states.get("cover.awning").attributes["current_position"] == 20
    assert (await say("close the awning")).refused is None
    assert hass.states.get("cover.awning").state == "closed"
    await wait_for(lambda: air.on("house/awning"))
    assert air.on("house/bell") == ["off"]
    assert air.on("house/glow/level") == ["7"]
    assert air.on("house/awning/level") == ["20"]
    assert air.on("house/awning") == ["close"]


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_a_device_that_does_not_answer_is_told_of(
    hass: HomeAssistant,
    server: FakeServer,
    say: Say,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(route_module, "ANSWER_S", 0.3)
    await set_up(
        hass,
        server,
        device("switch", "Fountain", preset("own", "switch", "garden/pump")),
    )
    outcome = await say("turn on the fountain")
    assert outcome.refused == NO_ANSWER
    assert outcome.targets == ["switch.fountain"]
    assert outcome.response == "Fountain did not answer."
    assert hass.states.get("switch.fountain").state == "unknown"

    # It answers, but it is not on.
    await obedient(hass, "garden/pump/set", lambda _: ("garden/pump/state", "OFF"))
    assert (await say("turn on the fountain")).refused == NO_ANSWER
    assert hass.states.get("switch.fountain").state == "off"
    assert (await say("turn off the fountain")).refused is None


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_a_garage_door_needs_a_yes(
    hass: HomeAssistant, server: FakeServer, say: Say, air: Witness
) -> None:
    settings = preset("own", "cover", "garage") | {"device_class": "garage"}
    await set_up(hass, server, device("cover", "Garage", settings))
    assert (await say("open the garage")).refused == NEEDS_CONFIRMATION
    await mqtt.async_publish(hass, "after/all", "1")
    await wait_for(lambda: air.on("after/all"))
    assert air.on("garage/set") == []


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_without_the_broker_it_is_unavailable_and_back_with_it(
    hass: HomeAssistant, server: FakeServer, broker: Broker, say: Say
) -> None:
    await set_up(
        hass, server, device("switch", "Fountain", preset("own", "switch", "pump"))
    )
    await broker.stop()
    await wait_for(lambda: hass.states.get("switch.fountain").state == "unavailable")
    assert (await say("turn on the fountain")).refused == NO_ANSWER
    await broker.start()
    await wait_for(lambda: hass.states.get("switch.fountain").state == "unknown")


@pytest.mark.usefixtures("voice")
async def test_without_mqtt_it_cannot_be_told(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(
        hass, server, device("switch", "Fountain", preset("own", "switch", "pump"))
    )
    assert hass.states.get("switch.fountain").state == "unavailable"


@pytest.mark.usefixtures("mqtt_entry", "voice")
@pytest.mark.parametrize(
    ("field", "template"),
    [
        ("command_topic", "pump/{{ '#' }}"),
        ("command_payload", "{{ 1 / 0 }}"),
    ],
)
async def test_a_template_that_fails_says_whose_it_is(
    hass: HomeAssistant, server: FakeServer, field: str, template: str
) -> None:
    settings = preset("own", "switch", "pump") | {field: template}
    await set_up(hass, server, device("switch", "Fountain", settings))
    with pytest.raises(HomeAssistantError, match="route_template|Fountain"):
        await hass.services.async_call(
            "switch", "turn_on", {"entity_id": "switch.fountain"}, blocking=True
        )


async def begin(
    hass: HomeAssistant, entry: ConfigEntry, **first: str
) -> SubentryFlowResult:
    """Open the dialog and answer its first page."""
    flow = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "mqtt_device"), context={"source": SOURCE_USER}
    )
    if flow["type"] is not FlowResultType.FORM:
        return flow
    assert flow["step_id"] == "user"
    answers = {"preset": "own", "kind": "switch", "device_topic": "pump", **first}
    return await fill(hass, flow, answers)


async def fill(
    hass: HomeAssistant, flow: SubentryFlowResult, data: dict[str, Any]
) -> SubentryFlowResult:
    """Submit a form."""
    return await hass.config_entries.subentries.async_configure(flow["flow_id"], data)


def suggested(flow: SubentryFlowResult) -> dict[str, Any]:
    """Return what a form is filled with."""
    return {
        str(key): key.description["suggested_value"]
        for key in flow["data_schema"].schema
        if key.description and "suggested_value" in key.description
    }


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_a_device_is_added_and_can_be_said_at_once(
    hass: HomeAssistant, server: FakeServer, say: Say
) -> None:
    entry = await set_up(hass, server)
    area = ar.async_get(hass).async_create("Garden")
    flow = await begin(hass, entry, preset="tasmota", device_topic=" pump/ ")
    assert flow["step_id"] == "device"
    filled = suggested(flow)
    assert filled["command_topic"] == "cmnd/pump/POWER"
    flow = await fill(
        hass,
        flow,
        {
            "name": " Fountain ",
            "aliases": ["water feature", " ", "water feature"],
            "area": area.id,
            **filled,
        },
    )
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    # Home Assistant puts the area before its name.
    fountain = "switch.garden_fountain"
    await wait_for(lambda: hass.states.get(fountain))
    assert async_should_expose(hass, ASSISTANT, fountain)
    (entity,) = [one for one in async_build(hass, "en").entities if one.id == fountain]
    assert (entity.names, entity.area) == (("Fountain", "water feature"), area.id)
    await obedient(
        hass,
        "cmnd/pump/POWER",
        lambda message: ("stat/pump/RESULT", json.dumps({"POWER": message.payload})),
    )
    assert (await say("turn on the water feature")).refused is None
    assert hass.states.get(fountain).state == "on"


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_a_device_is_changed_and_what_its_owner_hid_stays_hidden(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(
        hass, server, device("switch", "Fountain", preset("own", "switch", "pump"))
    )
    async_expose_entity(hass, ASSISTANT, "switch.fountain", False)
    area = ar.async_get(hass).async_create("Garden")
    (subentry,) = entry.subentries.values()
    flow = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "mqtt_device"),
        context={"source": SOURCE_RECONFIGURE, "subentry_id": subentry.subentry_id},
    )
    shown = suggested(flow)
    assert (shown["name"], shown["command_topic"]) == ("Fountain", "pump/set")
    shown.pop("area")
    changed = {**shown, "name": "Spring", "aliases": ["well"], "area": area.id}
    flow = await fill(hass, flow, changed)
    assert (flow["type"], flow["reason"]) == (
        FlowResultType.ABORT,
        "reconfigure_successful",
    )
    await hass.async_block_till_done()
    (subentry,) = entry.subentries.values()
    assert (subentry.title, subentry.data["aliases"]) == ("Spring", ["well"])
    assert not async_should_expose(hass, ASSISTANT, "switch.fountain")
    found = dr.async_get(hass).async_get_device_by_identifier(
        (DOMAIN, subentry.subentry_id), entry.entry_id
    )
    assert found is not None
    assert (found.name, found.area_id) == ("Spring", area.id)
    async_expose_entity(hass, ASSISTANT, "switch.fountain", True)
    (entity,) = [
        one for one in async_build(hass, "en").entities if one.id == "switch.fountain"
    ]
    assert entity.names == ("Spring", "well")


@pytest.mark.usefixtures("mqtt_entry", "voice")
@pytest.mark.parametrize(
    ("wrong", "field", "error"),
    [
        ({"name": " "}, "name", "name_missing"),
        ({"command_topic": "pump/#"}, "command_topic", "invalid_topic"),
        ({"command_topic": "earshot/x"}, "command_topic", "own_topic"),
        ({"level_topic": "earshot"}, "level_topic", "own_topic"),
        ({"state_topic": "pump/a+"}, "state_topic", "invalid_topic"),
        ({"state_topic": "earshot/#"}, "state_topic", "own_topic"),
        ({"command_topic": "{{ x"}, "command_topic", "invalid_template"),
        ({"state_template": ""}, "state_template", "template_missing"),
    ],
)
async def test_what_is_wrong_is_said_at_its_field(
    hass: HomeAssistant,
    server: FakeServer,
    wrong: dict[str, str],
    field: str,
    error: str,
) -> None:
    entry = await set_up(hass, server)
    flow = await begin(hass, entry, kind="light")
    right = {"name": "Fountain", **suggested(flow)}
    flow = await fill(hass, flow, {**right, **wrong})
    assert flow["type"] is FlowResultType.FORM
    assert flow["errors"] == {field: error}
    flow = await fill(hass, flow, right)
    assert flow["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.usefixtures("mqtt_entry", "voice")
async def test_a_first_page_with_a_wrong_topic_is_asked_again(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    flow = await begin(hass, entry, device_topic="/+/")
    assert (flow["step_id"], flow["errors"]) == (
        "user",
        {"device_topic": "invalid_topic"},
    )


@pytest.mark.usefixtures("voice")
async def test_without_mqtt_or_server_none_is_added(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(
        hass, server, device("switch", "Fountain", preset("own", "switch", "pump"))
    )
    assert (await begin(hass, entry))["reason"] == "mqtt_missing"
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert (await begin(hass, entry))["reason"] == "entry_not_loaded"
    (subentry,) = entry.subentries.values()
    flow = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "mqtt_device"),
        context={"source": SOURCE_RECONFIGURE, "subentry_id": subentry.subentry_id},
    )
    assert flow["reason"] == "entry_not_loaded"


def test_every_preset_has_all_that_a_device_needs() -> None:
    for name in ("tasmota", "zigbee2mqtt", "own"):
        for kind in ("switch", "light", "cover"):
            settings = preset(name, kind, "x")
            assert {"command_topic", "command_payload", "state_topic"} <= set(settings)
            assert ("level_topic" in settings) == (name != "own" and kind != "switch")
