"""Nothing is asked but whether it shall be."""

from typing import Any

from homeassistant.config_entries import ConfigFlow, ConfigFlowResult


class JukeboxConfigFlow(ConfigFlow, domain="jukebox"):
    """Adds the player."""

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Add it once the empty form was sent."""
        if user_input is None:
            return self.async_show_form(step_id="user")
        return self.async_create_entry(title="Jukebox", data={})
