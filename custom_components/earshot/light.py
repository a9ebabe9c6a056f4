"""Lights that only an MQTT broker knows."""

from typing import Any, override

from homeassistant.components.light import LightEntity
from homeassistant.components.light.const import ATTR_BRIGHTNESS, ColorMode
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import EarshotConfigEntry
from .route import Route
from .route_entity import RouteEntity, async_routes
from .route_presets import LIGHT

PARALLEL_UPDATES = 1

_FULL = 255


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the MQTT devices that are lights."""
    for subentry_id, route in async_routes(entry, LIGHT).items():
        async_add_entities([RouteLight(entry, route)], config_subentry_id=subentry_id)


class RouteLight(RouteEntity, LightEntity):
    """A light, dimmed where it has a level."""

    def __init__(self, entry: EarshotConfigEntry, route: Route) -> None:
        """Say what it can do."""
        super().__init__(entry, route)
        mode = ColorMode.BRIGHTNESS if route.has_level else ColorMode.ONOFF
        self._attr_color_mode = mode
        self._attr_supported_color_modes = {mode}

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether it shines."""
        return self._route.on

    @property
    @override
    def brightness(self) -> int | None:
        """Return how bright it is, 0 to 255."""
        level = self._route.level
        return None if level is None else round(level * _FULL)

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Switch it on, or dim it: to any level, it goes on."""
        if self._route.has_level and ATTR_BRIGHTNESS in kwargs:
            await self._route.async_set_level(kwargs[ATTR_BRIGHTNESS] / _FULL)
        else:
            await self._route.async_command("on", True)
        self.async_write_ha_state()

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Switch it off."""
        await self._route.async_command("off", False)
        self.async_write_ha_state()

    @override
    def _restore(self, state: str, attributes: dict[str, object]) -> None:
        """Take how bright it was, too."""
        super()._restore(state, attributes)
        brightness = attributes.get(ATTR_BRIGHTNESS)
        if isinstance(brightness, int):
            self._route.level = brightness / _FULL
