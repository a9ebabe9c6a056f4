"""Which profile is in force on a server."""

from collections.abc import Mapping
from typing import Any, override

from homeassistant.components.select import SelectEntity
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.restore_state import ExtraStoredData, RestoreEntity

from .const import PROFILES
from .coordinator import EarshotConfigEntry
from .entity import ServerEntity

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EarshotConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the profile of a server that hears sounds."""
    if entry.runtime_data.coordinator.data.sounds is not None:
        async_add_entities([ProfileSelect(entry)])


class Heeded(ExtraStoredData):
    """What the alarm panel said last, kept over a restart."""

    def __init__(self, heeded: tuple[str, str] | None) -> None:
        """Keep the panel and its state."""
        self.heeded = heeded

    @override
    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return {"heeded": list(self.heeded) if self.heeded else None}

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return what was stored; None if that is nothing of ours."""
        match stored.get("heeded"):
            case [str(panel), str(state)]:
                return panel, state
        return None


class ProfileSelect(ServerEntity, SelectEntity, RestoreEntity):
    """What the microphones listen for: as at home, at night or away."""

    _attr_translation_key = "profile"
    _attr_options = list(PROFILES)

    def __init__(self, entry: EarshotConfigEntry) -> None:
        """Show and choose the profile of one server."""
        super().__init__(entry, "profile")
        self._profile = entry.runtime_data.profile

    @property
    @override
    def available(self) -> bool:
        """Return True: it can be chosen while the server is away."""
        return True

    @property
    @override
    def current_option(self) -> str:
        """Return the profile in force."""
        return self._profile.current

    @property
    @override
    def extra_restore_state_data(self) -> ExtraStoredData:
        """Keep what the panel said last."""
        return Heeded(self._profile.heeded)

    @override
    async def async_added_to_hass(self) -> None:
        """Go on as before the restart."""
        await super().async_added_to_hass()
        last = await self.async_get_last_state()
        if last is not None and last.state in PROFILES:
            self._profile.async_choose(last.state)
        if (extra := await self.async_get_last_extra_data()) is not None:
            self._profile.heeded = Heeded.read(extra.as_dict())
        self.async_on_remove(self._profile.async_add_listener(self._chosen))

    @override
    async def async_select_option(self, option: str) -> None:
        """Put a profile in force."""
        self._profile.async_choose(option)

    @callback
    def _chosen(self, _profile: str) -> None:
        """Show the profile."""
        self.async_write_ha_state()
