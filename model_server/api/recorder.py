"""Clips of a stream's sound events: the audio around each onset, kept where it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol, TypeAlias

from model_server.api.messages import Clip, KeptClip, Message, Sound
from model_server.api.refusals import EngineFailedError
from model_server.api.service import Service
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.ring import Ring
from model_server.engines.base import EngineError
from model_server.listen import talk
from model_server.settings import ClipSettings

TAIL_S: Final = 1.0
"""A clip goes on for so long after its sound has ended."""
MAX_SAVING: Final = 4
"""Clips of one stream that may wait to be written; a further one is lost."""

Outcome: TypeAlias = Literal["kept", "speech", "lost"]


class Stream(Protocol):
    """What a recorder needs of its stream."""

    microphone: str

    async def say(self, message: Message) -> None:
        """Send a message."""


@dataclass
class _Cut:
    """Samples `start` to `stop` of the stream are wanted for an event."""

    sound: Sound
    start: int
    stop: int


def reach_s(settings: ClipSettings) -> float:
    """Seconds of a stream that a clip may be cut from, but for the detector's delay."""
    return settings.pre_s + settings.post_s


async def keep(service: Service, clip: KeptClip, pcm: Pcm) -> Outcome:
    """Write a clip unless somebody speaks in it; whatever fails costs only the clip."""
    outcome: Outcome = "lost"
    try:
        if not service.settings.clips.speech and await _speech(service, pcm):
            outcome = "speech"
        elif await service.work("clips", service.clips.keep, clip, pcm):
            outcome = "kept"
    except (EngineError, EngineFailedError):
        # It was counted and reported where it happened.
        pass
    service.metrics.clips.labels(outcome).inc()
    return outcome


async def _speech(service: Service, pcm: Pcm) -> bool:
    """Whether the voice activity or the classifier hears somebody speak.

    Each hears some that the other does not: one knows short words, the other noise.
    """
    if await service.work("clips", talk.has_voice, pcm):
        return True
    classifier, label = service.classifier, service.catalogue.get(talk.SPEAKING)
    if classifier is None or label is None:
        return False
    for windows in talk.batches(classifier, pcm):
        score = await service.work("sounds", talk.speaking, classifier, windows)
        if score >= label.on_score:
            return True
    return False


class Recorder:
    """Cuts a clip once its audio is complete, and tells the client when it is kept."""

    def __init__(
        self,
        service: Service,
        stream: Stream,
        recent: Ring,
        at: Callable[[int], datetime],
    ) -> None:
        """Cut from `recent`; `at` gives the time of its samples."""
        self._service = service
        self._settings = service.settings.clips
        self._stream = stream
        self._recent = recent
        self._at = at
        self._cuts: dict[str, _Cut] = {}
        self._kept: dict[str, bool] = {}
        """Of each event that goes on, whether its clip is kept already."""
        self._saving: set[asyncio.Task[None]] = set()

    def began(self, sound: Sound, onset: int) -> None:
        """Want a clip of an event that was told."""
        settings = self._settings
        self._kept[sound.id] = False
        if settings.labels and sound.label not in settings.labels:
            return
        start = max(self._recent.oldest, onset - _samples(settings.pre_s))
        stop = min(onset + _samples(settings.post_s), start + _samples(settings.max_s))
        self._cuts[sound.id] = _Cut(sound, start, stop)

    def ended(self, sound: Sound, release: int) -> str | None:
        """An event is over; the id of its clip, if that is kept already."""
        if (cut := self._cuts.get(sound.id)) is not None:
            cut.sound = sound
            cut.stop = min(cut.stop, release + _samples(TAIL_S))
        return sound.id if self._kept.pop(sound.id, False) else None

    def advance(self) -> None:
        """Save the clips whose audio is complete by now."""
        for event, cut in list(self._cuts.items()):
            if cut.stop <= self._recent.end:
                del self._cuts[event]
                self._save(cut)

    async def finish(self) -> None:
        """No audio follows: save what there is, and wait until it is told."""
        self._cut_short()
        await asyncio.gather(*self._saving)

    def close(self) -> None:
        """The stream is gone: save what there is; nobody is told any more."""
        self._cut_short()
        for task in self._saving:
            task.cancel()

    def _cut_short(self) -> None:
        for cut in self._cuts.values():
            self._save(cut)
        self._cuts.clear()

    def _save(self, cut: _Cut) -> None:
        start = max(cut.start, self._recent.oldest)
        stop = min(cut.stop, self._recent.end)
        if stop <= start or len(self._saving) >= MAX_SAVING:
            self._service.metrics.clips.labels("lost").inc()
            return
        sound = cut.sound
        clip = KeptClip(
            id=sound.id,
            microphone=sound.microphone,
            label=sound.label,
            start=self._at(start),
            seconds=round((stop - start) / SAMPLE_RATE, 3),
            score=sound.score,
        )
        keeping = self._service.keeping(
            keep(self._service, clip, self._recent.read(start, stop))
        )
        task = asyncio.create_task(self._tell(clip, keeping))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def _tell(self, clip: KeptClip, keeping: asyncio.Task[Outcome]) -> None:
        """Say that a clip is there, once it is; a stream that is gone leaves it be."""
        if await asyncio.shield(keeping) != "kept":
            return
        if clip.id in self._kept:
            self._kept[clip.id] = True
        await self._stream.say(
            Clip(
                id=clip.id,
                time=clip.start + timedelta(seconds=clip.seconds),
                microphone=clip.microphone,
                label=clip.label,
                start=clip.start,
                seconds=clip.seconds,
            )
        )


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
