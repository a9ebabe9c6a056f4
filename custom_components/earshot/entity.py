"""What Earshot's entities have in common."""

from typing import override

from homeassistant.core import callback
from homeassistant.helpers import area_registry as ar, device_registry as dr
from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .client import Info
from .client.connection import StreamResult
from .const import CONF_AREA, DOMAIN, MANUFACTURER
from .coordinator import EarshotConfigEntry, ServerCoordinator
from .device import MicrophoneDevice


def server_device_info(entry: EarshotConfigEntry, info: Info) -> DeviceInfo:
    """Return the device of a model server."""
    return DeviceInfo(
        entry_type=DeviceEntryType.SERVICE,
        identifiers={(DOMAIN, entry.entry_id)},
        manufacturer=MANUFACTURER,
        model="Model server",
        name=entry.title,
        sw_version=info.version,
    )


class ServerEntity(CoordinatorEntity[ServerCoordinator]):
    """An entity of a model server."""

    _attr_has_entity_name = True

    def __init__(self, entry: EarshotConfigEntry, key: str) -> None:
        """Attach to the server's device."""
        coordinator = entry.runtime_data.coordinator
        super().__init__(coordinator)
        self._attr_unique_id = f"{entry.entry_id}_{key}"
        self._attr_device_info = server_device_info(entry, coordinator.data)


class MicrophoneEntity(Entity):
    """An entity of a microphone; unavailable while the microphone does not hear."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(
        self, entry: EarshotConfigEntry, microphone: MicrophoneDevice, key: str
    ) -> None:
        """Attach to the microphone's device."""
        self._microphone = microphone
        self._attr_unique_id = f"{microphone.subentry_id}_{key}"
        hass = entry.runtime_data.coordinator.hass
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, microphone.subentry_id)},
            manufacturer=MANUFACTURER,
            model="Microphone",
            name=microphone.name,
            via_device_id=dr.async_get_device_id_by_identifier(
                hass, (DOMAIN, entry.entry_id), config_entry_id=entry.entry_id
            ),
        )
        area_id = entry.subentries[microphone.subentry_id].data.get(CONF_AREA)
        if area_id and (area := ar.async_get(hass).async_get_area(area_id)):
            self._attr_device_info["suggested_area"] = area.name

    @property
    @override
    def available(self) -> bool:
        """Return whether the microphone hears."""
        return self._microphone.hears

    @override
    async def async_added_to_hass(self) -> None:
        """Listen to the microphone."""
        await super().async_added_to_hass()
        self.async_on_remove(self._microphone.async_add_listener(self._async_heard))

    @callback
    def _async_heard(self, result: StreamResult | None) -> None:
        """Take a result, or None for a change of availability."""
        if result is None:
            self.async_write_ha_state()
