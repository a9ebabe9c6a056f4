"""How loud it is at a microphone, and how far it has come around what it guards."""

import math
from typing import Any, override

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
from .media import media_source_id
from .sentry import GuardState, Sentry

PARALLEL_UPDATES = 0

INTERVAL_S = 10
"""A level comes each second; the recorder need not keep them all."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a level sensor per microphone, and one for its guard."""
    for subentry_id, microphone in entry.runtime_data.microphones.items():
        entities: list[SensorEntity] = [LevelSensor(entry, microphone)]
        if microphone.sentry is not None:
            entities.append(GuardSensor(entry, microphone, microphone.sentry))
        async_add_entities(entities, config_subentry_id=subentry_id)


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


class GuardSensor(MicrophoneEntity, SensorEntity):
    """Off, quiet, heads-up or alarm, with the signs that led there."""

    _attr_translation_key = "guard"
    _attr_device_class = SensorDeviceClass.ENUM
    _attr_options = list(GuardState)
    # What led to a single step is of no use in its history.
    _unrecorded_attributes = frozenset({"signs"})

    def __init__(
        self, entry: EarshotConfigEntry, microphone: MicrophoneDevice, sentry: Sentry
    ) -> None:
        """Show one microphone's guard."""
        super().__init__(entry, microphone, "guard")
        self._entry_id = entry.entry_id
        self._sentry = sentry

    @property
    @override
    def native_value(self) -> str:
        """Return how far it has come."""
        return self._sentry.state

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return the signs, the latest last; each with its clip where one is kept."""
        microphone = self._microphone.subentry_id
        return {
            "signs": [
                {
                    "id": sign.id,
                    "sound": sign.label,
                    "time": sign.time.isoformat(),
                    "score": sign.score,
                    "clip": sign.clip
                    and media_source_id(self._entry_id, microphone, sign.clip),
                }
                for sign in self._sentry.signs
            ]
        }
