"""A model server: what it says about itself, asked regularly, and all that hangs on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
import logging
from typing import Any, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import (
    CONF_HOST,
    CONF_PORT,
    CONF_SSL,
    CONF_TOKEN,
    CONF_VERIFY_SSL,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryAuthFailed
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed
from homeassistant.util import language as language_util

from .client import (
    CannotConnect,
    Client,
    EarshotError,
    Endpoint,
    Info,
    InvalidAuth,
    ProtocolMismatch,
)
from .const import DOMAIN
from .device import MicrophoneDevice
from .nearest import Nearest
from .profiles import ActiveProfile
from .publisher import Publisher
from .route import Route
from .vocabulary import VocabularySync

_LOGGER = logging.getLogger(__name__)

POLL = timedelta(seconds=30)

type EarshotConfigEntry = ConfigEntry[EarshotData]


@dataclass
class EarshotData:
    """What a loaded entry holds; microphones and MQTT devices by subentry id."""

    coordinator: ServerCoordinator
    publisher: Publisher
    vocabulary: VocabularySync
    microphones: dict[str, MicrophoneDevice]
    profile: ActiveProfile
    nearest: Nearest
    routes: dict[str, Route]


@callback
def async_create_client(hass: HomeAssistant, data: Mapping[str, Any]) -> Client:
    """Return a client for an entry's data."""
    return Client(
        async_get_clientsession(hass, verify_ssl=data[CONF_VERIFY_SSL]),
        Endpoint(data[CONF_HOST], data[CONF_PORT], data[CONF_SSL]),
        data[CONF_TOKEN],
    )


def pick_language(wanted: str, offered: tuple[str, ...]) -> str:
    """Return the server's language nearest to Home Assistant's, else its first."""
    matches = language_util.matches(wanted, offered)
    return matches[0] if matches else next(iter(offered), "en")


class ServerCoordinator(DataUpdateCoordinator[Info]):
    """Looks at the server regularly: is it there, is it the same, what can it hear."""

    config_entry: EarshotConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: EarshotConfigEntry, client: Client
    ) -> None:
        """Keep the client."""
        super().__init__(
            hass, _LOGGER, config_entry=entry, name=DOMAIN, update_interval=POLL
        )
        self.client = client
        self._loaded: Info | None = None

    @override
    async def _async_update_data(self) -> Info:
        """Ask the server."""
        try:
            info = await self.client.info()
        except InvalidAuth as err:
            raise ConfigEntryAuthFailed(
                translation_domain=DOMAIN, translation_key="invalid_auth"
            ) from err
        except ProtocolMismatch as err:
            raise UpdateFailed(
                translation_domain=DOMAIN,
                translation_key="protocol_mismatch",
                translation_placeholders={
                    "theirs": str(err.theirs),
                    "ours": str(err.ours),
                },
            ) from err
        except CannotConnect as err:
            raise UpdateFailed(
                translation_domain=DOMAIN, translation_key="cannot_connect"
            ) from err
        except EarshotError as err:
            raise UpdateFailed(
                translation_domain=DOMAIN, translation_key="not_earshot"
            ) from err
        if info.id != self.config_entry.unique_id:
            raise UpdateFailed(
                translation_domain=DOMAIN, translation_key="another_server"
            )
        return info

    @callback
    def async_watch(self) -> None:
        """Reload the entry when the server can hear something else than at set-up."""
        self._loaded = self.data
        self.config_entry.async_on_unload(self.async_add_listener(self._compare))

    @callback
    def _compare(self) -> None:
        """Compare what the server can hear with what the entities were made for."""
        if self._loaded is None or not self.last_update_success:
            return
        if _abilities(self.data) != _abilities(self._loaded):
            self._loaded = None
            self.hass.config_entries.async_schedule_reload(self.config_entry.entry_id)


def _abilities(info: Info) -> tuple[object, ...]:
    """Return what decides which entities there are."""
    return (
        info.sounds and info.sounds.labels,
        info.speech and info.speech.languages,
        info.clips,
        info.wake_words,
    )
