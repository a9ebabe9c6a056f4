"""Commands of a stream: what is said, always or after a wake word or gesture."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, TypeVar

from model_server.api.foresight import Foresight
from model_server.api.ids import uuid7
from model_server.api.lanes import Stream, transcript, unavailable, woken
from model_server.api.messages import Speech
from model_server.api.partials import Partials
from model_server.api.schedule import Schedule
from model_server.api.service import Service
from model_server.api.sound_lane import SoundLane
from model_server.api.waking import Waking
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.level import speech_dbfs
from model_server.engines.base import EngineError, Recognition, SpeechRecognizer
from model_server.listen.attention import ATTENTION, AttentionEvent, Forgotten
from model_server.listen.endpoint import SpeechStart, Utterance, pause_of
from model_server.listen.listener import Listener
from model_server.listen.wake import Wake

T = TypeVar("T")


class CommandLane:
    """Utterances: found on the listen thread, recognised on the speech thread."""

    task = "commands"

    def __init__(
        self,
        service: Service,
        stream: Stream,
        recognizer: SpeechRecognizer,
        wake: Waking | None = None,
        sounds: SoundLane | None = None,
        *,
        partials: bool = False,
    ) -> None:
        """Listen in the stream's language; with `wake`, to what follows a wake.

        `sounds` is the lane that hears gestures; with `partials` words are told while
        somebody speaks.
        """
        self._sounds = sounds
        if sounds is not None:
            sounds.made = self._made
        self._service = service
        self._stream = stream
        self._recognizer = recognizer
        self._gestures = frozenset(wake.gestures if wake else ())
        self._listener = Listener(
            recognizer,
            stream.language,
            service.settings.max_utterance_s,
            wake=wake.words if wake else None,
        )
        self._foresight = Foresight(service, recognizer)
        self._partials = Partials(service, stream, recognizer) if partials else None
        self._utterance = ""
        self._position = 0
        self._orders: Schedule[Callable[[], Awaitable[None]]] = Schedule()

    def listen(self, heard: int, wake: Waking | None) -> None:
        """Use other wake words once the stream has come to this sample.

        Raises StreamError if too much waits for that.
        """
        self._orders.add(heard, partial(self._change, wake))

    def attend(self, heard: int, seconds: float) -> None:
        """Listen without a wake to what begins so soon after this sample.

        Raises StreamError if too much waits for that.
        """
        until = heard + round(seconds * SAMPLE_RATE)
        self._orders.add(heard, partial(self._attend, heard, until))

    def _made(self, gesture: str, over: int, score: float) -> None:
        """A gesture was heard, which may be one that wakes."""
        if gesture in self._gestures:
            woken = Wake(gesture, over, score, over)
            self._orders.add(over, partial(self._woken, woken))

    async def take(self, pcm: Pcm) -> None:
        """Look for speech that begins or ends."""
        if self._sounds is not None and self._gestures:
            # It is late by what it has to do; with a backlog, by as much as that holds.
            await self._sounds.reached(self._position + pcm.size)
        while pcm.size:
            for order in self._orders.due(self._position):
                await order()
            size = self._orders.before(self._position, pcm.size)
            self._position += size
            await self._tell(await self._listen(self._listener.push, pcm[:size]))
            pcm = pcm[size:]
        self._foresight.offer(self._listener.ahead())
        if self._partials is not None:
            growing = self._listener.growing()
            self._partials.offer(self._utterance, growing, self._position)

    async def skip(self, samples: int) -> None:
        """An utterance with a hole ends at it."""
        self._position += samples
        await self._tell(await self._listen(self._listener.skip, samples))

    async def finish(self) -> None:
        """An utterance that is still open ends here."""
        await self._tell(await self._listen(self._listener.finish))

    async def _listen(self, call: Callable[..., T], *args: object) -> T:
        return await self._service.work("listen", call, *args)

    async def _change(self, wake: Waking | None) -> None:
        self._gestures = frozenset(wake.gestures if wake else ())
        words = wake.words if wake else None
        await self._listen(self._listener.attention.change, words)

    async def _attend(self, since: int, until: int) -> None:
        await self._tell(
            await self._listen(self._listener.attention.attend, since, until)
        )

    async def _woken(self, found: Wake) -> None:
        attend = self._listener.attention.attend
        until = found.end + ATTENTION
        await self._tell(await self._listen(attend, found.end, until, found))

    async def _tell(self, events: list[AttentionEvent]) -> None:
        """Say what was found, recognising utterances on the way."""
        while pause := pause_of(events):
            await self._say(events[:-1])
            said = await self._foresight.look(pause.pcm)
            events = await self._listen(self._listener.resume, said)
        await self._say(events)

    async def _say(self, events: list[AttentionEvent]) -> None:
        for event in events:
            match event:
                case Wake():
                    await self._stream.say(woken(self._service, self._stream, event))
                case Utterance():
                    await self._ended(event)
                case Forgotten():
                    self._stop()
                    await self._speech("end", event.end)
                case SpeechStart():
                    self._utterance = uuid7()
                    await self._speech("start", event.start)

    async def _ended(self, utterance: Utterance) -> None:
        """Say what was said."""
        self._stop()
        await self._speech("end", utterance.end)
        said = await self._recognize(utterance)
        await self._stream.say(
            transcript(
                self._service,
                self._stream,
                self._recognizer,
                self._utterance,
                (utterance.start, utterance.end),
                said,
                speech_dbfs(utterance.pcm) if utterance.pcm.size else None,
            )
        )

    def _stop(self) -> None:
        """The utterance ended."""
        self._foresight.stop()
        if self._partials is not None:
            self._partials.stop()

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
