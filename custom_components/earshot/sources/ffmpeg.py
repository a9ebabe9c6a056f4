"""PCM from anything ffmpeg opens: a network camera, a web radio, a file, a sound card."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
import re
from urllib.parse import urlsplit

from .base import BYTES_PER_SECOND, SourceError

CHUNK_BYTES = BYTES_PER_SECOND // 10
STALL_S = 15.0
TAIL_BYTES = 4096

NETWORK_SCHEMES = frozenset(
    {"rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "tcp", "udp", "rtp", "srt"}
)
SOUND_CARD_SCHEMES = frozenset({"alsa", "pulse"})

_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


def is_supported(url: str) -> bool:
    """Tell whether a URL names a source: network, `file:`, a path, `alsa:`, `pulse:`.

    ffmpeg's own pseudo protocols (concat, subfile, data, pipe …) do not.
    """
    if url.startswith("/"):
        return True
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme in SOUND_CARD_SCHEMES or parts.scheme == "file":
        return bool(parts.netloc or parts.path)
    return parts.scheme in NETWORK_SCHEMES and bool(parts.netloc)


def arguments(url: str) -> list[str]:
    """Return ffmpeg's arguments that turn a source into PCM on standard output.

    Raises SourceError for an unsupported URL.
    """
    if not is_supported(url):
        raise SourceError("unsupported address")
    scheme = urlsplit(url).scheme
    given: list[str] = []
    if scheme in ("rtsp", "rtsps"):
        given = ["-rtsp_transport", "tcp"]
    elif scheme in SOUND_CARD_SCHEMES:
        given = ["-f", scheme]
        url = url.partition(":")[2].removeprefix("//") or "default"
    elif scheme in ("", "file"):
        # A file is heard at the pace at which it would be played.
        given = ["-re"]
    return [
        "-hide_banner",
        "-nostdin",
        "-nostats",
        "-loglevel",
        "error",
        *given,
        "-i",
        url,
        "-vn",
        "-f",
        "s16le",
        "-ar",
        "16000",
        "-ac",
        "1",
        "pipe:1",
    ]


def redact(text: str) -> str:
    """Replace every URL in a text: it may hold a password or a key."""
    return _URL.sub("**REDACTED**", text)


class FfmpegSource:
    """One ffmpeg process per opening, killed when closed."""

    def __init__(self, binary: str, url: str, stall_s: float = STALL_S) -> None:
        """Keep what to run; a process silent for `stall_s` seconds counts as broken."""
        self._binary = binary
        self._url = url
        self._stall_s = stall_s

    async def open(self) -> AsyncGenerator[bytes]:
        """Yield PCM until the source ends."""
        command = arguments(self._url)
        try:
            process = await asyncio.create_subprocess_exec(
                self._binary,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as err:
            raise SourceError(f"ffmpeg does not start ({err.strerror})") from err
        assert process.stdout is not None
        assert process.stderr is not None
        drain = asyncio.create_task(_drain(process.stderr))
        try:
            async for chunk in _whole_samples(process.stdout, self._stall_s):
                yield chunk
            status = await process.wait()
            complaint = await drain
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            drain.cancel()
            await process.wait()
        if status != 0:
            raise SourceError(f"ffmpeg ended: {complaint or f'status {status}'}")


async def _whole_samples(
    stdout: asyncio.StreamReader, stall_s: float
) -> AsyncGenerator[bytes]:
    """Yield what arrives in whole samples, an odd byte carried over."""
    odd = b""
    while True:
        try:
            async with asyncio.timeout(stall_s):
                read = await stdout.read(CHUNK_BYTES)
        except TimeoutError as err:
            raise SourceError(f"no sound for {stall_s:g} seconds") from err
        if not read:
            return
        pcm = odd + read
        even = len(pcm) & ~1
        odd = pcm[even:]
        if even:
            yield pcm[:even]


async def _drain(stderr: asyncio.StreamReader) -> str:
    """Read to the end, so that ffmpeg never blocks on a full pipe; return the last line."""
    tail = b"\n"
    while read := await stderr.read(TAIL_BYTES):
        tail = (tail + read)[-TAIL_BYTES:]
    # What was cut off at its beginning may no longer look like an address.
    lines = tail.decode(errors="replace").splitlines()[1:]
    return redact(lines[-1].strip()) if lines else ""
