"""From a stream or one recording to what was said."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

from model_server.audio import Pcm
from model_server.audio.vad import SileroVoice, VoiceActivity
from model_server.engines.base import Recognition, SpeechRecognizer
from model_server.listen.endpoint import (
    Endpointer,
    EndpointEvent,
    EndpointSettings,
    Utterance,
)

WHOLE = EndpointSettings(
    min_speech_s=0.1, pause_s=math.inf, max_utterance_s=math.inf, post_s=0.25
)
"""One utterance from the first to the last voice: the caller has cut it already."""


class Listener:
    """Finds utterances in one stream; `recognize` says what one of them was.

    Two steps, because finding must keep up with the stream and recognising is
    slow: they run on different threads.
    """

    def __init__(
        self,
        recognizer: SpeechRecognizer,
        language: str,
        max_utterance_s: float,
        vad: VoiceActivity | None = None,
    ) -> None:
        """Listen for `language`, which the recogniser must speak."""
        settings = replace(EndpointSettings(), max_utterance_s=max_utterance_s)
        self._endpointer = Endpointer(vad or SileroVoice(), settings)
        self._recognizer = recognizer
        self._language = language

    def push(self, pcm: Pcm) -> list[EndpointEvent]:
        """Take samples, (samples,); return the speech that began or ended."""
        return self._endpointer.push(pcm)

    def skip(self, samples: int) -> list[EndpointEvent]:
        """Samples were lost."""
        return self._endpointer.skip(samples)

    def finish(self) -> list[EndpointEvent]:
        """The stream ends."""
        return self._endpointer.finish()

    def recognize(self, utterance: Utterance) -> Recognition:
        """What was said, or why that cannot be told."""
        if utterance.too_long:
            return Recognition("", 0.0, rejected="too_long")
        return self._recognizer.recognize(utterance.pcm, self._language)


@dataclass(frozen=True)
class Transcription:
    """What was said between two samples of a recording."""

    start: int
    end: int
    recognition: Recognition


def transcribe(
    recognizer: SpeechRecognizer,
    pcm: Pcm,
    language: str,
    vad: VoiceActivity | None = None,
) -> Transcription:
    """Recognise one utterance, (samples,), with any silence around it."""
    endpointer = Endpointer(vad or SileroVoice(), WHOLE)
    endpointer.push(pcm)
    for event in endpointer.finish():
        if isinstance(event, Utterance):
            said = recognizer.recognize(event.pcm, language)
            return Transcription(event.start, event.end, said)
    return Transcription(0, pcm.size, Recognition("", 0.0, rejected="silence"))
