"""What becomes of the audio that a Wyoming client sends: a transcript, or detections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from wyoming.asr import Transcript
from wyoming.event import Eventable
from wyoming.wake import Detection, NotDetected

from model_server.api.feed import MIN_BLOCK
from model_server.api.foresight import Foresight
from model_server.api.intake import StreamError
from model_server.api.service import Service
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import SpeechRecognizer
from model_server.listen import wake
from model_server.listen.listener import Dictation

WAKE_BLOCK = 3 * wake.STEP
"""Samples; the models look at three steps at once, so that fewer tell them nothing."""

Say: TypeAlias = Callable[[Eventable], Awaitable[None]]


class Ear(Protocol):
    """What becomes of the audio between `audio-start` and `audio-stop`."""

    async def take(self, pcm: Pcm, timestamp: int | None) -> None:
        """The next samples, (samples,), of a chunk with this time in ms."""

    async def finish(self) -> None:
        """Nothing follows."""


class Deaf:
    """Hears nothing: what it should do was refused, and the client has been told."""

    async def take(self, pcm: Pcm, timestamp: int | None) -> None:
        """Ignore it."""

    async def finish(self) -> None:
        """Say nothing more."""


class SpeechEar:
    """One utterance: found while it arrives, recognised when it is over."""

    def __init__(
        self, service: Service, say: Say, recognizer: SpeechRecognizer, language: str
    ) -> None:
        """Listen to speech in one of the recogniser's languages."""
        self._service = service
        self._say = say
        self._language = language
        self._dictation = Dictation(recognizer, language)
        self._foresight = Foresight(service, recognizer)
        self._blocks = _Blocks(MIN_BLOCK)
        self._samples = 0

    async def take(self, pcm: Pcm, timestamp: int | None) -> None:
        """Look where speech begins. Raises StreamError once it is too long."""
        limit_s = self._service.settings.max_utterance_s
        self._samples += pcm.size
        if self._samples > limit_s * SAMPLE_RATE:
            self._foresight.stop()
            raise StreamError(
                "utterance_too_long",
                f"An utterance lasts at most {limit_s:g} s: send `audio-stop` earlier.",
            )
        if (block := self._blocks.add(pcm)) is not None:
            await self._service.work("listen", self._dictation.push, block)
            self._foresight.offer(self._dictation.ahead())

    async def finish(self) -> None:
        """Say what was said; an empty text when nothing was."""
        work = self._service.work
        self._foresight.stop()
        await work("listen", self._dictation.push, self._blocks.take())
        outcome = "unavailable"
        try:
            said = await work("speech", self._dictation.finish)
            outcome = said.recognition.rejected or "recognised"
        finally:
            self._service.metrics.utterances.labels(outcome).inc()
        await self._say(Transcript(said.recognition.text, language=self._language))


class WakeEar:
    """Listens for wake words as long as audio comes."""

    def __init__(self, service: Service, say: Say, names: Sequence[str]) -> None:
        """Listen for these words."""
        self._service = service
        self._say = say
        self._names = names
        self._detector: wake.WakeDetector | None = None
        self._blocks = _Blocks(WAKE_BLOCK)
        self._woken = False

    async def take(self, pcm: Pcm, timestamp: int | None) -> None:
        """Say each wake word when it has been heard."""
        if (block := self._blocks.add(pcm)) is None:
            return
        work = self._service.work
        if self._detector is None:
            cutoffs = dict.fromkeys(self._names)
            self._detector = await work("listen", wake.WakeDetector, cutoffs)
        for found in await work("listen", self._detector.push, block):
            self._woken = True
            self._service.metrics.wakes.labels(found.name).inc()
            heard_at = found.end * 1000 // SAMPLE_RATE
            await self._say(
                Detection(found.name, heard_at if timestamp is None else timestamp)
            )

    async def finish(self) -> None:
        """Say so if there was none."""
        if not self._woken:
            await self._say(NotDetected())


class _Blocks:
    """Puts chunks together: some are so short that a change of threads costs more."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._chunks: list[Pcm] = []
        self._samples = 0

    def add(self, pcm: Pcm) -> Pcm | None:
        """A block of at least so many samples, once there is one."""
        self._chunks.append(pcm)
        self._samples += pcm.size
        return self.take() if self._samples >= self._least else None

    def take(self) -> Pcm:
        """What has come since the last block."""
        block = np.concatenate([np.zeros(0, np.int16), *self._chunks])
        self._chunks.clear()
        self._samples = 0
        return block
