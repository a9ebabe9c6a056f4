"""Sounds and gestures heard, as events."""

from typing import override

from homeassistant.components.event import EventEntity
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import Sound
from .client.connection import StreamResult
from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice
from .entity import MicrophoneEntity

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add event entities per microphone that listens for sounds or for gestures."""
    for subentry_id, microphone in entry.runtime_data.microphones.items():
        gestures = [label.slug for label in microphone.labels if label.is_gesture]
        sounds = [label.slug for label in microphone.labels if not label.is_gesture]
        entities: list[SoundEvent] = []
        if sounds:
            entities.append(SoundEvent(entry, microphone, "sound", sounds))
        if gestures:
            entities.append(GestureEvent(entry, microphone, "gesture", gestures))
        async_add_entities(entities, config_subentry_id=subentry_id)


class SoundEvent(MicrophoneEntity, EventEntity):
    """Fires at the onset of each of its sounds."""

    _attr_translation_key = "sound"
    _unrecorded_attributes = frozenset({"scores"})

    def __init__(
        self,
        entry: EarshotConfigEntry,
        microphone: MicrophoneDevice,
        key: str,
        slugs: list[str],
    ) -> None:
        """Offer labels as event types."""
        super().__init__(entry, microphone, key)
        self._attr_event_types = slugs

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
                        "engine": f"{result.engine.name} {result.engine.version}",
                    },
                )
                self.async_write_ha_state()
            return
        super()._async_heard(result)


class GestureEvent(SoundEvent):
    """Fires for each gesture."""

    _attr_translation_key = "gesture"
