"""Whether a microphone listens, and whether it guards; MQTT devices."""

from abc import abstractmethod
from typing import Any, override

from homeassistant.components.switch import SwitchEntity
from homeassistant.const import STATE_OFF
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.restore_state import RestoreEntity

from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice
from .entity import MicrophoneEntity
from .route_entity import RouteEntity, async_routes
from .route_presets import SWITCH
from .sentry import Sentry

PARALLEL_UPDATES = 1


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a switch per microphone, one for its guard, and the MQTT devices."""
    for subentry_id, microphone in entry.runtime_data.microphones.items():
        entities: list[SwitchEntity] = [ListeningSwitch(entry, microphone)]
        if microphone.sentry is not None:
            entities.append(GuardSwitch(entry, microphone, microphone.sentry))
        async_add_entities(entities, config_subentry_id=subentry_id)
    for subentry_id, route in async_routes(entry, SWITCH).items():
        async_add_entities([RouteSwitch(entry, route)], config_subentry_id=subentry_id)


class _KeptSwitch(MicrophoneEntity, SwitchEntity, RestoreEntity):
    """On, unless it was switched off before the restart."""

    @abstractmethod
    def _begin(self) -> None:
        """Do what it is on for."""

    @property
    @override
    def available(self) -> bool:
        """Return True: it can be switched while the microphone is deaf."""
        return True

    @override
    async def async_added_to_hass(self) -> None:
        """Go on as before the restart."""
        await super().async_added_to_hass()
        last = await self.async_get_last_state()
        if last is None or last.state != STATE_OFF:
            self._begin()

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Begin."""
        self._begin()
        self.async_write_ha_state()


class ListeningSwitch(_KeptSwitch):
    """On while the microphone listens; off captures nothing at all."""

    _attr_translation_key = "listening"

    def __init__(self, entry: EarshotConfigEntry, microphone: MicrophoneDevice) -> None:
        """Switch one microphone."""
        super().__init__(entry, microphone, "listening")

    @property
    @override
    def is_on(self) -> bool:
        """Return whether the microphone listens."""
        return self._microphone.listening

    @override
    def _begin(self) -> None:
        """Listen."""
        self._microphone.async_listen()

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Stop listening."""
        await self._microphone.async_silence()
        self.async_write_ha_state()


class GuardSwitch(_KeptSwitch):
    """On while what the microphone hears may become a heads-up or an alarm."""

    _attr_translation_key = "guard"

    def __init__(
        self, entry: EarshotConfigEntry, microphone: MicrophoneDevice, sentry: Sentry
    ) -> None:
        """Switch one microphone's guard."""
        super().__init__(entry, microphone, "guard_switch")
        self._sentry = sentry

    @property
    @override
    def is_on(self) -> bool:
        """Return whether it guards."""
        return self._sentry.armed

    @override
    def _begin(self) -> None:
        """Guard."""
        self._sentry.async_arm()

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Stand down; a heads-up or an alarm is over."""
        self._sentry.async_disarm()


class RouteSwitch(RouteEntity, SwitchEntity):
    """A device that only an MQTT broker knows, on or off."""

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether it is on."""
        return self._route.on

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Switch it on."""
        await self._route.async_command("on", True)
        self.async_write_ha_state()

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Switch it off."""
        await self._route.async_command("off", False)
        self.async_write_ha_state()
