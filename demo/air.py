"""What the microphone hears: one endless sound, paced by the clock, served over HTTP.

Silence is never digital: a household's quiet noise lies under all that is
played. The time of every sample that leaves is known, which is what
latencies are measured from.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
import struct
import time
from typing import TYPE_CHECKING

from aiohttp import web
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RATE = 16_000
_BLOCK = 320
_LEAD_S = 0.2

Audio = npt.NDArray[np.float32]
"""Mono samples of -1 to 1 at 16 kHz, (samples,)."""


@dataclass(frozen=True)
class Playback:
    """A sound in the air: UTC seconds of its first and one past its last sample."""

    start: float
    end: float


def header() -> bytes:
    """Return a header of 16 kHz mono 16-bit PCM whose length nobody knows.

    Sun's format, because ffmpeg begins to play it after 2 s; of WAV it first
    gathers 6 s, to see whether there might be something else inside.
    """
    endless, signed_16_bit, annotation = 0xFFFFFFFF, 3, b"\0" * 4
    fields = struct.pack(">4sIIIII", b".snd", 28, endless, signed_16_bit, RATE, 1)
    return fields + annotation


class Air:
    """The mixer. Everybody who listens hears the same sample at the same time."""

    def __init__(self, background: Audio) -> None:
        """Lay `background` under everything, over and over."""
        self._background = background
        self.began = time.time()
        self._playing: list[tuple[int, Audio]] = []
        self._listeners: set[asyncio.Task[None]] = set()

    def _now(self) -> int:
        return int((time.time() - self.began) * RATE)

    def play(self, audio: Audio) -> Playback:
        """Mix a sound in, starting in a moment that lies ahead of every listener."""
        now = self._now()
        self._playing = [
            (at, sound) for at, sound in self._playing if at + len(sound) > now - RATE
        ]
        at = now + int(_LEAD_S * RATE)
        self._playing.append((at, audio))
        start = self.began + at / RATE
        return Playback(start, start + len(audio) / RATE)

    def hush(self) -> None:
        """End everything that is being played."""
        self._playing.clear()

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    def hang_up(self) -> None:
        """Break off every connection, as a camera that restarts does."""
        for listener in self._listeners:
            listener.cancel()

    async def listen(self, response: web.StreamResponse) -> None:
        """Write what sounds to a prepared response until either side ends it."""

        async def write() -> None:
            with contextlib.suppress(ConnectionError):
                await response.write(header())
                async for block in self.blocks():
                    await response.write(block)

        listener = asyncio.create_task(write())
        self._listeners.add(listener)
        try:
            await asyncio.wait({listener})
        finally:
            listener.cancel()
            self._listeners.discard(listener)

    def samples(self, at: int, count: int) -> Audio:
        """Return the mix of `count` samples from sample `at` of the air's clock."""
        mix = np.take(self._background, np.arange(at, at + count), mode="wrap")
        for start, sound in self._playing:
            first, last = max(at, start), min(at + count, start + len(sound))
            if first < last:
                mix[first - at : last - at] += sound[first - start : last - start]
        return mix

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield PCM blocks of 20 ms as they become due, from now on, for ever."""
        at = self._now()
        while True:
            at += _BLOCK
            await asyncio.sleep(max(0.0, self.began + at / RATE - time.time()))
            mix = np.clip(self.samples(at - _BLOCK, _BLOCK), -1, 1)
            yield (mix * 32767).astype(">i2").tobytes()


@contextlib.asynccontextmanager
async def on_air(air: Air) -> AsyncIterator[str]:
    """Serve the air on loopback and give the URL that ffmpeg opens."""
    app = web.Application()

    async def listen(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "audio/basic"})
        await response.prepare(request)
        await air.listen(response)
        return response

    app.router.add_get("/microphone.au", listen)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/microphone.au"
    finally:
        # An endless answer would keep the server from ending.
        await site.stop()
        air.hang_up()
        await runner.cleanup()
