"""Sounds that last: an event of their own, a message, and why they were reported."""

from pathlib import Path

from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.earshot.event import SoundEvent, SustainedSoundEvent

from .conftest import Broker, Witness, microphone, set_up, wait_for
from .fake_server import FakeServer

BARK = "binary_sensor.kitchen_dog_barking"
EVENT = "event.kitchen_sound"
SUSTAINED = "event.kitchen_sustained_sound"
WHY = {
    "windows": [0.2, 0.7, 0.9],
    "gates": ["not_silent", "on_threshold", "k_of_n"],
    "profile": "home",
    "description": "A dog barks in a yard.",
    "clip": "01a204d0-1c3e-7a51-b0f4-5d1f0c9be7aa",
}


async def test_a_sound_that_lasts_fires_its_own_event_once(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    mqtt_entry: object,
    broker: Broker,
    witness: Witness,
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    await wait_for(lambda: hass.states.is_state(BARK, STATE_OFF))
    changes = async_capture_events(hass, "state_changed")
    await stream.sound("bark", "start", "bark-1", **WHY)
    for _ in range(2):
        await stream.sound("bark", "sustained", "bark-1", score=0.95, **WHY)
    await stream.sound("bark", "end", "bark-1", **WHY)
    await wait_for(lambda: len(witness.json("earshot/kitchen/sound")) == 3)

    fired = [c.data for c in changes if c.data["entity_id"] == SUSTAINED]
    (told,) = [change["new_state"] for change in fired]
    assert told.attributes["event_type"] == "bark"
    assert told.attributes["event_types"] == ["bark"]
    assert told.attributes["id"] == "bark-1"
    for name, value in WHY.items():
        assert told.attributes[name] == value
    assert len([c for c in changes if c.data["entity_id"] == EVENT]) == 1
    barks = [c.data["new_state"].state for c in changes if c.data["entity_id"] == BARK]
    assert [barks[0], barks[-1]] == [STATE_ON, STATE_OFF]
    await wait_for(lambda: len(witness.on("earshot/kitchen/sound/bark")) == 3)
    assert witness.on("earshot/kitchen/sound/bark") == ["OFF", "ON", "OFF"]
    messages = witness.json("earshot/kitchen/sound")
    assert [message["state"] for message in messages] == ["start", "sustained", "end"]
    assert {message["id"] for message in messages} == {"bark-1"}
    for message in messages:
        assert {name: message[name] for name in WHY} == WHY


async def test_a_rule_makes_a_label_tell_that_it_lasts(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    rules = {"smoke": {"sustain_s": 30.0}, "co": {"on": 0.7}}
    kitchen = microphone({"url": str(tone)}, labels=["smoke", "co"], rules=rules)
    await set_up(hass, server, kitchen)
    stream = await server.stream()
    assert stream.start["rules"] == rules
    await wait_for(lambda: hass.states.get(SUSTAINED))
    shown = hass.states.get(SUSTAINED)
    assert shown is not None
    assert shown.attributes["event_types"] == ["smoke"]
    # A server may tell of more than this version expects.
    await stream.sound("co", "start", "co-1")
    await stream.sound("co", "sustained", "co-1")
    await stream.sound("smoke", "start", "smoke-1")
    await stream.sound("smoke", "sustained", "smoke-1")
    ids: list[str] = []

    def told() -> bool:
        shown = hass.states.get(SUSTAINED)
        assert shown is not None
        ids.extend(filter(None, [shown.attributes.get("id")]))
        return bool(ids)

    await wait_for(told)
    assert ids == ["smoke-1"]


async def test_without_such_a_rule_there_is_no_such_event(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}, labels=["smoke"]))
    await server.stream()
    await wait_for(lambda: hass.states.get(EVENT))
    assert hass.states.get(SUSTAINED) is None


@pytest.mark.parametrize("entity", [SoundEvent, SustainedSoundEvent])
def test_what_is_big_is_not_recorded(entity: type[SoundEvent]) -> None:
    big = {"description", "scores", "windows"}
    assert big <= entity._unrecorded_attributes
    assert not {"gates", "id", "profile", "score"} & entity._unrecorded_attributes
