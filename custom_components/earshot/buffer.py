"""Captured PCM with its times, waiting in memory for the server: bounded, newest kept."""

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .sources.base import BYTES_PER_SECOND

JITTER = timedelta(seconds=0.25)
"""How early a chunk may come without the clock being wrong."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples; `time` is that of the first one."""

    time: datetime
    pcm: bytes

    @property
    def end(self) -> datetime:
        """Return the time right after the last sample."""
        return self.time + _length(self.pcm)


def _length(pcm: bytes) -> timedelta:
    """Return how long PCM lasts."""
    return timedelta(seconds=len(pcm) / BYTES_PER_SECOND)


class PcmBuffer:
    """A queue of chunks whose clock counts samples and is set anew where audio breaks.

    A source that is opened delivers at once what it gathered meanwhile: seconds
    of it, with ffmpeg. Nothing is heard in the future, so until the first chunk
    of continuous audio is held, the clock gives way to that.
    """

    def __init__(
        self,
        capacity_s: float = 10.0,
        tolerance_s: float = 3.0,
        gather_s: float = 0.2,
    ) -> None:
        """Keep `capacity_s` of audio; accept a clock `tolerance_s` off the wall's.

        `gather_s` is how long a source may take to deliver what it gathered.
        """
        self._capacity = int(capacity_s * BYTES_PER_SECOND)
        self._tolerance = timedelta(seconds=tolerance_s)
        self._chunks: deque[Chunk] = deque()
        self._bytes = 0
        self._next: datetime | None = None
        self._held = False
        self._gather_s = gather_s
        self._gathering = False
        self._changed = asyncio.Event()

    def append(self, pcm: bytes, now: datetime) -> None:
        """Add samples that were just captured; the oldest make room."""
        time = self._next
        if self._gathering and time is not None:
            early = time + _length(pcm) - now
            if early > JITTER:
                self._set_back(early)
                time -= early
        if time is None or abs(time + _length(pcm) - now) > self._tolerance:
            # Samples were lost or the source's clock ran away: times start afresh.
            time = now - _length(pcm)
            self._gathering = True
        chunk = Chunk(time, pcm)
        self._next = chunk.end
        self._chunks.append(chunk)
        self._bytes += len(pcm)
        if not self._held:
            self._trim()
        self._changed.set()

    def cut(self) -> None:
        """Note that the source is gone: nothing continues what came before."""
        self._next = None
        self._changed.set()

    async def hold(self) -> datetime:
        """Wait for audio and return its first time; keep it until it is taken."""
        while not self._chunks:
            self._changed.clear()
            await self._changed.wait()
        if self._gathering:
            await asyncio.sleep(self._gather_s)
            self._gathering = False
        self._held = True
        return self._chunks[0].time

    def release(self) -> None:
        """Keep no more than the capacity again."""
        self._held = False
        self._trim()

    async def take(self, time: datetime) -> list[Chunk]:
        """Take all that continues from `time`; nothing if the audio breaks there."""
        while not self._chunks and self._next is not None:
            self._changed.clear()
            await self._changed.wait()
        taken = []
        while self._chunks and self._chunks[0].time == time:
            chunk = self._chunks.popleft()
            self._bytes -= len(chunk.pcm)
            taken.append(chunk)
            time = chunk.end
        self._held = False
        return taken

    def _set_back(self, by: timedelta) -> None:
        """Move the clock back, and with it the continuous audio that waits."""
        moved: list[Chunk] = []
        time = self._next
        while self._chunks and self._chunks[-1].end == time:
            chunk = self._chunks.pop()
            time = chunk.time
            moved.append(replace(chunk, time=chunk.time - by))
        self._chunks.extend(reversed(moved))
        if self._next is not None:
            self._next -= by

    def _trim(self) -> None:
        """Drop the oldest chunks beyond the capacity."""
        while self._bytes > self._capacity and len(self._chunks) > 1:
            self._bytes -= len(self._chunks.popleft().pcm)
