"""The shipped blueprint, in a real automation."""

import asyncio
from pathlib import Path
import shutil
from typing import Any

from homeassistant.components import automation
from homeassistant.components.automation import helpers as automation_helpers
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import area_registry as ar, entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import async_mock_service

from .conftest import wait_for

BLUEPRINTS = Path(__file__).parents[2] / "blueprints"
SMOKE = "binary_sensor.kitchen_smoke_alarm"


@pytest.fixture
def blueprints(hass: HomeAssistant, tmp_path: Path) -> None:
    """Install the repository's blueprints as a person would."""
    hass.config.config_dir = str(tmp_path)
    shutil.copytree(BLUEPRINTS, tmp_path / "blueprints")


async def automate(hass: HomeAssistant, **inputs: Any) -> None:
    """Make an automation of it."""
    assert await async_setup_component(hass, "homeassistant", {})
    hass.states.async_set(SMOKE, "off", {"friendly_name": "Kitchen Smoke alarm"})
    assert await async_setup_component(
        hass,
        automation.DOMAIN,
        {
            automation.DOMAIN: {
                "alias": "alert",
                "use_blueprint": {
                    "path": "earshot/sound_alert.yaml",
                    "input": {"sounds": [SMOKE]} | inputs,
                },
            }
        },
    )
    found = hass.states.get("automation.alert")
    assert found is not None
    assert found.state == "on"


def notify() -> dict[str, Any]:
    """Return an action that tells what it knows."""
    return {
        "action": "test.notify",
        "data": {"message": "{{ sound }} | {{ place }} | {{ heard_at }}"},
    }


async def sound(hass: HomeAssistant, before: str = "off") -> None:
    """Let the alarm sound."""
    hass.states.async_set(SMOKE, before, {"friendly_name": "Kitchen Smoke alarm"})
    await hass.async_block_till_done()
    hass.states.async_set(SMOKE, "on", {"friendly_name": "Kitchen Smoke alarm"})
    await hass.async_block_till_done()


async def test_it_is_a_valid_blueprint(hass: HomeAssistant, blueprints: None) -> None:
    assert await async_setup_component(hass, "homeassistant", {})
    assert await async_setup_component(hass, automation.DOMAIN, {})
    found = await automation_helpers.async_get_blueprints(hass).async_get_blueprints()
    blueprint = found["earshot/sound_alert.yaml"]
    assert not isinstance(blueprint, Exception)
    assert blueprint.validate() is None
    assert set(blueprint.inputs) == {"sounds", "sirens", "actions", "cool_down"}


async def test_a_sound_starts_the_sirens_and_sends_messages(
    hass: HomeAssistant, blueprints: None
) -> None:
    sirens = async_mock_service(hass, "siren", "turn_on")
    messages = async_mock_service(hass, "test", "notify")
    entry = er.async_get(hass).async_get_or_create(
        "binary_sensor", "test", "1", suggested_object_id="kitchen_smoke_alarm"
    )
    area = ar.async_get(hass).async_create("Kitchen")
    er.async_get(hass).async_update_entity(entry.entity_id, area_id=area.id)
    await automate(
        hass,
        sirens={"entity_id": ["siren.hall"]},
        actions=[notify()],
        cool_down=0,
    )
    await sound(hass)
    assert [call.data["entity_id"] for call in sirens] == [["siren.hall"]]
    (message,) = messages
    name, place, heard_at = message.data["message"].split(" | ")
    assert (name, place) == ("Kitchen Smoke alarm", "Kitchen")
    assert heard_at.startswith("20")
    await sound(hass)
    assert len(sirens) == 2


async def test_messages_go_out_without_and_despite_sirens(
    hass: HomeAssistant, blueprints: None
) -> None:
    messages = async_mock_service(hass, "test", "notify")
    await automate(hass, actions=[notify()], cool_down=0)
    await sound(hass)
    assert len(messages) == 1


async def test_a_siren_that_fails_does_not_stop_the_messages(
    hass: HomeAssistant, blueprints: None
) -> None:
    sirens = async_mock_service(
        hass, "siren", "turn_on", raise_exception=HomeAssistantError("no answer")
    )
    messages = async_mock_service(hass, "test", "notify")
    await automate(
        hass,
        sirens={"entity_id": "siren.hall"},
        actions=[notify()],
        cool_down=0,
    )
    await sound(hass)
    assert len(sirens) == 1
    assert len(messages) == 1


async def test_it_does_not_alert_again_during_the_cool_down(
    hass: HomeAssistant, blueprints: None
) -> None:
    messages = async_mock_service(hass, "test", "notify")
    await automate(hass, actions=[notify()], cool_down=600)
    # Not async_block_till_done: it would wait for the cool-down.
    hass.states.async_set(SMOKE, "on")
    await wait_for(lambda: messages)
    hass.states.async_set(SMOKE, "off")
    hass.states.async_set(SMOKE, "on")
    await asyncio.sleep(0.2)
    assert len(messages) == 1
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": "automation.alert"}, blocking=True
    )


async def test_a_microphone_that_returns_in_an_alarm_does_not_alert_again(
    hass: HomeAssistant, blueprints: None
) -> None:
    messages = async_mock_service(hass, "test", "notify")
    await automate(hass, actions=[notify()], cool_down=0)
    await sound(hass, before="unavailable")
    assert messages == []
