"""What a person sees of a microphone: events, binary sensors, level, switch."""

from pathlib import Path

from homeassistant.components.binary_sensor import BinarySensorDeviceClass
from homeassistant.const import (
    ATTR_DEVICE_CLASS,
    ATTR_ENTITY_ID,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
)
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import device_registry as dr, entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import (
    async_capture_events,
    mock_restore_cache,
)

from custom_components.earshot.const import DOMAIN

from .conftest import microphone, set_up, wait_for
from .fake_server import FakeServer, FakeStream

SMOKE = "binary_sensor.kitchen_smoke_alarm"
BARK = "binary_sensor.kitchen_dog_barking"
EVENT = "event.kitchen_sound"
LEVEL = "sensor.kitchen_level"
SWITCH = "switch.kitchen_listening"


def state(hass: HomeAssistant, entity_id: str) -> str:
    """Return a state, or "gone"."""
    found = hass.states.get(entity_id)
    return found.state if found else "gone"


async def hearing(
    hass: HomeAssistant, server: FakeServer, number: int = 1
) -> FakeStream:
    """Wait until the microphone hears."""
    stream = await server.stream(number)
    await wait_for(lambda: state(hass, SMOKE) == STATE_OFF)
    return stream


async def test_a_sound_fires_once_and_turns_its_sensor_on_and_off(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    changes = async_capture_events(hass, "state_changed")
    await stream.sound("smoke", "start", "event-1", score=0.9)
    await wait_for(lambda: state(hass, SMOKE) == STATE_ON)
    heard = hass.states.get(EVENT)
    assert heard is not None
    attributes = heard.attributes
    assert attributes["event_type"] == "smoke"
    assert attributes["event_types"] == ["smoke", "co", "bark"]
    assert attributes["id"] == "event-1"
    assert attributes["score"] == 0.9
    assert attributes["threshold"] == 0.5
    assert attributes["scores"] == {"smoke": 0.9}
    assert attributes["engine"] == "fake 1"
    assert attributes["verified"] is False
    assert attributes["start"]
    assert state(hass, BARK) == STATE_OFF
    await stream.sound("smoke", "end", "event-1")
    await wait_for(lambda: state(hass, SMOKE) == STATE_OFF)
    fired = [c for c in changes if c.data["entity_id"] == EVENT]
    assert len(fired) == 1


async def test_each_label_has_its_device_class_and_name(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(
        hass,
        server,
        microphone({"url": str(tone)}, labels=["smoke", "co", "bark", "dripping_tap"]),
    )
    await hearing(hass, server)
    classes = {
        entity.entity_id: entity.attributes[ATTR_DEVICE_CLASS]
        for entity in hass.states.async_all("binary_sensor")
    }
    assert classes == {
        SMOKE: BinarySensorDeviceClass.SMOKE,
        "binary_sensor.kitchen_carbon_monoxide_alarm": BinarySensorDeviceClass.CO,
        BARK: BinarySensorDeviceClass.SOUND,
        "binary_sensor.kitchen_problem": BinarySensorDeviceClass.PROBLEM,
        # A label this version does not know carries the server's name.
        "binary_sensor.kitchen_dripping_tap": BinarySensorDeviceClass.SOUND,
    }


async def test_entities_are_unavailable_while_the_microphone_does_not_hear(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    await hearing(hass, server)
    await server.stop()
    await wait_for(lambda: state(hass, SMOKE) == STATE_UNAVAILABLE)
    assert state(hass, EVENT) == STATE_UNAVAILABLE
    assert state(hass, SWITCH) == STATE_ON
    await server.start()
    await hearing(hass, server, 2)
    assert state(hass, EVENT) != STATE_UNAVAILABLE


async def test_an_alarm_through_a_restart_is_one_event(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    changes = async_capture_events(hass, "state_changed")
    await stream.sound("smoke", "start", "event-1")
    await wait_for(lambda: state(hass, SMOKE) == STATE_ON)
    await server.stop()
    await wait_for(lambda: state(hass, SMOKE) == STATE_UNAVAILABLE)
    await server.start()
    stream = await server.stream(2)
    await wait_for(lambda: state(hass, SMOKE) == STATE_ON)
    await stream.sound("smoke", "start", "event-2")
    await stream.sound("smoke", "end", "event-2")
    await wait_for(lambda: state(hass, SMOKE) == STATE_OFF)
    ids = {
        change.data["new_state"].attributes.get("id")
        for change in changes
        if change.data["entity_id"] == EVENT
    }
    assert ids - {None} == {"event-1"}


async def test_a_label_that_was_not_chosen_does_not_disturb(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}, labels=["smoke"]))
    stream = await hearing(hass, server)
    await stream.sound("bark", "start", "event-1")
    await stream.sound("smoke", "start", "event-2")
    await wait_for(lambda: state(hass, SMOKE) == STATE_ON)
    heard = hass.states.get(EVENT)
    assert heard is not None
    assert heard.attributes["event_type"] == "smoke"
    assert entry.runtime_data.publisher.waiting == 1


async def test_the_level_is_off_by_default_and_does_not_flood(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    entity_registry: er.EntityRegistry,
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    registered = entity_registry.async_get(LEVEL)
    assert registered is not None
    assert registered.disabled_by is er.RegistryEntryDisabler.INTEGRATION
    entity_registry.async_update_entity(LEVEL, disabled_by=None)
    await hass.config_entries.async_reload(entry.entry_id)
    stream = await hearing(hass, server, len(server.streams) + 1)
    changes = async_capture_events(hass, "state_changed")
    for second in range(12):
        await stream.level(-40.04 - second, later_s=second)
    await wait_for(lambda: state(hass, LEVEL) == "-50.0")
    levels = [c for c in changes if c.data["entity_id"] == LEVEL]
    assert [c.data["new_state"].state for c in levels] == ["-40.0", "-50.0"]
    shown = hass.states.get(LEVEL)
    assert shown is not None
    assert shown.attributes["unit_of_measurement"] == "dB"


async def test_the_switch_stops_and_starts_the_stream(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    await stream.sound("smoke", "start", "event-1")
    await wait_for(lambda: state(hass, SMOKE) == STATE_ON)
    for _ in range(2):
        await hass.services.async_call(
            "switch", "turn_off", {ATTR_ENTITY_ID: SWITCH}, blocking=True
        )
    await stream.closed.wait()
    assert state(hass, SWITCH) == STATE_OFF
    assert state(hass, SMOKE) == STATE_UNAVAILABLE
    for _ in range(2):
        await hass.services.async_call(
            "switch", "turn_on", {ATTR_ENTITY_ID: SWITCH}, blocking=True
        )
    await hearing(hass, server, 2)
    assert state(hass, SWITCH) == STATE_ON
    assert len(server.streams) == 2


async def test_a_microphone_that_was_off_stays_off_after_a_restart(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    mock_restore_cache(hass, [State(SWITCH, STATE_OFF)])
    await set_up(hass, server, microphone({"url": str(tone)}))
    assert state(hass, SWITCH) == STATE_OFF
    assert state(hass, SMOKE) == STATE_UNAVAILABLE
    assert server.streams == []


async def test_a_microphone_with_nothing_to_listen_for_says_so(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.info["speech"] = None
    await set_up(hass, server, microphone({"url": str(tone)}, sounds=False))
    await wait_for(lambda: "nothing to listen for" in caplog.text)
    assert server.streams == []
    assert hass.states.get("stt.server_speech_to_text") is None


async def test_devices_hang_together(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    device_registry: dr.DeviceRegistry,
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    (subentry,) = entry.subentries.values()
    of_server = device_registry.async_get_device_by_identifier(
        (DOMAIN, entry.entry_id), entry.entry_id
    )
    of_microphone = device_registry.async_get_device_by_identifier(
        (DOMAIN, subentry.subentry_id), entry.entry_id
    )
    assert of_server is not None
    assert of_microphone is not None
    assert of_microphone.via_device_id == of_server.id
    assert of_server.sw_version == "0.1.0"
    assert of_microphone.name == "Kitchen"
