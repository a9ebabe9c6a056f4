"""Clips in the media browser: server, microphone, clips."""

from typing import override

from homeassistant.components.media_player.const import MediaClass
from homeassistant.components.media_player.errors import BrowseError
from homeassistant.components.media_source import (
    BrowseMediaSource,
    MediaSource,
    MediaSourceItem,
    PlayMedia,
    Unresolvable,
)
from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util

from .client import EarshotError, KeptClip, is_clip_id
from .const import DOMAIN, MANUFACTURER
from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice
from .media import MEDIA_TYPES, async_loaded_entry, async_microphone, clip_path


async def async_get_media_source(hass: HomeAssistant) -> ClipSource:
    """Return the source of all clips."""
    return ClipSource(hass)


class ClipSource(MediaSource):
    """What the model servers have kept, asked anew each time."""

    name = MANUFACTURER

    def __init__(self, hass: HomeAssistant) -> None:
        """Keep where the servers are."""
        super().__init__(DOMAIN)
        self._hass = hass

    @override
    async def async_resolve_media(self, item: MediaSourceItem) -> PlayMedia:
        """Return the address of a clip; Home Assistant signs it."""
        match item.identifier.split("/"):
            case [entry_id, subentry_id, clip] if is_clip_id(clip):
                if async_microphone(self._hass, entry_id, subentry_id) is not None:
                    path = clip_path(entry_id, subentry_id, clip, "flac")
                    return PlayMedia(path, MEDIA_TYPES["flac"])
        raise Unresolvable(translation_domain=DOMAIN, translation_key="unknown_clip")

    @override
    async def async_browse_media(self, item: MediaSourceItem) -> BrowseMediaSource:
        """List servers, a server's microphones, or a microphone's clips."""
        match [part for part in (item.identifier or "").split("/") if part]:
            case []:
                return self._root()
            case [entry_id] if entry := async_loaded_entry(self._hass, entry_id):
                return self._server(entry, deep=True)
            case [entry_id, subentry_id] if found := async_microphone(
                self._hass, entry_id, subentry_id
            ):
                return await self._clips(*found)
        raise BrowseError(translation_domain=DOMAIN, translation_key="unknown_clip")

    def _root(self) -> BrowseMediaSource:
        """Return all servers that are set up."""
        folder = _folder(None, MANUFACTURER)
        folder.children = [
            self._server(entry, deep=False)
            for entry in self._hass.config_entries.async_loaded_entries(DOMAIN)
        ]
        return folder

    def _server(self, entry: EarshotConfigEntry, *, deep: bool) -> BrowseMediaSource:
        """Return a server, with its microphones if `deep`."""
        folder = _folder(entry.entry_id, entry.title)
        if deep:
            folder.children = [
                _folder(f"{entry.entry_id}/{microphone.subentry_id}", microphone.name)
                for microphone in entry.runtime_data.microphones.values()
            ]
        return folder

    async def _clips(
        self, entry: EarshotConfigEntry, microphone: MicrophoneDevice
    ) -> BrowseMediaSource:
        """Return a microphone's clips, the newest first."""
        try:
            clips = await entry.runtime_data.coordinator.client.clips(microphone.slug)
        except EarshotError as err:
            raise BrowseError(
                translation_domain=DOMAIN, translation_key="cannot_connect"
            ) from err
        info = entry.runtime_data.coordinator.data
        names = {
            label.slug: label.name
            for label in (info.sounds.labels if info.sounds else ())
        }
        place = (entry.entry_id, microphone.subentry_id)
        folder = _folder("/".join(place), microphone.name)
        folder.children_media_class = MediaClass.MUSIC
        folder.children = [
            BrowseMediaSource(
                domain=DOMAIN,
                identifier="/".join((*place, clip.id)),
                media_class=MediaClass.MUSIC,
                media_content_type=MEDIA_TYPES["flac"],
                title=_title(clip, names.get(clip.label, clip.label)),
                can_play=True,
                can_expand=False,
                thumbnail=clip_path(*place, clip.id, "png"),
            )
            for clip in clips
        ]
        return folder


def _folder(identifier: str | None, title: str) -> BrowseMediaSource:
    """Return something to open."""
    return BrowseMediaSource(
        domain=DOMAIN,
        identifier=identifier,
        media_class=MediaClass.DIRECTORY,
        media_content_type="",
        title=title,
        can_play=False,
        can_expand=True,
        children_media_class=MediaClass.DIRECTORY,
    )


def _title(clip: KeptClip, name: str) -> str:
    """Return what was heard, and when by the home's clock."""
    start = dt_util.as_local(clip.start)
    return f"{name}, {start:%Y-%m-%d %H:%M:%S}"
