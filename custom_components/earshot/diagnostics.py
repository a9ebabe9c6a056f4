"""What helps to find a fault, without secrets and without what was said."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.const import CONF_HOST, CONF_TOKEN, CONF_URL
from homeassistant.core import HomeAssistant

from .const import CONF_CODE_WORDS
from .coordinator import EarshotConfigEntry

TO_REDACT = {CONF_CODE_WORDS, CONF_HOST, CONF_TOKEN, CONF_URL}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: EarshotConfigEntry
) -> dict[str, Any]:
    """Return the state of a server and its microphones."""
    data = entry.runtime_data
    info = asdict(data.coordinator.data)
    # The id names one installation; it is of no use to find a fault.
    del info["id"]
    return {
        "entry": async_redact_data(entry.data, TO_REDACT),
        "options": async_redact_data(entry.options, TO_REDACT),
        "server": {"available": data.coordinator.last_update_success, **info},
        "mqtt": {
            "connected": data.publisher.connected,
            "published": data.publisher.published,
            "waiting": data.publisher.waiting,
            "dropped": data.publisher.dropped,
        },
        "profile": {
            "current": data.profile.current,
            "follows": data.profile.panel is not None,
            "heeded": data.profile.heeded[1] if data.profile.heeded else None,
        },
        "mqtt_devices": [
            {"reports": route.reports, "on": route.on, "level": route.level}
            for route in data.routes.values()
        ],
        "microphones": [
            {
                "settings": _redact(entry.subentries[subentry_id].data),
                "tasks": list(microphone.tasks),
                "labels": [label.slug for label in microphone.labels],
                "hearing": asdict(microphone.hearing),
                "listening": microphone.listening,
                "hears": microphone.hears,
                "understands": microphone.understands,
                "sounding": sorted(microphone.sounding),
                "problems": list(microphone.health.problems),
            }
            for subentry_id, microphone in data.microphones.items()
        ],
    }


def _redact(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a microphone's settings without its address."""
    return async_redact_data(dict(data), TO_REDACT)
