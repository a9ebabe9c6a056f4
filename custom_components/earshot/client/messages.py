"""The frames of a stream, protocol 1: what the client sends and the server answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
import json
import re
from typing import Literal

from . import fields
from .errors import StreamError
from .fields import Json

PROTOCOL = 1

MAX_SLOTS = 12
MAX_SLOT = 200
_INTENT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SLOT = re.compile(r"[a-z][a-z_]{0,63}")

type Task = Literal["sounds", "commands", "transcribe"]


@dataclass(frozen=True)
class Start:
    """The first frame. `time` is the UTC time of the first sample."""

    microphone: str
    tasks: tuple[Task, ...]
    language: str = "en"
    labels: tuple[str, ...] | None = None
    time: datetime | None = None

    def encode(self) -> str:
        """Return the JSON frame."""
        frame: dict[str, object] = {
            "type": "start",
            "protocol": PROTOCOL,
            "microphone": self.microphone,
            "tasks": self.tasks,
            "language": self.language,
        }
        if self.labels is not None:
            frame["labels"] = self.labels
        if self.time is not None:
            frame["time"] = self.time.isoformat()
        return json.dumps(frame)


END = json.dumps({"type": "end"})
"""The last frame: no more PCM follows."""


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
class Limits:
    """What one stream may do before it gets an error."""

    max_streams: int
    max_utterance_s: float
    max_ahead_s: float
    max_message_bytes: int
    idle_s: float

    @classmethod
    def read(cls, data: Json) -> Limits:
        """Read it from decoded JSON."""
        return cls(
            fields.integer(data, "max_streams"),
            fields.number(data, "max_utterance_s"),
            fields.number(data, "max_ahead_s"),
            fields.integer(data, "max_message_bytes"),
            fields.number(data, "idle_s"),
        )


@dataclass(frozen=True)
class Ready:
    """The stream is open; PCM may follow."""

    protocol: int
    session: str
    version: str
    labels: tuple[str, ...]
    limits: Limits


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
class Alternative:
    """Another text that may have been said."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Intent:
    """What a model understood, as it says: an intent of Home Assistant and its slots."""

    name: str
    slots: Mapping[str, str | int]


UNAVAILABLE = "unavailable"
"""A transcript's `rejected` when the speech engine could not be asked."""


@dataclass(frozen=True)
class Transcript(Result):
    """One utterance's outcome; `text` is empty exactly when `rejected` says why.

    `intent` is unchecked: who acts on it asks the same questions as about a text.
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


@dataclass(frozen=True)
class Sound(Result):
    """A sound event began or ended; both messages share its id."""

    state: Literal["start", "end"]
    label: str
    score: float
    threshold: float
    start: datetime
    engine: Engine
    end: datetime | None = None
    verified: bool = False
    scores: dict[str, float] = field(default_factory=dict)


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
    Ready | Speech | Transcript | Sound | Level | Health | Stopped | StreamError
)

_STATES: tuple[Literal["start"], Literal["end"]] = ("start", "end")


def _ready(data: Json) -> Ready:
    return Ready(
        fields.integer(data, "protocol"),
        fields.string(data, "session"),
        fields.string(data, "version"),
        fields.strings(data, "labels"),
        Limits.read(fields.item(data, "limits")),
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


def _intent(value: object) -> Intent | None:
    """Read an intent; one that could not be Home Assistant's counts as none."""
    if not isinstance(value, dict):
        return None
    name, slots = value.get("name"), value.get("slots", {})
    if (
        not isinstance(name, str)
        or _INTENT.fullmatch(name) is None
        or not isinstance(slots, dict)
        or len(slots) > MAX_SLOTS
        or not all(
            _SLOT.fullmatch(slot) and _is_slot_value(given)
            for slot, given in slots.items()
        )
    ):
        return None
    return Intent(name, slots)


def _is_slot_value(value: object) -> bool:
    """Tell whether this is a whole number or a short line of text."""
    if isinstance(value, str):
        return len(value) <= MAX_SLOT and value.isprintable()
    return isinstance(value, int) and not isinstance(value, bool)


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
        intent=_intent(data.get("intent")),
    )


def _sound(data: Json) -> Sound:
    return Sound(
        fields.string(data, "id"),
        fields.time(data, "time"),
        fields.string(data, "microphone"),
        state=fields.choice(data, "state", _STATES),
        label=fields.slug(data, "label"),
        score=fields.score(data, "score"),
        threshold=fields.score(data, "threshold"),
        start=fields.time(data, "start"),
        engine=Engine.read(fields.item(data, "engine")),
        end=fields.optional_time(data, "end"),
        verified=fields.boolean(data, "verified"),
        scores=fields.scores(data, "scores"),
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


_READERS: dict[str, Callable[[Json], ServerMessage]] = {
    "ready": _ready,
    "speech": _speech,
    "transcript": _transcript,
    "sound": _sound,
    "level": _level,
    "health": _health,
    "stopped": _stopped,
    "error": _error,
}


def parse(text: str) -> ServerMessage | None:
    """Read one text frame; None for a type this client does not know.

    Raises InvalidMessage for a known type with a wrong or missing field.
    """
    data = fields.decode(text)
    reader = _READERS.get(fields.string(data, "type"))
    return None if reader is None else reader(data)
