"""Sounds heard and clips kept, as events."""

from typing import override

from homeassistant.components.event import EventEntity
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import Clip, Sound
from .client.connection import StreamResult
from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice
from .entity import MicrophoneEntity
from .media import media_source_id

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add events of the sounds, and of the clips, of each microphone that has them."""
    for subentry_id, microphone in entry.runtime_data.microphones.items():
        if microphone.labels:
            async_add_entities(
                [SoundEvent(entry, microphone)], config_subentry_id=subentry_id
            )
        if microphone.clips:
            async_add_entities(
                [ClipEvent(entry, microphone)], config_subentry_id=subentry_id
            )


class SoundEvent(MicrophoneEntity, EventEntity):
    """Fires at the onset of each sound."""

    _attr_translation_key = "sound"
    _unrecorded_attributes = frozenset({"scores"})

    def __init__(self, entry: EarshotConfigEntry, microphone: MicrophoneDevice) -> None:
        """Offer the enabled labels as event types."""
        super().__init__(entry, microphone, "sound")
        self._attr_event_types = [label.slug for label in microphone.labels]

    @override
    @callback
    def _async_heard(self, result: StreamResult | None) -> None:
        """Fire for a sound that began."""
        if isinstance(result, Sound):
            if result.state == "start" and result.label in self.event_types:
                self._trigger_event(
                    result.label,
                    {
                        "id": result.id,
                        "start": result.start.isoformat(),
                        "score": result.score,
                        "threshold": result.threshold,
                        "scores": result.scores,
                        "verified": result.verified,
                        "description": result.description,
                        "engine": f"{result.engine.name} {result.engine.version}",
                    },
                )
                self.async_write_ha_state()
            return
        super()._async_heard(result)


class ClipEvent(MicrophoneEntity, EventEntity):
    """Fires when a recording of a sound can be played."""

    _attr_translation_key = "clip"

    def __init__(self, entry: EarshotConfigEntry, microphone: MicrophoneDevice) -> None:
        """Offer the enabled labels as event types."""
        super().__init__(entry, microphone, "clip")
        self._entry_id = entry.entry_id
        self._attr_event_types = [label.slug for label in microphone.labels]

    @override
    @callback
    def _async_heard(self, result: StreamResult | None) -> None:
        """Fire for a clip that was kept."""
        if isinstance(result, Clip):
            if result.label in self.event_types:
                place = (self._entry_id, self._microphone.subentry_id, result.id)
                self._trigger_event(
                    result.label,
                    {
                        "event": result.event,
                        "start": result.start.isoformat(),
                        "seconds": result.seconds,
                        "clip": media_source_id(*place),
                    },
                )
                self.async_write_ha_state()
            return
        super()._async_heard(result)
