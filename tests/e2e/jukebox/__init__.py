"""A player that finds whatever it is asked for, as a house has one from another vendor."""

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant


async def async_setup_entry(hass: HomeAssistant, entry: ConfigEntry) -> bool:
    """Set the player up."""
    await hass.config_entries.async_forward_entry_setups(entry, [Platform.MEDIA_PLAYER])
    return True


async def async_unload_entry(hass: HomeAssistant, entry: ConfigEntry) -> bool:
    """Take the player away."""
    return await hass.config_entries.async_unload_platforms(
        entry, [Platform.MEDIA_PLAYER]
    )
