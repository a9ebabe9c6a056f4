"""A second opinion on sound events: the describer says whether it hears the same."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from model_server.api.answers import Answer, Question, joined
from model_server.api.messages import Sound
from model_server.api.refusals import EngineFailedError
from model_server.api.service import Service
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.ring import Ring
from model_server.catalogue import SoundLabel
from model_server.engines.base import AudioDescriber, EngineError
from model_server.engines.prompts import confirm
from model_server.engines.schemas import read_json

AUDIO_S: Final = 10.0
"""The describer hears no more than these last seconds."""
BEFORE_S: Final = 2.0
"""And begins so long before the onset."""
UNDELAYED: Final = frozenset({"glass_break", "siren"})
"""Told at once, with the alarms and gestures, which no classifier decides."""
GATE: Final = "verification"
MAX_CAPTION: Final = 200
MAX_TOKENS: Final = 128
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "heard": {"enum": ["yes", "no"]},
        "caption": {"type": "string", "maxLength": MAX_CAPTION},
    },
    "required": ["heard", "caption"],
    "additionalProperties": False,
}

Outcome: TypeAlias = Literal["confirmed", "denied", "late", "failed", "busy"]
Tell: TypeAlias = Callable[[Sound, int], Awaitable[None]]
"""Sends a message; the sample at which its event began or ended comes with it."""


@dataclass(frozen=True)
class Opinion:
    """What became of a question; `caption` is there where it was answered."""

    outcome: Outcome
    caption: str | None = None


def is_delayed(label: SoundLabel) -> bool:
    """Whether an event of this label may wait for the describer."""
    return label.source == "classifier" and label.slug not in UNDELAYED


class Verifier:
    """Asks about one event of a stream at a time; while it waits, its messages do.

    Other events are told meanwhile: those that begin then go unverified.
    """

    def __init__(
        self, service: Service, describer: AudioDescriber, recent: Ring, tell: Tell
    ) -> None:
        """Ask about the audio in `recent`, and hand what may be told to `tell`."""
        self._service = service
        self._describer = describer
        self._recent = recent
        self._tell = tell
        self._asking: asyncio.Task[None] | None = None
        self._waiting: str | None = None
        """The event whose messages are held."""
        self._held: deque[tuple[Sound, int]] = deque()
        self._denied: set[str] = set()
        self._opinions: dict[str, Opinion | None] = {}
        """Of each event that goes on and was asked about."""

    async def take(self, sound: Sound, label: SoundLabel, sample: int) -> None:
        """A message and the sample it is about: tell it now, later, or never."""
        if sound.state == "start":
            if self._ask_about(sound, label, sample) and is_delayed(label):
                self._waiting = sound.id
        if sound.id == self._waiting:
            self._held.append((sound, sample))
        else:
            await self._pass(sound, sample)

    async def finish(self) -> None:
        """Nothing follows: wait for the answer, which has its deadline."""
        if self._asking is not None:
            await self._asking

    def close(self) -> None:
        """The stream is gone: nobody wants the answer."""
        if self._asking is not None:
            self._asking.cancel()

    def _ask_about(self, sound: Sound, label: SoundLabel, onset: int) -> bool:
        """Begin to ask about an event, unless another is being asked about."""
        if self._asking is not None and not self._asking.done():
            if is_delayed(label):
                self._count("busy")
            return False
        self._opinions[sound.id] = None
        stop = self._recent.end
        start = max(
            self._recent.oldest,
            min(onset, stop) - round(BEFORE_S * SAMPLE_RATE),
            stop - round(min(AUDIO_S, self._describer.max_seconds) * SAMPLE_RATE),
        )
        pcm = self._recent.read(start, stop)
        self._asking = asyncio.create_task(self._verify(sound.id, label, pcm))
        return True

    async def _verify(self, event: str, label: SoundLabel, pcm: Pcm) -> None:
        opinion = await self._opinion(label, pcm)
        self._count(opinion.outcome)
        if event in self._opinions:
            self._opinions[event] = opinion
        if event != self._waiting:
            return
        if opinion.outcome == "denied":
            self._denied.add(event)
        # Not before the last is told: one that comes meanwhile must not overtake it.
        while self._held:
            await self._pass(*self._held.popleft())
        self._waiting = None

    async def _opinion(self, label: SoundLabel, pcm: Pcm) -> Opinion:
        """Ask, for so long as an event may wait."""
        question = Question(pcm, confirm(label.name), SCHEMA, MAX_TOKENS)
        answer = Answer(self._service, self._describer, question)
        try:
            async with (
                asyncio.timeout(self._service.settings.verify_s),
                aclosing(answer.pieces()) as pieces,
            ):
                said = read_json(await joined(pieces), SCHEMA)
        except TimeoutError:
            return Opinion("late")
        except (EngineError, EngineFailedError, ValueError):
            return Opinion("failed")
        if said["heard"] == "no":
            return Opinion("denied")
        return Opinion("confirmed", " ".join(said["caption"].split()) or None)

    async def _pass(self, sound: Sound, sample: int) -> None:
        """Tell a message with what is known by now, unless its event was denied."""
        over = sound.state == "end"
        opinion = self._opinions.get(sound.id)
        if over:
            self._opinions.pop(sound.id, None)
        if sound.id in self._denied:
            if over:
                self._denied.discard(sound.id)
            return
        if opinion is not None and opinion.outcome == "confirmed":
            sound = sound.model_copy(
                update={
                    "verified": True,
                    "description": opinion.caption,
                    "gates": [*sound.gates, GATE],
                }
            )
        await self._tell(sound, sample)

    def _count(self, outcome: Outcome) -> None:
        self._service.metrics.verifications.labels(outcome).inc()
