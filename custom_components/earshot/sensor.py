"""How loud it is at a microphone."""

import math
from typing import override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorStateClass,
)
from homeassistant.const import EntityCategory, UnitOfSoundPressure
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import Level
from .client.connection import StreamResult
from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice
from .entity import MicrophoneEntity

PARALLEL_UPDATES = 0

INTERVAL_S = 10
"""A level comes each second; the recorder need not keep them all."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a level sensor per microphone."""
    for subentry_id, microphone in entry.runtime_data.microphones.items():
        async_add_entities(
            [LevelSensor(entry, microphone)], config_subentry_id=subentry_id
        )


class LevelSensor(MicrophoneEntity, SensorEntity):
    """Loudness relative to full scale: 0 is the loudest, -100 digital silence."""

    _attr_translation_key = "level"
    _attr_device_class = SensorDeviceClass.SOUND_PRESSURE
    _attr_entity_category = EntityCategory.DIAGNOSTIC
    _attr_entity_registry_enabled_default = False
    _attr_native_unit_of_measurement = UnitOfSoundPressure.DECIBEL
    _attr_state_class = SensorStateClass.MEASUREMENT
    _attr_suggested_display_precision = 0

    def __init__(self, entry: EarshotConfigEntry, microphone: MicrophoneDevice) -> None:
        """Show the level."""
        super().__init__(entry, microphone, "level")
        self._shown = -math.inf

    @override
    @callback
    def _async_heard(self, result: StreamResult | None) -> None:
        """Show a level, not too often."""
        if isinstance(result, Level):
            if result.time.timestamp() - self._shown >= INTERVAL_S:
                self._shown = result.time.timestamp()
                self._attr_native_value = round(result.rms_dbfs, 1)
                self.async_write_ha_state()
            return
        super()._async_heard(result)
