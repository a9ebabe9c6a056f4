"""What becomes of a stream's audio: one lane per task, each at its own pace."""

from __future__ import annotations

from datetime import datetime
import logging
from typing import Protocol

from model_server.api.ids import uuid7
from model_server.api.messages import Alternative, Intent, Message, Transcript, Wake
from model_server.api.service import Service, engine_message
from model_server.audio import Pcm
from model_server.engines.base import EngineError, Recognition, SpeechRecognizer
from model_server.listen import wake

_LOGGER = logging.getLogger(__name__)


class Stream(Protocol):
    """What a lane needs of its stream."""

    microphone: str
    language: str

    async def say(self, message: Message) -> None:
        """Send a message."""

    def at(self, sample: int) -> datetime:
        """UTC time of a sample."""


class Lane(Protocol):
    """Takes all audio of a stream in order and says what it finds."""

    task: str

    async def take(self, pcm: Pcm) -> None:
        """The next samples, (samples,)."""

    async def skip(self, samples: int) -> None:
        """So many samples were lost."""

    async def finish(self) -> None:
        """Nothing follows."""


def woken(service: Service, stream: Stream, found: wake.Wake) -> Wake:
    """A wake as sent, counted."""
    service.metrics.wakes.labels(found.name).inc()
    return Wake(
        id=uuid7(),
        time=stream.at(found.end),
        microphone=stream.microphone,
        word=found.name,
        score=found.score,
    )


def unavailable(error: EngineError) -> Recognition:
    """The outcome of an utterance that no engine could be asked about."""
    _LOGGER.warning("An utterance was not recognised: %s", error)
    return Recognition("", 0.0, rejected="unavailable")


def transcript(
    service: Service,
    stream: Stream,
    recognizer: SpeechRecognizer,
    utterance: str,
    bounds: tuple[int, int],
    said: Recognition,
    level_dbfs: float | None = None,
) -> Transcript:
    """A recognition as sent, counted by its outcome."""
    service.metrics.utterances.labels(said.rejected or "recognised").inc()
    start, end = (stream.at(sample) for sample in bounds)
    return Transcript(
        id=utterance,
        time=end,
        microphone=stream.microphone,
        text=said.text,
        confidence=said.confidence,
        rejected=said.rejected,
        alternatives=[
            Alternative(text=each.text, confidence=each.confidence)
            for each in said.alternatives
        ],
        language=stream.language,
        start=start,
        end=end,
        engine=engine_message(said.engine or recognizer.info),
        intent=None
        if said.intent is None
        else Intent(name=said.intent.name, slots=dict(said.intent.slots)),
        level_dbfs=level_dbfs,
    )
