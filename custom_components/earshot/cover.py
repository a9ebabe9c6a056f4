"""Blinds, curtains and doors that only an MQTT broker knows."""

from typing import Any, override

from homeassistant.components.cover import (
    ATTR_CURRENT_POSITION,
    ATTR_POSITION,
    CoverDeviceClass,
    CoverEntity,
    CoverEntityFeature,
)
from homeassistant.const import CONF_DEVICE_CLASS
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import EarshotConfigEntry
from .route import Route
from .route_entity import RouteEntity, async_routes
from .route_presets import COVER

PARALLEL_UPDATES = 1


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the MQTT devices that are covers."""
    for subentry_id, route in async_routes(entry, COVER).items():
        async_add_entities([RouteCover(entry, route)], config_subentry_id=subentry_id)


class RouteCover(RouteEntity, CoverEntity):
    """A cover, moved to a position where it has one; 100 is open."""

    def __init__(self, entry: EarshotConfigEntry, route: Route) -> None:
        """Say what it can do."""
        super().__init__(entry, route)
        data = entry.subentries[route.subentry_id].data
        self._attr_device_class = CoverDeviceClass(data[CONF_DEVICE_CLASS])
        features = (
            CoverEntityFeature.OPEN | CoverEntityFeature.CLOSE | CoverEntityFeature.STOP
        )
        if route.has_level:
            features |= CoverEntityFeature.SET_POSITION
        self._attr_supported_features = features

    @property
    @override
    def is_closed(self) -> bool | None:
        """Return whether it is closed."""
        return None if self._route.on is None else not self._route.on

    @property
    @override
    def current_cover_position(self) -> int | None:
        """Return how far it is open, 0 to 100."""
        level = self._route.level
        return None if level is None else round(level * 100)

    @override
    async def async_open_cover(self, **kwargs: Any) -> None:
        """Open it."""
        await self._async_do("open", True)

    @override
    async def async_close_cover(self, **kwargs: Any) -> None:
        """Close it."""
        await self._async_do("close", False)

    @override
    async def async_stop_cover(self, **kwargs: Any) -> None:
        """Stop it where it is."""
        await self._async_do("stop", None)

    @override
    async def async_set_cover_position(self, **kwargs: Any) -> None:
        """Move it."""
        await self._route.async_set_level(kwargs[ATTR_POSITION] / 100)
        self.async_write_ha_state()

    async def _async_do(self, command: str, on: bool | None) -> None:
        await self._route.async_command(command, on)
        self.async_write_ha_state()

    @override
    def _restore(self, state: str, attributes: dict[str, object]) -> None:
        """Take where it was, too."""
        super()._restore(state, attributes)
        position = attributes.get(ATTR_CURRENT_POSITION)
        if isinstance(position, int):
            self._route.level = position / 100
