"""The frames of a stream that the server sends, protocol 1."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from . import evidence, fields
from .clips import Clip
from .errors import StreamError
from .fields import Json
from .intents import Intent, read_intent
from .limits import Limits


@dataclass(frozen=True)
class Engine:
    """The author of a result."""

    name: str
    version: str

    @classmethod
    def read(cls, data: Json) -> Engine:
        """Read it from decoded JSON."""
        return cls(fields.string(data, "name"), fields.string(data, "version"))


@dataclass(frozen=True)
class Ready:
    """The stream is open; PCM may follow."""

    protocol: int
    session: str
    version: str
    labels: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True)
class Listening:
    """A `listen` is in force: what is listened for now."""

    labels: tuple[str, ...]
    profile: str
    sensitivity: str


@dataclass(frozen=True)
class Result:
    """What every result carries; `time` comes from the audio clock, in UTC."""

    id: str
    time: datetime
    microphone: str


@dataclass(frozen=True)
class Speech(Result):
    """Somebody began or ceased to speak."""

    state: Literal["start", "end"]


@dataclass(frozen=True)
class Wake(Result):
    """A wake word or gesture was heard; `time` is when it was over."""

    word: str
    score: float


@dataclass(frozen=True)
class Partial(Result):
    """What somebody who still speaks has said so far; `text` may yet change."""

    text: str


@dataclass(frozen=True)
class Alternative:
    """Another text that may have been said."""

    text: str
    confidence: float


UNAVAILABLE = "unavailable"
"""A transcript's `rejected` when the speech engine could not be asked."""


@dataclass(frozen=True)
class Transcript(Result):
    """One utterance's outcome; `text` is empty exactly when `rejected` says why.

    `intent` is unchecked: who acts on it asks the same questions as about a text.
    `level_dbfs` is the loudness of the speech; older servers do not tell.
    """

    text: str
    confidence: float
    language: str
    start: datetime
    end: datetime
    engine: Engine
    rejected: str | None = None
    alternatives: tuple[Alternative, ...] = ()
    intent: Intent | None = None
    level_dbfs: float | None = None


@dataclass(frozen=True)
class Sound(Result):
    """A sound event began, has gone on for long or ended; all share its id.

    `windows` are the label's scores up to the deciding one, oldest first; `gates`
    what was passed on the way to the decision. `description` is a model's: data.
    """

    state: Literal["start", "sustained", "end"]
    label: str
    score: float
    threshold: float
    start: datetime
    engine: Engine
    end: datetime | None = None
    verified: bool = False
    scores: dict[str, float] = field(default_factory=dict)
    windows: tuple[float, ...] = ()
    gates: tuple[str, ...] = ()
    profile: str | None = None
    description: str | None = None
    clip: str | None = None


@dataclass(frozen=True)
class Level:
    """Loudness of the last second, dB relative to full scale."""

    time: datetime
    microphone: str
    rms_dbfs: float
    peak_dbfs: float


@dataclass(frozen=True)
class Health:
    """All that is wrong with what the microphone sends; nothing when it is empty."""

    time: datetime
    microphone: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Stopped:
    """The last frame of an orderly end."""

    reason: str


type ServerMessage = (
    Ready
    | Listening
    | Speech
    | Wake
    | Partial
    | Transcript
    | Sound
    | Clip
    | Level
    | Health
    | Stopped
    | StreamError
)

_STATES: tuple[Literal["start"], Literal["end"]] = ("start", "end")
_SOUND_STATES: tuple[Literal["start"], Literal["sustained"], Literal["end"]] = (
    "start",
    "sustained",
    "end",
)


def _ready(data: Json) -> Ready:
    return Ready(
        fields.integer(data, "protocol"),
        fields.string(data, "session"),
        fields.string(data, "version"),
        fields.strings(data, "labels"),
        Limits.read(fields.item(data, "limits")),
    )


def _listening(data: Json) -> Listening:
    return Listening(
        fields.strings(data, "labels"),
        fields.string(data, "profile"),
        fields.string(data, "sensitivity"),
    )


def _speech(data: Json) -> Speech:
    return Speech(
        fields.string(data, "id"),
        fields.time(data, "time"),
        fields.string(data, "microphone"),
        fields.choice(data, "state", _STATES),
    )


def _alternative(data: Json) -> Alternative:
    return Alternative(fields.string(data, "text"), fields.score(data, "confidence"))


def _transcript(data: Json) -> Transcript:
    return Transcript(
        fields.string(data, "id"),
        fields.time(data, "time"),
        fields.string(data, "microphone"),
        text=fields.string(data, "text"),
        confidence=fields.score(data, "confidence"),
        language=fields.string(data, "language"),
        start=fields.time(data, "start"),
        end=fields.time(data, "end"),
        engine=Engine.read(fields.item(data, "engine")),
        rejected=fields.optional_string(data, "rejected"),
        alternatives=fields.items(data, "alternatives", _alternative),
        intent=read_intent(data.get("intent")),
        level_dbfs=evidence.level(data, "level_dbfs"),
    )


def _sound(data: Json) -> Sound | None:
    if (state := fields.string(data, "state")) not in _SOUND_STATES:
        # Of a newer server; what it says of the event otherwise still counts.
        return None
    return Sound(
        fields.string(data, "id"),
        fields.time(data, "time"),
        fields.string(data, "microphone"),
        state=state,
        label=fields.slug(data, "label"),
        score=fields.score(data, "score"),
        threshold=fields.score(data, "threshold"),
        start=fields.time(data, "start"),
        engine=Engine.read(fields.item(data, "engine")),
        end=fields.optional_time(data, "end"),
        verified=fields.boolean(data, "verified"),
        scores=fields.scores(data, "scores"),
        windows=evidence.scores(data, "windows"),
        gates=evidence.words(data, "gates"),
        profile=evidence.word(data, "profile"),
        description=evidence.line(data, "description"),
        clip=evidence.word(data, "clip"),
    )


def _wake(data: Json) -> Wake:
    return Wake(
        fields.string(data, "id"),
        fields.time(data, "time"),
        fields.string(data, "microphone"),
        fields.slug(data, "word"),
        fields.score(data, "score"),
    )


def _partial(data: Json) -> Partial:
    return Partial(
        fields.string(data, "id"),
        fields.time(data, "time"),
        fields.string(data, "microphone"),
        fields.string(data, "text"),
    )


def _level(data: Json) -> Level:
    return Level(
        fields.time(data, "time"),
        fields.string(data, "microphone"),
        fields.number(data, "rms_dbfs"),
        fields.number(data, "peak_dbfs"),
    )


def _health(data: Json) -> Health:
    return Health(
        fields.time(data, "time"),
        fields.string(data, "microphone"),
        fields.strings(data, "problems"),
    )


def _stopped(data: Json) -> Stopped:
    return Stopped(fields.string(data, "reason"))


def _error(data: Json) -> StreamError:
    return StreamError(fields.string(data, "code"), fields.string(data, "message"))


_READERS: dict[str, Callable[[Json], ServerMessage | None]] = {
    "ready": _ready,
    "listening": _listening,
    "speech": _speech,
    "wake": _wake,
    "partial": _partial,
    "transcript": _transcript,
    "sound": _sound,
    "clip": Clip.read,
    "level": _level,
    "health": _health,
    "stopped": _stopped,
    "error": _error,
}


def parse(text: str) -> ServerMessage | None:
    """Read one text frame; None for a type or state this client does not know.

    Raises InvalidMessage for a known type with a wrong or missing field.
    """
    data = fields.decode(text)
    reader = _READERS.get(fields.string(data, "type"))
    return None if reader is None else reader(data)
