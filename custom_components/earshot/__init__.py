"""Earshot: every microphone of the home becomes one private listener."""

import asyncio

from homeassistant.const import Platform
from homeassistant.core import HassJob, HomeAssistant
from homeassistant.helpers import config_validation as cv, device_registry as dr, intent
from homeassistant.helpers.typing import ConfigType

from .const import (
    CONF_BASE_TOPIC,
    CONF_PUBLISH_LEVEL,
    DEFAULT_BASE_TOPIC,
    DOMAIN,
    SUBENTRY_MICROPHONE,
    SUBENTRY_ROUTE,
)
from .coordinator import (
    EarshotConfigEntry,
    EarshotData,
    ServerCoordinator,
    async_create_client,
    pick_language,
)
from .device import MicrophoneDevice
from .entity import server_device_info
from .media import ClipView
from .nearest import Nearest
from .profiles import ActiveProfile
from .publisher import Publisher
from .read_list import ReadList
from .replies import Replies
from .route import Route
from .vocabulary import VocabularySync

PLATFORMS = [
    Platform.BINARY_SENSOR,
    Platform.COVER,
    Platform.EVENT,
    Platform.LIGHT,
    Platform.NUMBER,
    Platform.SELECT,
    Platform.SENSOR,
    Platform.STT,
    Platform.SWITCH,
    Platform.WAKE_WORD,
]

EARLY = [Platform.SELECT, Platform.NUMBER]
"""What was set before the restart is in force before anything is listened for."""


CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Offer the clips of all servers, and read lists aloud."""
    hass.http.register_view(ClipView())
    intent.async_register(hass, ReadList())
    return True


async def async_setup_entry(hass: HomeAssistant, entry: EarshotConfigEntry) -> bool:
    """Set up a model server and its microphones."""
    client = async_create_client(hass, entry.data)
    coordinator = ServerCoordinator(hass, entry, client)
    await coordinator.async_config_entry_first_refresh()
    info = coordinator.data
    dr.async_get(hass).async_get_or_create(
        config_entry_id=entry.entry_id, **server_device_info(entry, info)
    )

    options = entry.options
    base = options.get(CONF_BASE_TOPIC, DEFAULT_BASE_TOPIC)
    publisher = Publisher(hass, entry, base)
    languages = info.speech.languages if info.speech else ()
    language = pick_language(hass.config.language, languages)
    vocabulary = VocabularySync(hass, entry, client, language)
    nearest = Nearest(hass)
    replies = Replies(hass, entry)
    microphones = {
        subentry.subentry_id: MicrophoneDevice(
            hass,
            entry,
            subentry,
            client,
            publisher,
            nearest,
            replies,
            info,
            language,
            options.get(CONF_PUBLISH_LEVEL, False),
        )
        for subentry in entry.subentries.values()
        if subentry.subentry_type == SUBENTRY_MICROPHONE
    }
    routes = {
        subentry.subentry_id: Route(hass, subentry)
        for subentry in entry.subentries.values()
        if subentry.subentry_type == SUBENTRY_ROUTE
    }
    profile = ActiveProfile(hass, entry)
    for microphone in microphones.values():
        profile.async_add_listener(microphone.async_use_profile)
    entry.runtime_data = EarshotData(
        coordinator, publisher, vocabulary, microphones, profile, nearest, routes
    )

    publisher.async_start()
    if info.speech is not None:
        vocabulary.async_start()
        entry.async_on_unload(
            coordinator.async_add_listener(
                lambda: vocabulary.async_server_has(
                    coordinator.data.speech.vocabulary
                    if coordinator.data.speech
                    else None
                )
            )
        )
    coordinator.async_watch()
    await hass.config_entries.async_forward_entry_setups(entry, EARLY)
    entry.async_on_unload(profile.async_start())
    await hass.config_entries.async_forward_entry_setups(
        entry, [platform for platform in PLATFORMS if platform not in EARLY]
    )

    async def shut_down() -> None:
        await _async_stop(entry)

    entry.async_on_unload(
        hass.async_add_shutdown_job(HassJob(shut_down, "earshot shut down"))
    )
    entry.async_on_unload(entry.add_update_listener(_async_reload))
    return True


async def async_unload_entry(hass: HomeAssistant, entry: EarshotConfigEntry) -> bool:
    """Stop listening and say so."""
    if not await hass.config_entries.async_unload_platforms(entry, PLATFORMS):
        return False
    await _async_stop(entry)
    return True


async def _async_stop(entry: EarshotConfigEntry) -> None:
    """Close every microphone, then the way to the broker."""
    data = entry.runtime_data
    await asyncio.gather(
        *(microphone.async_silence() for microphone in data.microphones.values())
    )
    await data.publisher.async_close()


async def _async_reload(hass: HomeAssistant, entry: EarshotConfigEntry) -> None:
    """Take changed options, data or microphones into use."""
    await hass.config_entries.async_reload(entry.entry_id)
