"""Sounds that can be heard now, and whether a microphone can hear at all."""

from typing import Any, override

# Re-exported only at run time: the defining module differs between 2026.8 and 2026.10.
from homeassistant.components.binary_sensor import (  # type: ignore[attr-defined]
    BinarySensorDeviceClass,
    BinarySensorEntity,
)
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import Label, Sound
from .client.connection import StreamResult
from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice
from .entity import MicrophoneEntity

PARALLEL_UPDATES = 0

TRANSLATED = frozenset(
    {
        "alarm_clock",
        "baby_cry",
        "bark",
        "car_horn",
        "clapping",
        "co",
        "cough",
        "engine_start",
        "fire_crackling",
        "fireworks",
        "footsteps",
        "glass_break",
        "impact",
        "knock",
        "laugh",
        "low_battery",
        "meow",
        "rain",
        "running_water",
        "scratch",
        "siren",
        "smoke",
        "sneeze",
        "snore",
        "speaking",
        "thunder",
        "toilet_flush",
        "vacuum_cleaner",
        "washing_machine",
    }
)
"""Labels with a translated name; others carry the server's."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a binary sensor per microphone and enabled label that lasts, one for problems."""
    for subentry_id, microphone in entry.runtime_data.microphones.items():
        async_add_entities(
            [
                *(
                    SoundBinarySensor(entry, microphone, label)
                    for label in microphone.labels
                    if not label.is_gesture
                ),
                ProblemSensor(entry, microphone),
            ],
            config_subentry_id=subentry_id,
        )


def device_class(label: Label) -> BinarySensorDeviceClass:
    """Return the device class of a label; SOUND where Home Assistant has none."""
    try:
        return BinarySensorDeviceClass(label.device_class)
    except ValueError:
        return BinarySensorDeviceClass.SOUND


class SoundBinarySensor(MicrophoneEntity, BinarySensorEntity):
    """On from the onset of a sound to its release."""

    def __init__(
        self, entry: EarshotConfigEntry, microphone: MicrophoneDevice, label: Label
    ) -> None:
        """Show one label."""
        super().__init__(entry, microphone, label.slug)
        self._label = label.slug
        self._attr_device_class = device_class(label)
        if label.slug in TRANSLATED:
            self._attr_translation_key = label.slug
        else:
            self._attr_name = label.name

    @property
    @override
    def is_on(self) -> bool:
        """Return whether the sound can be heard."""
        return self._label in self._microphone.sounding

    @override
    @callback
    def _async_heard(self, result: StreamResult | None) -> None:
        """Show that the sound began or ended."""
        if isinstance(result, Sound) and result.label == self._label:
            self.async_write_ha_state()
        else:
            super()._async_heard(result)


class ProblemSensor(MicrophoneEntity, BinarySensorEntity):
    """On while what the microphone sends cannot be what a room sounds like."""

    _attr_device_class = BinarySensorDeviceClass.PROBLEM
    _attr_entity_category = EntityCategory.DIAGNOSTIC

    def __init__(self, entry: EarshotConfigEntry, microphone: MicrophoneDevice) -> None:
        """Show one microphone's health."""
        super().__init__(entry, microphone, "problem")

    @property
    @override
    def is_on(self) -> bool:
        """Return whether anything is wrong."""
        return bool(self._microphone.health.problems)

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return what is wrong."""
        return {"problems": list(self._microphone.health.problems)}
