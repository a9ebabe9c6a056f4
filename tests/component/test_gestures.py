"""Gestures: events of their own, on a topic of their own, and never on or off."""

from pathlib import Path
import shutil
from typing import Any

from homeassistant.components import automation
from homeassistant.components.automation import helpers as automation_helpers
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
    async_mock_service,
)

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import LABELS, FakeServer

BLUEPRINTS = Path(__file__).parents[2] / "blueprints"
PROBLEM = "binary_sensor.kitchen_problem"
GESTURE = "event.kitchen_gesture"
SOUND = "event.kitchen_sound"
CLAP = {
    "slug": "double_clap",
    "name": "Double clap",
    "group": "gestures",
    "device_class": "sound",
    "default": False,
}
WHISTLE = CLAP | {"slug": "whistle_up", "name": "Whistle up"}


@pytest.fixture
def clever(server: FakeServer) -> FakeServer:
    """A server that knows gestures."""
    server.info["sounds"] = server.info["sounds"] | {"labels": [*LABELS, CLAP, WHISTLE]}
    return server


async def test_a_gesture_fires_its_own_event_and_nothing_else(
    hass: HomeAssistant, clever: FakeServer, tone: Path
) -> None:
    labels = ["smoke", "double_clap", "whistle_up"]
    await set_up(hass, clever, microphone({"url": str(tone)}, labels=labels))
    stream = await clever.stream()
    await wait_for(lambda: hass.states.get(GESTURE).state == "unknown")
    sensors = {entity.entity_id for entity in hass.states.async_all("binary_sensor")}
    assert sensors == {PROBLEM, "binary_sensor.kitchen_smoke_alarm"}
    changes = async_capture_events(hass, "state_changed")
    await stream.sound("double_clap", "start", "gesture-1", score=0.9)
    await stream.sound("double_clap", "end", "gesture-1", score=0.9)
    await stream.sound("smoke", "start", "event-1")
    await wait_for(lambda: hass.states.get(SOUND).state != "unknown")
    gesture = hass.states.get(GESTURE).attributes
    assert gesture["event_types"] == ["double_clap", "whistle_up"]
    assert (gesture["event_type"], gesture["id"]) == ("double_clap", "gesture-1")
    assert gesture["score"] == 0.9
    sound = hass.states.get(SOUND).attributes
    assert sound["event_types"] == ["smoke"]
    assert sound["event_type"] == "smoke"
    fired = [c.data["entity_id"] for c in changes if c.data["entity_id"] == GESTURE]
    assert len(fired) == 1


async def test_a_microphone_for_gestures_alone_has_no_event_of_sounds(
    hass: HomeAssistant, clever: FakeServer, tone: Path
) -> None:
    await set_up(hass, clever, microphone({"url": str(tone)}, labels=["double_clap"]))
    await wait_for(lambda: hass.states.get(GESTURE).state == "unknown")
    assert hass.states.get(SOUND) is None
    assert hass.states.async_entity_ids("binary_sensor") == [PROBLEM]


async def test_a_microphone_without_gestures_has_no_event_of_gestures(
    hass: HomeAssistant, clever: FakeServer, tone: Path
) -> None:
    await set_up(hass, clever, microphone({"url": str(tone)}, labels=["smoke"]))
    await wait_for(lambda: hass.states.get(SOUND).state == "unknown")
    assert hass.states.get(GESTURE) is None


async def test_a_gesture_is_on_its_topic_and_leaves_no_state_behind(
    hass: HomeAssistant,
    clever: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    tone: Path,
) -> None:
    labels = ["smoke", "double_clap"]
    await set_up(hass, clever, microphone({"url": str(tone)}, labels=labels))
    stream = await clever.stream()
    await wait_for(lambda: witness.on("earshot/kitchen/availability") == ["online"])
    await stream.sound("double_clap", "start", "gesture-1", score=0.9)
    await stream.sound("double_clap", "end", "gesture-1", score=0.9)
    await wait_for(lambda: len(witness.on("earshot/kitchen/sound")) == 2)
    (gesture,) = witness.json("earshot/kitchen/gesture")
    assert gesture == {
        "id": "gesture-1",
        "time": gesture["time"],
        "microphone": "kitchen",
        "gesture": "double_clap",
        "score": 0.9,
    }
    states = [one.topic for one in witness.heard if one.topic.endswith("/double_clap")]
    assert states == []
    assert witness.on("earshot/kitchen/sound/smoke") == ["OFF"]


@pytest.fixture
def blueprints(hass: HomeAssistant, tmp_path: Path) -> None:
    """Install the repository's blueprints as a person would."""
    hass.config.config_dir = str(tmp_path)
    shutil.copytree(BLUEPRINTS, tmp_path / "blueprints")


async def automate(hass: HomeAssistant, **inputs: Any) -> None:
    """Let a double clap do something."""
    hass.states.async_set(GESTURE, "unknown")
    assert await async_setup_component(hass, "homeassistant", {})
    clap = {
        "gesture_event": GESTURE,
        "gesture": "double_clap",
        "actions": [{"action": "test.act", "data": {"score": "{{ score }}"}}],
    }
    assert await async_setup_component(
        hass,
        automation.DOMAIN,
        {
            automation.DOMAIN: {
                "alias": "clap",
                "use_blueprint": {
                    "path": "earshot/gesture_action.yaml",
                    "input": clap | inputs,
                },
            }
        },
    )


async def gesture(hass: HomeAssistant, at: str, kind: str) -> None:
    """Let the event entity change."""
    hass.states.async_set(GESTURE, at, {"event_type": kind, "score": 0.9})
    await hass.async_block_till_done()


async def test_the_blueprint_is_valid(hass: HomeAssistant, blueprints: None) -> None:
    assert await async_setup_component(hass, "homeassistant", {})
    assert await async_setup_component(hass, automation.DOMAIN, {})
    found = await automation_helpers.async_get_blueprints(hass).async_get_blueprints()
    blueprint = found["earshot/gesture_action.yaml"]
    assert not isinstance(blueprint, Exception)
    assert blueprint.validate() is None
    assert set(blueprint.inputs) == {"gesture_event", "gesture", "actions"}


async def test_the_blueprint_acts_on_its_gesture_each_time_and_on_no_other(
    hass: HomeAssistant, blueprints: None
) -> None:
    acts = async_mock_service(hass, "test", "act")
    await automate(hass)
    await gesture(hass, "2026-01-01T00:00:01+00:00", "double_clap")
    assert [call.data["score"] for call in acts] == [0.9]
    await gesture(hass, "2026-01-01T00:00:05+00:00", "whistle_up")
    assert len(acts) == 1
    await gesture(hass, "2026-01-01T00:00:09+00:00", "double_clap")
    assert len(acts) == 2


async def test_the_blueprint_does_not_act_when_a_microphone_returns(
    hass: HomeAssistant, blueprints: None
) -> None:
    acts = async_mock_service(hass, "test", "act")
    await automate(hass)
    await gesture(hass, "unavailable", "double_clap")
    await gesture(hass, "2026-01-01T00:00:01+00:00", "double_clap")
    assert acts == []
