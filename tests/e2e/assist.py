"""A run of an Assist pipeline, as Home Assistant's own frontend starts one."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from demo import audio
from demo.air import RATE
from demo.client import HomeClient

RUN_S = 30.0
FRAME = 640
"""Bytes of 20 ms."""


def spoken(text: str, voice: int = 0) -> bytes:
    """A sentence with half a second of silence around it, as a satellite sends it."""
    pause = np.zeros(RATE // 2, dtype=np.float32)
    said = np.concatenate([pause, audio.speak(text, audio.VOICES[voice]), pause])
    return (said * 32767).astype("<i2").tobytes()


class Run:
    """A pipeline that runs; its events are kept."""

    def __init__(self, client: HomeClient) -> None:
        """Prepare a run in this home."""
        self._client = client
        self._news = asyncio.Event()
        self._handler = b""
        self.events: list[dict[str, Any]] = []

    async def start(self, start_stage: str, **fields: Any) -> None:
        """Begin, up to and with the intent; the pipeline waits for audio then."""
        options = {"sample_rate": RATE} | fields.pop("input", {})
        await self._client.subscribe(
            "assist_pipeline/run",
            self._happened,
            start_stage=start_stage,
            end_stage="intent",
            input=options,
            **fields,
        )
        data = (await self.until("run-start"))["runner_data"]
        self._handler = bytes([data["stt_binary_handler_id"]])

    def _happened(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: str) -> dict[str, Any] | None:
        """The data of the first event of a kind, {} for none; None without an event."""
        return next((e["data"] or {} for e in self.events if e["type"] == kind), None)

    async def until(self, kind: str) -> dict[str, Any]:
        """Wait for an event of a kind. Fails when the run ends without."""
        async with asyncio.timeout(RUN_S):
            while (data := self.of(kind)) is None:
                assert self.of("run-end") is None, self.events
                self._news.clear()
                await self._news.wait()
        return data

    async def hear(self, pcm: bytes) -> None:
        """Send audio as fast as it goes."""
        for first in range(0, len(pcm), FRAME):
            await self._client.send_bytes(self._handler + pcm[first : first + FRAME])

    async def end_of_audio(self) -> None:
        """Say that nothing follows."""
        await self._client.send_bytes(self._handler)
