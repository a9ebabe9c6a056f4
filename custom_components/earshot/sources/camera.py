"""PCM from the sound of a camera that Home Assistant knows."""

from collections.abc import AsyncGenerator, Awaitable, Callable

from .base import SourceError
from .ffmpeg import FfmpegSource


class CameraSource:
    """A camera's stream address is asked for anew at each opening: it may change."""

    def __init__(
        self, binary: str, resolve: Callable[[], Awaitable[str | None]]
    ) -> None:
        """Keep how to ask; `resolve` answers None for a camera without a stream."""
        self._binary = binary
        self._resolve = resolve

    async def open(self) -> AsyncGenerator[bytes]:
        """Yield PCM until the camera's stream ends."""
        if (url := await self._resolve()) is None:
            raise SourceError("the camera offers no stream")
        pcm = FfmpegSource(self._binary, url).open()
        try:
            async for chunk in pcm:
                yield chunk
        finally:
            await pcm.aclose()
