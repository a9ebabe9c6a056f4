"""How sure a microphone must be of each of its wake words."""

from typing import override

from homeassistant.components.number import NumberMode, RestoreNumber
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import WakeWord
from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice
from .entity import MicrophoneEntity

PARALLEL_UPDATES = 0

LOWEST, HIGHEST, STEP = 0.5, 0.99, 0.01
"""Below a half, talk wakes it every few minutes (docs/benchmarks.md)."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a threshold for every wake word of every microphone."""
    for subentry_id, microphone in entry.runtime_data.microphones.items():
        if "commands" in microphone.tasks:
            async_add_entities(
                [
                    WakeThreshold(entry, microphone, word)
                    for word in microphone.waking.words
                ],
                config_subentry_id=subentry_id,
            )


class WakeThreshold(MicrophoneEntity, RestoreNumber):
    """The score that a wake word must exceed: lower hears more, and more for nothing."""

    _attr_translation_key = "wake_threshold"
    _attr_entity_category = EntityCategory.CONFIG
    _attr_mode = NumberMode.SLIDER
    _attr_native_min_value = LOWEST
    _attr_native_max_value = HIGHEST
    _attr_native_step = STEP

    def __init__(
        self, entry: EarshotConfigEntry, microphone: MicrophoneDevice, word: WakeWord
    ) -> None:
        """Begin with what the word's own makers say."""
        super().__init__(entry, microphone, f"wake_threshold_{word.name}")
        self._word = word.name
        self._attr_translation_placeholders = {"word": word.phrase}
        self._attr_native_value = word.cutoff

    @property
    @override
    def available(self) -> bool:
        """Return True: it can be set while the microphone is deaf."""
        return True

    @override
    async def async_added_to_hass(self) -> None:
        """Go on with what was set before the restart."""
        await super().async_added_to_hass()
        last = await self.async_get_last_number_data()
        if last is not None and last.native_value not in (None, self.native_value):
            self._set(last.native_value)

    @override
    async def async_set_native_value(self, value: float) -> None:
        """Wake by other scores at once."""
        self._set(value)
        self.async_write_ha_state()

    def _set(self, value: float) -> None:
        self._attr_native_value = value
        self._microphone.async_wake_by(self._word, value)
