"""Sounds, gestures and wake words heard, clips kept and timers set, as events."""

from typing import Any, override

from homeassistant.components.event import EventEntity
from homeassistant.components.intent import (
    TimerEventType,
    TimerInfo,
    async_register_timer_handler,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import Clip, Sound, Wake
from .client.connection import StreamResult
from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice
from .entity import MicrophoneEntity
from .media import media_source_id
from .timers import done, timer_attributes

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the events that each microphone has: sounds, gestures, clips, timers."""
    for subentry_id, microphone in entry.runtime_data.microphones.items():
        gestures = [label.slug for label in microphone.labels if label.is_gesture]
        sounds = [label.slug for label in microphone.labels if not label.is_gesture]
        lasting = [label.slug for label in microphone.sustained]
        entities: list[EventEntity] = []
        if sounds:
            entities.append(SoundEvent(entry, microphone, "sound", sounds))
        if gestures:
            entities.append(GestureEvent(entry, microphone, "gesture", gestures))
        if lasting:
            entities.append(
                SustainedSoundEvent(entry, microphone, "sustained_sound", lasting)
            )
        if microphone.clips:
            entities.append(ClipEvent(entry, microphone))
        if "commands" in microphone.tasks:
            entities.append(TimerEvent(entry, microphone))
            if microphone.waking.needed:
                entities.append(WakeEvent(entry, microphone))
        async_add_entities(entities, config_subentry_id=subentry_id)


class SoundEvent(MicrophoneEntity, EventEntity):
    """Fires at the onset of each of its sounds."""

    _attr_translation_key = "sound"
    # What explains a single event is of no use in its history.
    _unrecorded_attributes = frozenset({"description", "scores", "windows"})
    _state = "start"

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
            if result.state == self._state and result.label in self.event_types:
                self._trigger_event(result.label, attributes(result))
                self.async_write_ha_state()
            return
        super()._async_heard(result)


class SustainedSoundEvent(SoundEvent):
    """Fires when a sound has gone on for as long as its rule says."""

    _attr_translation_key = "sustained_sound"
    _state = "sustained"


def attributes(sound: Sound) -> dict[str, Any]:
    """Return what an event tells of itself: when, how sure, and why."""
    return {
        "id": sound.id,
        "start": sound.start.isoformat(),
        "score": sound.score,
        "threshold": sound.threshold,
        "scores": sound.scores,
        "windows": list(sound.windows),
        "gates": list(sound.gates),
        "profile": sound.profile,
        "verified": sound.verified,
        "description": sound.description,
        "clip": sound.clip,
        "engine": f"{sound.engine.name} {sound.engine.version}",
    }


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


class GestureEvent(SoundEvent):
    """Fires for each gesture."""

    _attr_translation_key = "gesture"


class WakeEvent(MicrophoneEntity, EventEntity):
    """Fires when its microphone begins to listen: a wake word or gesture was heard."""

    _attr_translation_key = "wake"

    def __init__(self, entry: EarshotConfigEntry, microphone: MicrophoneDevice) -> None:
        """Offer what wakes it as event types."""
        super().__init__(entry, microphone, "wake")
        self._attr_event_types = microphone.waking.names

    @override
    @callback
    def _async_heard(self, result: StreamResult | None) -> None:
        """Fire for a wake."""
        if isinstance(result, Wake):
            if result.word in self.event_types:
                told = {"time": result.time.isoformat(), "score": result.score}
                self._trigger_event(result.word, told)
                self.async_write_ha_state()
            return
        super()._async_heard(result)


class TimerEvent(MicrophoneEntity, EventEntity):
    """Fires when a timer of its microphone is set, changed, cancelled or has ended.

    Home Assistant sets timers only for devices that take them, so that without this
    entity there are none.
    """

    _attr_translation_key = "timer"
    _attr_event_types = list(TimerEventType)

    def __init__(self, entry: EarshotConfigEntry, microphone: MicrophoneDevice) -> None:
        """Tell of one microphone's timers."""
        super().__init__(entry, microphone, "timer")

    @property
    @override
    def available(self) -> bool:
        """Return True: timers go on while the microphone is away."""
        return True

    @override
    async def async_added_to_hass(self) -> None:
        """Take timers from now on."""
        await super().async_added_to_hass()
        assert self.device_entry is not None
        self.async_on_remove(
            async_register_timer_handler(self.hass, self.device_entry.id, self._told)
        )

    @callback
    def _told(self, state: TimerEventType, timer: TimerInfo) -> None:
        """Pass on what became of a timer."""
        self._trigger_event(state, timer_attributes(timer))
        self.async_write_ha_state()
        said = done(timer) if state is TimerEventType.FINISHED else None
        self._microphone.spoken.timer(
            {"state": str(state), **timer_attributes(timer)}, said, timer.language
        )
