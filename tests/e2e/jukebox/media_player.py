"""The player: its state tells what it plays."""

from typing import Any

from homeassistant.components.media_player import (
    BrowseMedia,
    MediaClass,
    MediaPlayerEntity,
    MediaPlayerEntityFeature as Feature,
    MediaPlayerState,
    MediaType,
    SearchMedia,
    SearchMediaQuery,
)
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback


async def async_setup_entry(
    hass: HomeAssistant, entry: ConfigEntry, add: AddConfigEntryEntitiesCallback
) -> None:
    """Add the player."""
    add([Jukebox()])


class Jukebox(MediaPlayerEntity):
    """Plays what is searched for."""

    _attr_has_entity_name = True
    _attr_name = None
    _attr_unique_id = "jukebox"
    _attr_device_info = DeviceInfo(identifiers={("jukebox", "1")}, name="Jukebox")
    _attr_should_poll = False
    _attr_state = MediaPlayerState.IDLE
    _attr_volume_level = 0.5
    _attr_media_track = 1
    _attr_supported_features = (
        Feature.PLAY
        | Feature.PAUSE
        | Feature.NEXT_TRACK
        | Feature.VOLUME_SET
        | Feature.PLAY_MEDIA
        | Feature.SEARCH_MEDIA
    )

    async def async_search_media(self, query: SearchMediaQuery) -> SearchMedia:
        """Find just that."""
        found = BrowseMedia(
            media_class=MediaClass.MUSIC,
            media_content_id=query.search_query,
            media_content_type=MediaType.MUSIC,
            title=query.search_query,
            can_play=True,
            can_expand=False,
        )
        return SearchMedia(result=[found])

    async def async_play_media(
        self, media_type: str, media_id: str, **kwargs: Any
    ) -> None:
        """Play what was found."""
        self._attr_media_title = media_id
        self._attr_media_track = 1
        self._play(MediaPlayerState.PLAYING)

    async def async_media_play(self) -> None:
        """Go on."""
        self._play(MediaPlayerState.PLAYING)

    async def async_media_pause(self) -> None:
        """Pause."""
        self._play(MediaPlayerState.PAUSED)

    async def async_media_next_track(self) -> None:
        """Play the next."""
        self._attr_media_track = (self.media_track or 0) + 1
        self.async_write_ha_state()

    async def async_set_volume_level(self, volume: float) -> None:
        """Set how loud it is, 0 to 1."""
        self._attr_volume_level = volume
        self.async_write_ha_state()

    def _play(self, state: MediaPlayerState) -> None:
        self._attr_state = state
        self.async_write_ha_state()
