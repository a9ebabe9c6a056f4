"""What a Wyoming client asks for, event by event, and what the server says it has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info, WakeModel, WakeProgram
from wyoming.ping import Pong

from model_server import __version__
from model_server.api.intake import StreamError
from model_server.api.refusals import EngineFailedError
from model_server.api.service import Service
from model_server.api.wyoming_ears import Deaf, Ear, Say, SpeechEar, WakeEar
from model_server.api.wyoming_events import (
    AudioFields,
    DetectFields,
    PingFields,
    TranscribeFields,
    fields,
)
from model_server.audio import SAMPLE_RATE
from model_server.audio.raw import NATIVE, RawFormat, RawPcm
from model_server.engines.base import EngineError, SpeechRecognizer
from model_server.listen import wake

NAME = "Earshot"
EARSHOT = Attribution(NAME, "https://github.com/earshot-home/earshot")


def describe(service: Service) -> Info:
    """The programs that this server has, with their models."""
    speech = [] if service.recognizer is None else [_asr(service.recognizer)]
    return Info(asr=speech, wake=[_wake()])


def _asr(recognizer: SpeechRecognizer) -> AsrProgram:
    engine = recognizer.info
    model = AsrModel(
        name=engine.name,
        attribution=EARSHOT,
        installed=True,
        description=None,
        version=engine.version,
        languages=list(recognizer.languages),
    )
    return AsrProgram(
        name=NAME,
        attribution=EARSHOT,
        installed=True,
        description="Hears what the home's vocabulary says, or any speech",
        version=__version__,
        models=[model],
        # One transcript when the utterance is over, which the client has to notice.
        supports_transcript_streaming=False,
        requires_external_vad=True,
        # The engines learned from audio as microphones give it.
        prefers_auto_gain_enabled=False,
        prefers_noise_reduction_enabled=False,
    )


def _wake() -> WakeProgram:
    models = [
        WakeModel(
            name=word.name,
            attribution=Attribution(word.author, word.website),
            installed=True,
            description=word.phrase,
            version=word.version,
            languages=list(word.languages),
            phrase=word.phrase,
        )
        for word in wake.wake_words().values()
    ]
    return WakeProgram(
        name=NAME,
        attribution=Attribution(
            "microWakeWord", "https://github.com/OHF-Voice/pymicro-wakeword"
        ),
        installed=True,
        description="Hears wake words",
        version=wake.ENGINE.version,
        models=models,
    )


class Talk:
    """A client's events in order. An error ends what it is about, not the connection."""

    def __init__(self, service: Service, say: Say) -> None:
        """Answer through `say`."""
        self._service = service
        self._say = say
        self._listen: Callable[[], Ear] | None = None
        """Makes the ear that was asked for last; none was: speech to text."""
        self._ear: Ear | None = None
        self._audio = RawPcm(NATIVE)

    async def take(self, event: Event) -> None:
        """Do what an event asks for; events of other kinds are for other programs."""
        refusal = None
        try:
            await self._take(event)
        except StreamError as error:
            refusal = error
        except EngineError as error:
            refusal = StreamError("engine_failed", str(error))
        except EngineFailedError:
            refusal = StreamError(
                "engine_failed",
                "The engine failed on this audio; the server's log says where.",
            )
        if refusal is None:
            return
        self._service.metrics.wyoming_errors.labels(refusal.code).inc()
        if event.type in {"audio-start", "audio-chunk"}:
            self._ear = Deaf()
        await self._say(Error(refusal.message, refusal.code))

    async def _take(self, event: Event) -> None:
        match event.type:
            case "describe":
                await self._say(describe(self._service))
            case "ping":
                await self._say(Pong(fields(PingFields, event.data).text))
            case "transcribe" | "detect":
                # Its audio may follow at once, whether it can be done or not.
                self._listen, self._ear = Deaf, None
                if event.type == "detect":
                    self._listen = self._watch(fields(DetectFields, event.data))
                else:
                    self._listen = self._speech(fields(TranscribeFields, event.data))
            case "audio-start":
                self._start(_form(fields(AudioFields, event.data)))
            case "audio-chunk":
                await self._hear(event)
            case "audio-stop":
                await self._stop()

    def _speech(self, asked: TranscribeFields) -> Callable[[], SpeechEar]:
        """Speech to text, if the server has it. Raises StreamError."""
        recognizer = self._service.recognizer
        if recognizer is None:
            raise StreamError("unsupported_task", "This server has no speech engine.")
        if asked.name not in {None, recognizer.info.name}:
            raise StreamError(
                "unsupported_task",
                f"The speech model of this server is {recognizer.info.name}.",
            )
        spoken = self._service.spoken
        if asked.language is None:
            language = spoken("en") or recognizer.languages[0]
        elif (known := spoken(asked.language)) is not None:
            language = known
        else:
            languages = ", ".join(recognizer.languages)
            raise StreamError(
                "unsupported_language", f"The speech engine's languages: {languages}."
            )
        return partial(SpeechEar, self._service, self._say, recognizer, language)

    def _watch(self, asked: DetectFields) -> Callable[[], WakeEar]:
        """Wake words, if all that are named are known. Raises StreamError."""
        known = wake.wake_words()
        names = tuple(dict.fromkeys(asked.names or known))
        if not known.keys() >= set(names):
            raise StreamError(
                "unsupported_task",
                f"The wake words of this server: {', '.join(known)}.",
            )
        return partial(WakeEar, self._service, self._say, names)

    def _start(self, form: RawFormat) -> Ear:
        """Begin to listen."""
        self._ear = (self._listen or self._speech(TranscribeFields()))()
        self._audio = RawPcm(form)
        return self._ear

    async def _hear(self, event: Event) -> None:
        """Hand on a chunk; where no `audio-start` came, it says as much itself."""
        if isinstance(self._ear, Deaf):
            return
        chunk = fields(AudioFields, event.data)
        form = _form(chunk)
        ear = self._ear or self._start(form)
        if form != self._audio.form:
            raise StreamError(
                "bad_message",
                "A chunk's rate, width or channels differ from those that the audio "
                "began with: send `audio-stop` and `audio-start` between them.",
            )
        for pcm in self._audio.push(event.payload or b""):
            self._service.metrics.audio.inc(pcm.size / SAMPLE_RATE)
            await ear.take(pcm, chunk.timestamp)

    async def _stop(self) -> None:
        """Say what was heard."""
        ear, self._ear = self._ear, None
        if ear is not None:
            await ear.take(self._audio.finish(), None)
            await ear.finish()


def _form(audio: AudioFields) -> RawFormat:
    try:
        return RawFormat(audio.rate, audio.width, audio.channels)
    except ValueError as error:
        raise StreamError("bad_message", str(error)) from None
