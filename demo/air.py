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


def wav_header() -> bytes:
    """Return the header of a 16 kHz mono 16-bit WAV whose length nobody knows."""
    endless = 0xFFFFFFFF
    form = struct.pack(
        "<4sI4s4sIHHIIHH",
        b"RIFF",
        endless,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        RATE,
        2 * RATE,
        2,
        16,
    )
    return form + struct.pack("<4sI", b"data", endless)


class Air:
    """The mixer. Everybody who listens hears the same sample at the same time."""

    def __init__(self, background: Audio) -> None:
        """Lay `background` under everything, over and over."""
        self._background = background
        self._began = time.time()
        self._playing: list[tuple[int, Audio]] = []
        self.listeners = 0

    def _now(self) -> int:
        return int((time.time() - self._began) * RATE)

    def play(self, audio: Audio) -> Playback:
        """Mix a sound in, starting in a moment that lies ahead of every listener."""
        now = self._now()
        self._playing = [
            (at, sound) for at, sound in self._playing if at + len(sound) > now - RATE
        ]
        at = now + int(_LEAD_S * RATE)
        self._playing.append((at, audio))
        start = self._began + at / RATE
        return Playback(start, start + len(audio) / RATE)

    def hush(self) -> None:
        """End everything that is being played."""
        self._playing.clear()

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
            await asyncio.sleep(max(0.0, self._began + at / RATE - time.time()))
            mix = np.clip(self.samples(at - _BLOCK, _BLOCK), -1, 1)
            yield (mix * 32767).astype("<i2").tobytes()


async def _listen(request: web.Request, air: Air) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
    await response.prepare(request)
    air.listeners += 1
    try:
        await response.write(wav_header())
        async for block in air.blocks():
            await response.write(block)
    except ConnectionError:
        pass
    finally:
        air.listeners -= 1
    return response


@contextlib.asynccontextmanager
async def on_air(air: Air) -> AsyncIterator[str]:
    """Serve the air on loopback and give the URL that ffmpeg opens."""
    app = web.Application()

    async def listen(request: web.Request) -> web.StreamResponse:
        return await _listen(request, air)

    app.router.add_get("/microphone.wav", listen)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/microphone.wav"
    finally:
        await runner.cleanup()
