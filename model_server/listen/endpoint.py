"""Where utterances begin and end: voice probabilities become pieces of audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import TypeAlias

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.vad import VoiceActivity


@dataclass(frozen=True)
class EndpointSettings:
    """Thresholds as probabilities, times in seconds.

    `pause_s` bridges the gaps between words. After `short_pause_s`, if it is finite,
    somebody is asked who may know better how long a pause is the end.
    `pre_roll_s` and `post_s` are the margins the recogniser gets, because soft
    consonants score low; `rest_s` is the latter of what it works ahead on in a pause, and
    of the utterance if it could tell from that how long the pause is to be.
    """

    on: float = 0.4
    off: float = 0.2
    min_speech_s: float = 0.25
    pause_s: float = 0.6
    short_pause_s: float = math.inf
    pre_roll_s: float = 0.65
    post_s: float = 0.25
    rest_s: float = 0.25
    max_utterance_s: float = 15.0


@dataclass(frozen=True)
class SpeechStart:
    """Somebody has been speaking since sample `start`."""

    start: int


@dataclass(frozen=True)
class Utterance:
    """Somebody spoke from sample `start` to `end`.

    `pcm` is that with its margins. It is empty with `too_long`: then the limit
    was reached at `end` and nothing is heard until the next pause.
    """

    start: int
    end: int
    pcm: Pcm
    too_long: bool = False


@dataclass(frozen=True)
class Pause:
    """The utterance that began at sample `start` may be over: `pcm` is all of it.

    What follows waits for `resume` or the next `push`.
    """

    start: int
    pcm: Pcm


EndpointEvent: TypeAlias = SpeechStart | Pause | Utterance


def pause_of(events: Sequence[object]) -> Pause | None:
    """The pause that a list of events ends with, if it does."""
    last = events[-1] if events else None
    return last if isinstance(last, Pause) else None


class Endpointer:
    """Synchronous and deterministic: the same samples give the same events.

    However the samples are cut into pieces, the voice activity sees whole
    chunks. Holds at most one utterance of audio.
    """

    def __init__(
        self, vad: VoiceActivity, settings: EndpointSettings | None = None
    ) -> None:
        """Start at sample 0, in silence."""
        self.settings = settings or EndpointSettings()
        self._vad = vad
        self._carry: Pcm = np.zeros(0, np.int16)
        self._position = 0
        """Samples whose chunks were scored."""
        self._kept: list[Pcm] = []
        """Chunks up to `_position`: the pre-roll, or the utterance so far."""
        self._start: int | None = None
        self._voice_end = 0
        self._voiced = 0
        self._confirmed = False
        self._overrun = False
        self._end_s: float | None = None
        """Seconds of pause that end the open utterance, where somebody knows."""
        self._paused_at: int | None = None
        """The voice's end that was asked about last."""

    def push(self, pcm: Pcm) -> list[EndpointEvent]:
        """Take samples, (samples,); return what they complete, up to a pause."""
        events: list[EndpointEvent] = []
        samples = np.concatenate([self._carry, pcm])
        chunk = self._vad.chunk
        first = 0
        while first + chunk <= samples.size:
            events += self._step(samples[first : first + chunk])
            first += chunk
            if pause_of(events):
                break
        self._carry = samples[first:].copy()
        return events

    def resume(self, pause_s: float | None) -> list[EndpointEvent]:
        """Go on behind a pause, with so long a one as the utterance's end; None: who knows.

        What waits comes with the next push.
        """
        self._end_s = pause_s
        if pause_s is not None and pause_s <= self.settings.short_pause_s:
            return self._conclude()
        return []

    def _conclude(self) -> list[EndpointEvent]:
        """Close what is open."""
        closed = self._close() if self._start is not None and self._confirmed else []
        self._forget()
        return closed

    def finish(self) -> list[EndpointEvent]:
        """No more samples follow: close an utterance that is still open."""
        events: list[EndpointEvent] = []
        while self._carry.size >= self._vad.chunk:
            events += self.push(self._carry[:0])
        if self._carry.size:
            self._kept.append(self._carry)
            self._position += self._carry.size
            self._carry = self._carry[:0]
        events += self._conclude()
        self._overrun = False
        return [event for event in events if not isinstance(event, Pause)]

    def skip(self, samples: int) -> list[EndpointEvent]:
        """Samples were lost: close what is open and go on after the gap."""
        events = self.finish()
        self._kept.clear()
        self._vad.reset()
        self._position += samples
        return events

    def restart(self, position: int) -> None:
        """Go on at another sample, in silence; what was open is forgotten."""
        self._vad.reset()
        self._carry = self._carry[:0]
        self._kept.clear()
        self._forget()
        self._overrun = False
        self._position = self._voice_end = position

    @property
    def open_samples(self) -> int:
        """How long the open utterance would be if it ended now; 0 in silence."""
        if self._start is None or not self._confirmed:
            return 0
        return self._size(self.settings.rest_s)

    @property
    def rested(self) -> int | None:
        """Where the open utterance's voice ended, once its audio is whole if it ends there."""
        rest = round(self.settings.rest_s * SAMPLE_RATE)
        if not self.open_samples or self._position - self._voice_end < rest:
            return None
        return self._voice_end

    def open_pcm(self) -> Pcm:
        """The open utterance as it would be if it ended now, with its margins."""
        return np.concatenate([*self._kept, np.zeros(0, np.int16)])[: self.open_samples]

    def _size(self, margin_s: float) -> int:
        """How long the open utterance is with a margin, if there is audio up to there."""
        end = min(self._position, self._voice_end + round(margin_s * SAMPLE_RATE))
        return end - self._position + sum(chunk.size for chunk in self._kept)

    def _step(self, chunk: Pcm) -> list[EndpointEvent]:
        """Score one chunk and move on by it."""
        settings = self.settings
        probability = self._vad(chunk)
        self._kept.append(chunk)
        self._position += chunk.size
        speaking = self._start is not None or self._overrun
        voiced = probability >= (settings.off if speaking else settings.on)
        if voiced:
            self._voice_end = self._position
        pause_s = settings.pause_s if self._end_s is None else self._end_s
        paused = self._position - self._voice_end >= pause_s * SAMPLE_RATE

        if self._overrun:
            self._overrun = not paused
            self._trim()
            return []
        if self._start is None:
            if not voiced:
                self._trim()
                return []
            self._start = self._position - chunk.size
        if voiced:
            self._voiced += chunk.size
        return self._progress(paused)

    def _progress(self, paused: bool) -> list[EndpointEvent]:
        """What an open utterance does after one more chunk."""
        assert self._start is not None
        settings = self.settings
        events: list[EndpointEvent] = []
        if not self._confirmed and self._voiced >= settings.min_speech_s * SAMPLE_RATE:
            self._confirmed = True
            events.append(SpeechStart(self._start))
        if paused:
            if self._confirmed:
                events += self._close()
            self._forget()
        elif self._voice_end - self._start > settings.max_utterance_s * SAMPLE_RATE:
            if self._confirmed:
                nothing: Pcm = np.zeros(0, np.int16)
                events.append(Utterance(self._start, self._voice_end, nothing, True))
            self._overrun = True
            self._forget()
        elif self._may_be_over:
            self._paused_at = self._voice_end
            events.append(Pause(self._start, self.open_pcm()))
        return events

    @property
    def _may_be_over(self) -> bool:
        """Whether the utterance pauses, and nobody was asked about it yet."""
        paused = self._position - self._voice_end
        return (
            self._confirmed
            and paused >= self.settings.short_pause_s * SAMPLE_RATE
            and self._paused_at != self._voice_end
        )

    def _close(self) -> list[EndpointEvent]:
        """The open utterance with its margins."""
        assert self._start is not None
        # `_trim` left no more than the pre-roll before the start.
        kept = np.concatenate(self._kept)
        settings = self.settings
        foreseen = self._end_s is not None
        size = self._size(settings.rest_s if foreseen else settings.post_s)
        closed = Utterance(self._start, self._voice_end, kept[:size])
        # What was said is no pre-roll of what comes next.
        rest = kept[size:]
        chunk = self._vad.chunk
        self._kept = [rest[at : at + chunk] for at in range(0, rest.size, chunk)]
        return [closed]

    def _forget(self) -> None:
        """Back to silence."""
        self._start = None
        self._voiced = 0
        self._confirmed = False
        self._end_s = None
        self._trim()

    def _trim(self) -> None:
        """Keep only what may become the pre-roll of the next utterance."""
        # One chunk more than the pre-roll: the next chunk may be the first voiced.
        room = round(self.settings.pre_roll_s * SAMPLE_RATE)
        size = sum(chunk.size for chunk in self._kept)
        while self._kept and size - self._kept[0].size >= room:
            size -= self._kept.pop(0).size
