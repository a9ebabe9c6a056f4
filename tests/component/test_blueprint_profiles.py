"""The blueprints of profiles and of sounds that last, in real automations."""

from typing import Any

from freezegun.api import FrozenDateTimeFactory
from homeassistant.components import automation
from homeassistant.components.automation import helpers as automation_helpers
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.helpers import area_registry as ar, entity_registry as er
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    async_fire_time_changed,
    async_mock_service,
)

from .test_blueprint import blueprints

assert blueprints

PROFILE = "select.server_profile"
SUSTAINED = "event.kitchen_sustained_sound"
TEN = "2026-11-22T12:10:00.000+00:00"
NOON = "2026-11-22T12:00:00+00:00"


async def automate(hass: HomeAssistant, path: str, **inputs: Any) -> None:
    """Make an automation of a blueprint."""
    assert await async_setup_component(hass, "homeassistant", {})
    use = {"path": f"earshot/{path}.yaml", "input": inputs}
    assert await async_setup_component(
        hass,
        automation.DOMAIN,
        {automation.DOMAIN: {"alias": "it", "use_blueprint": use}},
    )
    found = hass.states.get("automation.it")
    assert found is not None
    assert found.state == "on"


@pytest.mark.parametrize(
    ("path", "inputs"),
    [
        ("profile_schedule", {"profile", "night", "morning"}),
        ("sustained_sound", {"microphones", "sounds", "actions"}),
    ],
)
async def test_it_is_a_valid_blueprint(
    hass: HomeAssistant, blueprints: None, path: str, inputs: set[str]
) -> None:
    assert await async_setup_component(hass, "homeassistant", {})
    assert await async_setup_component(hass, automation.DOMAIN, {})
    found = await automation_helpers.async_get_blueprints(hass).async_get_blueprints()
    blueprint = found[f"earshot/{path}.yaml"]
    assert not isinstance(blueprint, Exception)
    assert blueprint.validate() is None
    assert set(blueprint.inputs) == inputs


async def test_night_and_morning_come_by_themselves(
    hass: HomeAssistant, blueprints: None, freezer: FrozenDateTimeFactory
) -> None:
    await hass.config.async_set_time_zone("UTC")
    freezer.move_to("2026-11-22T12:00:00+00:00")
    chosen = async_mock_service(hass, "select", "select_option")
    hass.states.async_set(PROFILE, "home")
    await automate(hass, "profile_schedule", profile=PROFILE, night="23:00:00")

    async def at(time: str) -> list[str]:
        chosen.clear()
        freezer.move_to(time)
        async_fire_time_changed(hass, dt_util.utcnow())
        await hass.async_block_till_done()
        assert all(call.data["entity_id"] == [PROFILE] for call in chosen)
        return [call.data["option"] for call in chosen]

    assert await at("2026-11-22T22:30:01+00:00") == []
    assert await at("2026-11-22T23:00:01+00:00") == ["night"]
    hass.states.async_set(PROFILE, "night")
    assert await at("2026-11-23T06:30:01+00:00") == ["home"]
    # Who is away is not home because it is morning.
    hass.states.async_set(PROFILE, "away")
    assert await at("2026-11-23T23:00:01+00:00") == []


async def sustained(
    hass: HomeAssistant, blueprints: None, **inputs: Any
) -> list[ServiceCall]:
    """Return the messages of an automation for sounds that last."""
    messages = async_mock_service(hass, "test", "notify")
    template = "{{ sound }} | {{ place }} | {{ since }} | {{ minutes }}"
    hass.states.async_set(SUSTAINED, "unknown")
    await automate(
        hass,
        "sustained_sound",
        microphones=[SUSTAINED],
        actions=[{"action": "test.notify", "data": {"message": template}}],
        **inputs,
    )
    return messages


async def fire(hass: HomeAssistant, label: str = "dog_bark") -> None:
    """Let a sound have gone on for long."""
    hass.states.async_set(SUSTAINED, TEN, {"event_type": label, "start": NOON})
    await hass.async_block_till_done()


async def test_what_lasts_is_told_with_its_place_and_time(
    hass: HomeAssistant, blueprints: None
) -> None:
    entry = er.async_get(hass).async_get_or_create(
        "event", "test", "1", suggested_object_id="kitchen_sustained_sound"
    )
    area = ar.async_get(hass).async_create("Kitchen")
    er.async_get(hass).async_update_entity(entry.entity_id, area_id=area.id)
    messages = await sustained(hass, blueprints)
    await fire(hass)
    (message,) = messages
    sound, place, since, minutes = message.data["message"].split(" | ")
    assert (sound, place, minutes) == ("dog bark", "Kitchen", "10")
    assert dt_util.parse_datetime(since) == dt_util.parse_datetime(NOON)


async def test_only_chosen_sounds_are_told(
    hass: HomeAssistant, blueprints: None
) -> None:
    messages = await sustained(hass, blueprints, sounds=["running_water"])
    await fire(hass)
    assert messages == []


async def test_a_microphone_that_goes_and_returns_tells_nothing(
    hass: HomeAssistant, blueprints: None
) -> None:
    messages = await sustained(hass, blueprints)
    hass.states.async_set(SUSTAINED, "unavailable")
    await hass.async_block_till_done()
    await fire(hass)
    hass.states.async_set(SUSTAINED, "unavailable")
    await hass.async_block_till_done()
    assert messages == []
