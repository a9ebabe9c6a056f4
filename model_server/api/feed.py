"""A stream's audio on its way: the reader writes it, each lane reads it at its pace."""

from __future__ import annotations

import asyncio

from model_server.api.lanes import Lane
from model_server.api.metrics import Metrics
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.ring import Ring

RING_S = 30
BLOCK = SAMPLE_RATE
"""Samples a lane takes at most at once, so that streams take turns on a thread."""
MIN_BLOCK = SAMPLE_RATE // 10
"""Fewer are not worth a change of threads."""


class Feed:
    """Bounded: a lane that falls behind by the whole ring loses the oldest audio."""

    def __init__(self, room_s: float, metrics: Metrics) -> None:
        """Hold `room_s`, at least 30 s."""
        self._ring = Ring(round(max(RING_S, room_s) * SAMPLE_RATE))
        self._metrics = metrics
        self._readers: list[asyncio.Event] = []
        self.ended = False

    def write(self, pcm: Pcm) -> None:
        """Append samples."""
        self._ring.write(pcm)
        self._metrics.audio.inc(pcm.size / SAMPLE_RATE)
        self._wake()

    def end(self) -> None:
        """Nothing follows."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.set()

    async def drive_all(self, lanes: list[Lane]) -> None:
        """Drive every lane to the end of the audio; the first error ends all."""
        try:
            async with asyncio.TaskGroup() as group:
                for lane in lanes:
                    group.create_task(self._drive(lane))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _drive(self, lane: Lane) -> None:
        """Hand a lane the audio as fast as it takes it."""
        arrived = asyncio.Event()
        self._readers.append(arrived)
        ring = self._ring
        position = 0
        while True:
            if lost := max(0, ring.oldest - position):
                position += lost
                dropped = self._metrics.dropped_audio.labels(lane.task)
                dropped.inc(lost / SAMPLE_RATE)
                await lane.skip(lost)
            elif ring.end - position >= (1 if self.ended else MIN_BLOCK):
                stop = min(ring.end, position + BLOCK)
                pcm = ring.read(position, stop)
                position = stop
                await lane.take(pcm)
            elif self.ended:
                break
            else:
                arrived.clear()
                await arrived.wait()
        await lane.finish()
