"""How a stream's sound events reach its client: verified first, and recorded, where wanted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from model_server.api.messages import Sound
from model_server.api.recorder import Recorder, Stream, reach_s
from model_server.api.service import Service
from model_server.api.verify import Verifier
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.ring import Ring

LOOKBACK_S: Final = 30.0
"""The slowest detector tells an onset so late: an alarm needs two of its groups."""


class Teller:
    """Sends sound messages, and holds as much audio as that takes: mostly none."""

    def __init__(
        self,
        service: Service,
        stream: Stream,
        at: Callable[[int], datetime],
        *,
        clips: bool,
    ) -> None:
        """Tell `stream`; `clips` says that it asked for recordings."""
        self._service = service
        self._stream = stream
        settings = service.settings
        allowed = settings.clips.microphones
        clips = clips and settings.clips.enabled
        clips = clips and (not allowed or stream.microphone in allowed)
        verifies = service.describer is not None and settings.verify_s > 0
        self._recent: Ring | None = None
        self._recorder: Recorder | None = None
        self._verifier: Verifier | None = None
        if clips or verifies:
            reach = LOOKBACK_S + settings.verify_s + reach_s(settings.clips) * clips
            self._recent = Ring(round(reach * SAMPLE_RATE))
            if clips:
                self._recorder = Recorder(service, stream, self._recent, at)
            if verifies and service.describer is not None:
                self._verifier = Verifier(
                    service, service.describer, self._recent, self._tell
                )

    def hear(self, pcm: Pcm) -> None:
        """The samples that the next messages may be about, (samples,)."""
        if self._recent is not None:
            self._recent.write(pcm)

    async def tell(self, sound: Sound, sample: int) -> None:
        """A sound began or ended at this sample."""
        if self._verifier is None:
            await self._tell(sound, sample)
        else:
            label = self._service.catalogue[sound.label]
            await self._verifier.take(sound, label, sample)

    def advance(self) -> None:
        """All messages up to here were told."""
        if self._recorder is not None:
            self._recorder.advance()

    async def finish(self) -> None:
        """No audio follows; returns when all is told."""
        if self._verifier is not None:
            await self._verifier.finish()
        if self._recorder is not None:
            await self._recorder.finish()

    def close(self) -> None:
        """The stream is over, in order or not."""
        if self._verifier is not None:
            self._verifier.close()
        if self._recorder is not None:
            self._recorder.close()

    async def _tell(self, sound: Sound, sample: int) -> None:
        if sound.state == "start":
            self._service.metrics.sounds.labels(sound.label).inc()
        if self._recorder is not None:
            if sound.state == "end":
                clip = self._recorder.ended(sound, sample)
                sound = sound.model_copy(update={"clip": clip})
            elif sound.state == "start":
                self._recorder.began(sound, sample)
        await self._stream.say(sound)
