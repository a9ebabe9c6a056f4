"""What the entities of MQTT devices have in common."""

from typing import override

from homeassistant.components import mqtt
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.core import callback
from homeassistant.helpers import area_registry as ar, entity_registry as er
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.restore_state import RestoreEntity

from .const import ASSISTANT, CONF_ALIASES, CONF_AREA, CONF_KIND, DOMAIN
from .coordinator import EarshotConfigEntry
from .route import Route

_EXPOSED = "should_expose"


@callback
def async_routes(entry: EarshotConfigEntry, kind: str) -> dict[str, Route]:
    """Return the entry's MQTT devices of a kind, by subentry id."""
    return {
        subentry_id: route
        for subentry_id, route in entry.runtime_data.routes.items()
        if entry.subentries[subentry_id].data[CONF_KIND] == kind
    }


def names(aliases: list[str]) -> list[er.AliasEntry]:
    """Return aliases as the registry has them, beside the entity's own name."""
    return [er.COMPUTED_NAME, *aliases]


class RouteEntity(RestoreEntity):
    """The entity of an MQTT device; unavailable without a broker."""

    _attr_has_entity_name = True
    _attr_name = None
    _attr_should_poll = False

    def __init__(self, entry: EarshotConfigEntry, route: Route) -> None:
        """Make a device of its own."""
        self._entry = entry
        self._route = route
        self._attr_unique_id = f"{route.subentry_id}_route"
        self._attr_assumed_state = not route.reports
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, route.subentry_id)},
            model="MQTT device",
            name=route.name,
        )
        area_id = entry.subentries[route.subentry_id].data.get(CONF_AREA)
        hass = entry.runtime_data.coordinator.hass
        if area_id and (area := ar.async_get(hass).async_get_area(area_id)):
            self._attr_device_info["suggested_area"] = area.name

    @property
    @override
    def available(self) -> bool:
        """Return whether the broker is there."""
        return self._entry.runtime_data.publisher.connected

    @override
    async def async_added_to_hass(self) -> None:
        """Listen to the device; a new one can be named at once."""
        await super().async_added_to_hass()
        registered = self.registry_entry
        if registered and _EXPOSED not in registered.options.get(ASSISTANT, {}):
            aliases = self._entry.subentries[self._route.subentry_id].data[CONF_ALIASES]
            er.async_get(self.hass).async_update_entity(
                self.entity_id, aliases=names(aliases)
            )
            async_expose_entity(self.hass, ASSISTANT, self.entity_id, True)
        self._route.entity_id = self.entity_id
        if not self._route.reports and (last := await self.async_get_last_state()):
            self._restore(last.state, dict(last.attributes))
        if mqtt.DATA_MQTT in self.hass.data:
            self.async_on_remove(
                await self._route.async_subscribe(self.async_write_ha_state)
            )
        self.async_on_remove(
            mqtt.async_subscribe_connection_status(self.hass, self._connection)
        )

    def _restore(self, state: str, attributes: dict[str, object]) -> None:
        """Take what it was told before the restart."""
        if state in ("on", "off", "open", "closed"):
            self._route.on = state in ("on", "open")

    @callback
    def _connection(self, _connected: bool) -> None:
        """Tell that the broker came or went."""
        self.async_write_ha_state()
