"""From a stream or one recording to what was said."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.vad import SileroVoice, VoiceActivity
from model_server.engines.base import Recognition, SpeechRecognizer
from model_server.listen.attention import Attention, AttentionEvent, Words
from model_server.listen.endpoint import Endpointer, EndpointSettings, Utterance

WHOLE = EndpointSettings(
    min_speech_s=0.1, pause_s=math.inf, max_utterance_s=math.inf, post_s=0.25
)
"""One utterance from the first to the last voice: the caller has cut it already."""


ROOM = EndpointSettings(rest_s=0.1, short_pause_s=0.25)
"""Somebody in a room: a short pause is the end of what is a whole command."""
MORE_S = 0.4
"""The pause that ends what is a command, but would be another if it went on."""
UNSAID_S = 0.8
"""The pause that ends what is no command yet."""

AHEAD = 161_280
"""Samples of a chunk, 10.08 s: an engine that works ahead does it chunk by chunk."""
_PAST = 256
"""Samples after a chunk that its last spectrum takes in: half a window."""


BIT = SAMPLE_RATE // 2
"""Samples between two looks at what is being said; the first takes in the pre-roll."""


class _Foresight:
    """Tells when an open utterance has become longer by another whole chunk, or may be over."""

    def __init__(self, endpointer: Endpointer) -> None:
        self._endpointer = endpointer
        self._chunks = 0
        self._rested: int | None = None

    def look(self) -> Pcm | None:
        """The open utterance from its start, if that is so."""
        chunks = max(0, self._endpointer.open_samples - _PAST) // AHEAD
        rested = self._endpointer.rested
        longer = chunks > self._chunks
        pauses = rested is not None and rested != self._rested
        self._chunks = chunks
        self._rested = rested
        return self._endpointer.open_pcm() if longer or pauses else None


class _Growing:
    """Tells when an open utterance has become longer by another bit."""

    def __init__(self, endpointer: Endpointer) -> None:
        self._endpointer = endpointer
        self._looked = 0

    def look(self) -> Pcm | None:
        """The open utterance from its start, if that is so."""
        size = self._endpointer.open_samples
        if size < self._looked:
            self._looked = 0
        if size - self._looked < BIT:
            return None
        self._looked = size
        return self._endpointer.open_pcm()


class Listener:
    """Finds utterances in one stream; `recognize` says what one of them was.

    Two steps, because finding must keep up with the stream and recognising is
    slow: they run on different threads. With wake words only what follows one is found.
    """

    def __init__(
        self,
        recognizer: SpeechRecognizer,
        language: str,
        max_utterance_s: float,
        vad: VoiceActivity | None = None,
        wake: Words | None = None,
    ) -> None:
        """Listen for `language`, which the recogniser must speak.

        `wake` is None to listen always; empty, `attention` is all that wakes it.
        """
        settings = replace(ROOM, max_utterance_s=max_utterance_s)
        endpointer = Endpointer(vad or SileroVoice(), settings)
        self.attention = Attention(endpointer, wake)
        self._foresight = _Foresight(endpointer)
        self._growing = _Growing(endpointer)
        self._recognizer = recognizer
        self._language = language

    def push(self, pcm: Pcm) -> list[AttentionEvent]:
        """Take samples, (samples,); return the speech that began or ended."""
        return self.attention.push(pcm)

    def ahead(self) -> Pcm | None:
        """After `push`: an open utterance that may be worked ahead on, else None."""
        return self._foresight.look()

    def growing(self) -> Pcm | None:
        """After `push`: an open utterance that has become longer by a bit, else None."""
        return self._growing.look() if self.attention.told else None

    def resume(self, said: Recognition | None) -> list[AttentionEvent]:
        """After a `Pause`: go on, knowing what was said up to there, if that is known."""
        if said is None:
            return self.attention.resume(None)
        if self.attention.asked:
            said = meant(said)
        if not said.text:
            return self.attention.resume(UNSAID_S)
        return self.attention.resume(0.0 if said.final else MORE_S)

    def skip(self, samples: int) -> list[AttentionEvent]:
        """Samples were lost."""
        return self.attention.skip(samples)

    def finish(self) -> list[AttentionEvent]:
        """The stream ends."""
        return self.attention.finish()

    def recognize(self, utterance: Utterance) -> Recognition:
        """What was said, or why that cannot be told."""
        if utterance.too_long:
            return Recognition("", 0.0, rejected="too_long")
        said = self._recognizer.recognize(utterance.pcm, self._language)
        if self.attention.asked:
            said = meant(said)
            if not said.rejected:
                self.attention.rest()
        return said


def meant(said: Recognition) -> Recognition:
    """What was said by somebody who asked to be heard: the likeliest, if there is one."""
    if said.rejected != "no_command" or not said.alternatives:
        return said
    best = said.alternatives[0]
    return replace(
        said, text=best.text, confidence=best.confidence, alternatives=(), rejected=None
    )


@dataclass(frozen=True)
class Transcription:
    """What was said between two samples of a recording."""

    start: int
    end: int
    recognition: Recognition


class Dictation:
    """One utterance with any silence around it, found while it still arrives.

    Somebody asked to be heard, so less sure a command is taken than from a room.
    """

    def __init__(
        self,
        recognizer: SpeechRecognizer,
        language: str,
        vad: VoiceActivity | None = None,
    ) -> None:
        """Begin with the first sample; the recogniser must speak `language`."""
        self._endpointer = Endpointer(vad or SileroVoice(), WHOLE)
        self._foresight = _Foresight(self._endpointer)
        self._growing = _Growing(self._endpointer)
        self._recognizer = recognizer
        self._language = language
        self.samples = 0

    def push(self, pcm: Pcm) -> None:
        """Take samples, (samples,)."""
        self.samples += pcm.size
        self._endpointer.push(pcm)

    def ahead(self) -> Pcm | None:
        """After `push`: the utterance so far if it may be worked ahead on, else None."""
        return self._foresight.look()

    def growing(self) -> Pcm | None:
        """After `push`: the utterance so far, if it has become longer by a bit, else None."""
        return self._growing.look()

    def finish(self) -> Transcription:
        """No more samples follow: what was said. Raises EngineError."""
        for event in self._endpointer.finish():
            if isinstance(event, Utterance):
                said = self._recognizer.recognize(event.pcm, self._language)
                return Transcription(event.start, event.end, meant(said))
        return Transcription(0, self.samples, Recognition("", 0.0, rejected="silence"))


def transcribe(
    recognizer: SpeechRecognizer,
    pcm: Pcm,
    language: str,
    vad: VoiceActivity | None = None,
) -> Transcription:
    """Recognise one utterance, (samples,), with any silence around it."""
    dictation = Dictation(recognizer, language, vad)
    dictation.push(pcm)
    return dictation.finish()
