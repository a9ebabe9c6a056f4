"""What a microphone captures, as its form says."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from homeassistant.components.camera import async_get_stream_source
from homeassistant.components.ffmpeg import get_ffmpeg_manager
from homeassistant.const import CONF_URL
from homeassistant.core import HomeAssistant, callback

from .const import CONF_CAMERA
from .sources.base import Source, SourceError
from .sources.camera import CameraSource
from .sources.ffmpeg import FfmpegSource

RESOLVE_S = 30.0


@callback
def async_create_source(hass: HomeAssistant, data: Mapping[str, Any]) -> Source:
    """Return the source of a microphone's data."""
    binary = get_ffmpeg_manager(hass).binary
    if CONF_URL in data:
        return FfmpegSource(binary, data[CONF_URL])
    return CameraSource(binary, partial(_async_resolve, hass, data[CONF_CAMERA]))


async def _async_resolve(hass: HomeAssistant, entity_id: str) -> str | None:
    """Ask a camera for its stream."""
    try:
        async with asyncio.timeout(RESOLVE_S):
            return await async_get_stream_source(hass, entity_id)
    except Exception as err:
        # Any camera's own code runs here, and may raise anything.
        raise SourceError(
            f"{entity_id} is not available ({type(err).__name__})"
        ) from err
