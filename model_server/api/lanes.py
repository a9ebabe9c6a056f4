"""What becomes of a stream's audio: one lane per task, each at its own pace."""

from __future__ import annotations

from collections import deque
from datetime import datetime
import logging
from typing import Literal, Protocol

from model_server.api.choice import Choice
from model_server.api.foresight import Foresight
from model_server.api.ids import uuid7
from model_server.api.intake import StreamError
from model_server.api.messages import (
    Alternative,
    Intent,
    Message,
    Sound,
    Speech,
    Transcript,
)
from model_server.api.service import Service, engine_message
from model_server.api.telling import Teller
from model_server.audio import Pcm
from model_server.audio.level import speech_dbfs
from model_server.engines.base import EngineError, Recognition, SpeechRecognizer
from model_server.listen.endpoint import EndpointEvent, Utterance
from model_server.listen.listener import Listener
from model_server.monitor import rhythm
from model_server.monitor.journal import Facts, Journal
from model_server.monitor.monitor import SoundChange, SoundMonitor
from model_server.monitor.timeline import Gap, Timeline, place

MAX_CHOICES = 32
"""Changes of what a stream listens for that may wait for its audio."""

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


class SoundLane:
    """Sound events, on the sounds thread."""

    task = "sounds"

    def __init__(
        self, service: Service, stream: Stream, choice: Choice, *, clips: bool = False
    ) -> None:
        """Watch for what was chosen; `clips` says that the client wants recordings."""
        self._service = service
        self._stream = stream
        self._pushed = 0
        self._gaps = [Gap(0, 0)]
        self._journal = self._open_journal()
        self._monitor = SoundMonitor(
            service.classifier, choice.labels, choice.tuning, self._journal
        )
        self._choices: deque[tuple[int, Choice]] = deque()
        self._open: dict[int, tuple[str, float]] = {}
        """Id and highest score of each event that has begun."""
        self._teller = Teller(service, stream, self._at, clips=clips)

    def listen(self, heard: int, choice: Choice) -> None:
        """Watch for others once the stream has come to this sample.

        Raises StreamError if too many wait for that.
        """
        if self._choices and self._choices[-1][0] == heard:
            self._choices.pop()
        if len(self._choices) >= MAX_CHOICES:
            raise StreamError(
                "bad_message",
                "`listen` came too often: send it when something changes.",
            )
        self._choices.append((heard, choice))

    async def take(self, pcm: Pcm) -> None:
        """Look for sounds that begin or end."""
        while pcm.size:
            await self._choose()
            size = pcm.size
            if self._choices:
                size = min(size, self._choices[0][0] - self._position)
            self._teller.hear(pcm[:size])
            changes = await self._service.work("sounds", self._monitor.push, pcm[:size])
            self._pushed += size
            pcm = pcm[size:]
            await self._say(changes)

    async def _choose(self) -> None:
        """Watch for what was chosen up to here."""
        while self._choices and self._choices[0][0] <= self._position:
            _, choice = self._choices.popleft()
            await self._say(
                await self._service.work(
                    "sounds", self._monitor.listen, choice.labels, choice.tuning
                )
            )

    async def _say(self, changes: list[SoundChange]) -> None:
        for change in changes:
            sample = change.onset if change.release is None else change.release
            await self._teller.tell(self._message(change), sample)
        self._teller.advance()

    @property
    def _position(self) -> int:
        """The stream's next sample."""
        return self._pushed + self._gaps[-1].lost

    async def skip(self, samples: int) -> None:
        """The monitor hears no gap; later times are moved by it."""
        self._gaps.append(Gap(self._pushed, self._gaps[-1].lost + samples))
        if self._journal is not None:
            self._journal.flush()

    async def finish(self) -> None:
        """Events stay open: the next stream of the microphone may continue them."""
        await self._choose()
        await self._teller.finish()

    def close(self) -> None:
        """The stream is over, in order or not."""
        self._teller.close()
        if self._journal is not None:
            # Behind whatever its monitor still works on.
            self._service.release("sounds", self._journal.close)

    def _open_journal(self) -> Journal | None:
        """Where the stream's scores are kept, if they are."""
        log, classifier = self._service.score_log, self._service.classifier
        if log is None:
            return None
        facts = Facts(
            stream=uuid7(),
            microphone=self._stream.microphone,
            engine=rhythm.ENGINE if classifier is None else classifier.info,
            labels=() if classifier is None else tuple(classifier.labels),
            window=0 if classifier is None else classifier.window,
        )
        return log.journal(
            facts, lambda: Timeline(self._stream.at(0), tuple(self._gaps))
        )

    def _at(self, sample: int) -> datetime:
        """UTC time of the monitor's sample."""
        return self._stream.at(place(self._gaps, sample))

    def _message(self, change: SoundChange) -> Sound:
        """A change as sent."""
        if change.state == "start":
            self._open[change.event] = (uuid7(), change.score)
        event, highest = self._open[change.event]
        score = max(highest, change.score)
        if change.state == "end":
            del self._open[change.event]
        start = self._at(change.onset)
        end = None if change.release is None else self._at(change.release)
        known = start if change.state == "start" else self._at(change.at)
        return Sound(
            id=event,
            time=end or known,
            microphone=self._stream.microphone,
            state=change.state,
            label=change.label,
            score=score,
            threshold=change.threshold,
            scores=change.scores,
            windows=list(change.windows),
            gates=list(change.gates),
            start=start,
            end=end,
            engine=engine_message(change.engine),
            profile=change.profile,
        )


class CommandLane:
    """Utterances: found on the listen thread, recognised on the speech thread."""

    task = "commands"

    def __init__(
        self, service: Service, stream: Stream, recognizer: SpeechRecognizer
    ) -> None:
        """Listen in the stream's language."""
        self._service = service
        self._stream = stream
        self._recognizer = recognizer
        self._listener = Listener(
            recognizer, stream.language, service.settings.max_utterance_s
        )
        self._foresight = Foresight(service, recognizer)
        self._utterance = ""

    async def take(self, pcm: Pcm) -> None:
        """Look for speech that begins or ends."""
        await self._tell(await self._service.work("listen", self._listener.push, pcm))
        self._foresight.offer(self._listener.ahead())

    async def skip(self, samples: int) -> None:
        """An utterance with a hole ends at it."""
        await self._tell(
            await self._service.work("listen", self._listener.skip, samples)
        )

    async def finish(self) -> None:
        """An utterance that is still open ends here."""
        await self._tell(await self._service.work("listen", self._listener.finish))

    async def _tell(self, events: list[EndpointEvent]) -> None:
        """Say what was found, recognising utterances on the way."""
        for event in events:
            if isinstance(event, Utterance):
                self._foresight.stop()
                await self._speech("end", event.end)
                said = await self._recognize(event)
                await self._stream.say(
                    transcript(
                        self._service,
                        self._stream,
                        self._recognizer,
                        self._utterance,
                        (event.start, event.end),
                        said,
                        speech_dbfs(event.pcm) if event.pcm.size else None,
                    )
                )
            else:
                self._utterance = uuid7()
                await self._speech("start", event.start)

    async def _recognize(self, utterance: Utterance) -> Recognition:
        """What was said. An engine that is away costs this utterance, not the stream."""
        try:
            return await self._service.work(
                "speech", self._listener.recognize, utterance
            )
        except EngineError as error:
            return unavailable(error)

    async def _speech(self, state: Literal["start", "end"], sample: int) -> None:
        await self._stream.say(
            Speech(
                id=self._utterance,
                time=self._stream.at(sample),
                microphone=self._stream.microphone,
                state=state,
            )
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
