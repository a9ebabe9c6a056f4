"""Where clips are in Home Assistant: their names, and the view that passes them on."""

from typing import Final, cast

from aiohttp import web
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.http import KEY_HASS, HomeAssistantView

from .client import (
    ClipFile,
    ClipKind,
    ClipNotFound,
    ConnectionLost,
    EarshotError,
    is_clip_id,
)
from .const import DOMAIN
from .coordinator import EarshotConfigEntry
from .device import MicrophoneDevice

MEDIA_TYPES: Final[dict[ClipKind, str]] = {"flac": "audio/flac", "png": "image/png"}


def media_source_id(*place: str) -> str:
    """Return what a media player takes: of a server, a microphone, or a clip."""
    return f"media-source://{DOMAIN}/{'/'.join(place)}"


def clip_path(entry_id: str, subentry_id: str, clip: str, kind: ClipKind) -> str:
    """Return the path of a clip or its picture in Home Assistant."""
    return f"/api/{DOMAIN}/clip/{entry_id}/{subentry_id}/{clip}.{kind}"


@callback
def async_loaded_entry(hass: HomeAssistant, entry_id: str) -> EarshotConfigEntry | None:
    """Return a model server's entry, if it is set up."""
    entry = hass.config_entries.async_get_entry(entry_id)
    if (
        entry is None
        or entry.domain != DOMAIN
        or entry.state is not ConfigEntryState.LOADED
    ):
        return None
    return cast(EarshotConfigEntry, entry)


@callback
def async_microphone(
    hass: HomeAssistant, entry_id: str, subentry_id: str
) -> tuple[EarshotConfigEntry, MicrophoneDevice] | None:
    """Return a microphone and its server, if that is set up."""
    if (entry := async_loaded_entry(hass, entry_id)) is None:
        return None
    microphone = entry.runtime_data.microphones.get(subentry_id)
    return None if microphone is None else (entry, microphone)


class ClipView(HomeAssistantView):
    """Passes a clip on from the server, whose token stays here.

    Whoever asks is signed in to Home Assistant or has an address that it signed.
    """

    url = f"/api/{DOMAIN}/clip/{{entry_id}}/{{subentry_id}}/{{file}}"
    name = f"api:{DOMAIN}:clip"

    async def get(
        self, request: web.Request, entry_id: str, subentry_id: str, file: str
    ) -> web.StreamResponse:
        """Send a clip or its picture, or the part that is asked for."""
        clip, _, suffix = file.partition(".")
        kind = next((each for each in MEDIA_TYPES if each == suffix), None)
        found = async_microphone(request.app[KEY_HASS], entry_id, subentry_id)
        if found is None or kind is None or not is_clip_id(clip):
            raise web.HTTPNotFound
        entry, microphone = found
        client = entry.runtime_data.coordinator.client
        part = request.headers.get("Range")
        try:
            async with client.open_clip(microphone.slug, clip, kind, part) as answer:
                return await _pass_on(request, answer, MEDIA_TYPES[kind])
        except ClipNotFound:
            raise web.HTTPNotFound from None
        except EarshotError as err:
            raise web.HTTPBadGateway from err


async def _pass_on(
    request: web.Request, answer: ClipFile, media_type: str
) -> web.StreamResponse:
    """Send what the server sends, as what we know it to be."""
    response = web.StreamResponse(
        status=answer.status,
        headers={
            **answer.headers,
            # Never what the server says: it could name a page.
            "Content-Type": media_type,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, max-age=3600",
        },
    )
    await response.prepare(request)
    try:
        async for piece in answer.pieces():
            await response.write(piece)
    except ConnectionLost:
        # Only a broken connection tells that the rest is missing.
        if request.transport is not None:
            request.transport.abort()
    return response
