"""A house to speak to: entities, a microphone's device, and what was done to them."""

from datetime import UTC, datetime
from typing import Any, Protocol

from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.helpers import (
    area_registry as ar,
    config_validation as cv,
    device_registry as dr,
    entity_registry as er,
)
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_mock_service,
)

from custom_components.earshot.client import Engine, Intent, Transcript

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


type Calls = dict[str, list[ServiceCall]]


class Furnish(Protocol):
    """Put an entity into the house."""

    def __call__(
        self,
        item: str,
        name: str,
        area: str | None = None,
        /,
        *,
        exposed: bool = True,
        state: str = "off",
        **attributes: Any,
    ) -> str:
        """Return its id."""


@pytest.fixture
async def house(hass: HomeAssistant) -> None:
    """Home Assistant's voice, without a server."""
    assert await async_setup_component(hass, "homeassistant", {})
    assert await async_setup_component(hass, "intent", {})
    assert await async_setup_component(hass, "conversation", {})
    for domain in ("light", "cover", "lock", "valve", "climate", "fan", "vacuum"):
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
def calls(hass: HomeAssistant, house: None) -> Calls:
    """Every service through which something could be moved or switched."""
    services = {
        "homeassistant": ["turn_on", "turn_off", "toggle"],
        "light": ["turn_on", "turn_off"],
        "switch": ["turn_on", "turn_off"],
        "cover": ["open_cover", "close_cover", "set_cover_position"],
        "lock": ["lock", "unlock"],
        "valve": ["open_valve", "close_valve", "set_valve_position"],
        "scene": ["turn_on"],
        "alarm_control_panel": ["alarm_disarm"],
        "climate": ["set_temperature"],
        "fan": ["turn_on", "turn_off", "set_percentage"],
        "script": ["turn_on"],
        "media_player": ["media_pause", "volume_set"],
        "vacuum": ["start"],
    }
    return {
        f"{domain}.{service}": async_mock_service(hass, domain, service)
        for domain, names in services.items()
        for service in names
    }


def called(calls: Calls) -> list[tuple[str, Any]]:
    """Return what was done to what; a light may be switched by either service."""
    return [
        (name.replace("homeassistant.", "light."), target)
        for name, those in calls.items()
        for call in those
        for target in cv.ensure_list(call.data["entity_id"])
    ]


def said(text: str, intent: Intent | None = None) -> Transcript:
    """Return what a server heard, and what it understood by it."""
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
        intent=intent,
    )


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
