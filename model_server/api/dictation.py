"""A stream that is one utterance: it is found while it arrives, recognised at `end`."""

from __future__ import annotations

from model_server.api.foresight import Foresight
from model_server.api.ids import uuid7
from model_server.api.intake import StreamError
from model_server.api.lanes import Stream, transcript, unavailable
from model_server.api.partials import Partials
from model_server.api.service import Service
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import EngineError, SpeechRecognizer
from model_server.listen.listener import Dictation


class DictationLane:
    """Finds the utterance on the listen thread and recognises it on the speech thread."""

    task = "transcribe"

    def __init__(
        self,
        service: Service,
        stream: Stream,
        recognizer: SpeechRecognizer,
        *,
        partials: bool = False,
    ) -> None:
        """Listen in the stream's language; `partials` tells words while somebody speaks."""
        self._service = service
        self._stream = stream
        self._recognizer = recognizer
        self._dictation = Dictation(recognizer, stream.language)
        self._foresight = Foresight(service, recognizer)
        self._partials = Partials(service, stream, recognizer) if partials else None
        self._utterance = uuid7()
        self._samples = 0

    async def take(self, pcm: Pcm) -> None:
        """Look where speech begins. Raises StreamError once it is too long."""
        self._count(pcm.size)
        await self._service.work("listen", self._dictation.push, pcm)
        self._foresight.offer(self._dictation.ahead())
        if self._partials is not None:
            growing = self._dictation.growing()
            self._partials.offer(self._utterance, growing, self._samples)

    async def skip(self, samples: int) -> None:
        """More than the longest utterance arrived before it could be looked at."""
        self._count(samples)

    async def finish(self) -> None:
        """Say what was said."""
        self._foresight.stop()
        if self._partials is not None:
            self._partials.stop()
        bounds = (0, self._samples)
        try:
            said = await self._service.work("speech", self._dictation.finish)
        except EngineError as error:
            recognition = unavailable(error)
        else:
            bounds, recognition = (said.start, said.end), said.recognition
        await self._stream.say(
            transcript(
                self._service,
                self._stream,
                self._recognizer,
                self._utterance,
                bounds,
                recognition,
            )
        )

    def _count(self, samples: int) -> None:
        limit_s = self._service.settings.max_utterance_s
        self._samples += samples
        if self._samples > limit_s * SAMPLE_RATE:
            raise StreamError(
                "utterance_too_long",
                f"An utterance lasts at most {limit_s:g} s: send `end` earlier.",
            )
