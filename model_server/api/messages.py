"""The messages of protocol 1, as pydantic models: the one source of its JSON Schemas."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_server.audio.health import Problem
from model_server.catalogue import (
    MAX_COOLDOWN_S,
    MAX_GAP_S,
    MAX_HOLD_S,
    MAX_SUSTAIN_S,
    MAX_WINDOWS,
    MIN_HOLD_S,
    Source,
)
from model_server.engines.base import Rejection
from model_server.monitor.monitor import Gate, SoundState
from model_server.monitor.rules import DEFAULT_PROFILE, Sensitivity

PROTOCOL = 1

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
Score = Annotated[float, Field(ge=0, le=1)]
Waking = Annotated[
    dict[Slug, Annotated[float, Field(gt=0, lt=1)] | None], Field(max_length=32)
]
MAX_ATTEND_S = 120.0
Task = Literal["sounds", "commands", "transcribe", "wake"]


class Message(BaseModel):
    """A JSON text frame. Unknown fields are ignored, so that newer peers may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RuleBody(Message):
    """What differs from a label's rule in the catalogue. `sustain_s` 0 is never."""

    on: Annotated[float, Field(gt=0, le=1)] | None = None
    off: Annotated[float, Field(ge=0, lt=1)] | None = None
    k: Annotated[int, Field(ge=1, le=MAX_WINDOWS)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_WINDOWS)] | None = None
    hold_s: Annotated[float, Field(ge=MIN_HOLD_S, le=MAX_HOLD_S)] | None = None
    cooldown_s: Annotated[float, Field(ge=0, le=MAX_COOLDOWN_S)] | None = None
    sustain_s: Annotated[float, Field(ge=0, le=MAX_SUSTAIN_S)] | None = None
    sustain_gap_s: Annotated[float, Field(ge=0, le=MAX_GAP_S)] | None = None


class Start(Message):
    """Client: the first frame. `sounds` and `commands` may be combined, the others not.

    `time` is the UTC time of the first sample; without it the server's clock at
    the first PCM frame is taken. `labels` limits which sounds are reported;
    without it the catalogue's defaults are. `rules` by label, `sensitivity` of all
    other labels and the `profile`'s name say how they are decided. `clips` asks that
    recordings of sound events be kept, which the server's own settings must allow as
    well. With `wake`, commands count only after one of its words or gestures; a
    number is the score that a word must exceed instead of its model's own. `partials`
    asks for words while somebody speaks, where the engine knows them so soon.
    """

    type: Literal["start"] = "start"
    protocol: int = PROTOCOL
    microphone: Slug
    tasks: Annotated[list[Task], Field(min_length=1)]
    language: str = "en"
    labels: list[Slug] | None = None
    time: datetime | None = None
    profile: Slug = DEFAULT_PROFILE
    sensitivity: Sensitivity = "normal"
    rules: dict[Slug, RuleBody] = {}
    clips: bool = False
    wake: Waking = {}
    partials: bool = False


class Listen(Message):
    """Client: from now on other labels, rules, wake words or another profile.

    Fields as in `start`.
    """

    type: Literal["listen"] = "listen"
    labels: list[Slug] | None = None
    profile: Slug = DEFAULT_PROFILE
    sensitivity: Sensitivity = "normal"
    rules: dict[Slug, RuleBody] = {}
    wake: Waking = {}


class Attend(Message):
    """Client: listen to what is said within so many seconds, without a wake."""

    type: Literal["attend"] = "attend"
    seconds: Annotated[float, Field(gt=0, le=MAX_ATTEND_S)]


class End(Message):
    """Client: no more PCM follows; the server finishes what it heard, then stops."""

    type: Literal["end"] = "end"


class Engine(Message):
    """The author of a result."""

    name: str
    version: str


class Limits(Message):
    """What one stream may do before it gets an `error`."""

    max_streams: int
    max_utterance_s: float
    max_ahead_s: float
    max_message_bytes: int
    idle_s: float


class Ready(Message):
    """Server: the stream is open; PCM may follow. `labels` are those it will report."""

    type: Literal["ready"] = "ready"
    protocol: int = PROTOCOL
    session: str
    version: str
    labels: list[str]
    limits: Limits


class Listening(Message):
    """Server: `listen` is in force for the audio that follows it."""

    type: Literal["listening"] = "listening"
    labels: list[str]
    profile: str
    sensitivity: Sensitivity
    wake: list[str] = []


class Result(Message):
    """What every result carries: a UUIDv7, a UTC time from the audio clock, the microphone."""

    id: str
    time: datetime
    microphone: str


class Speech(Result):
    """Server: somebody began or ceased to speak. Both share the utterance's id."""

    type: Literal["speech"] = "speech"
    state: Literal["start", "end"]


class Wake(Result):
    """Server: a wake word or gesture was heard; `time` is when it was over."""

    type: Literal["wake"] = "wake"
    word: str
    score: Score


class Alternative(Message):
    """Another text that may have been said."""

    text: str
    confidence: Score


class Intent(Message):
    """What a model understood: an intent of Home Assistant and its slots, unchecked."""

    name: str
    slots: dict[str, str | int] = {}


class Partial(Result):
    """Server: so far somebody has said this, who still speaks; nothing follows from it.

    It has the id of the `transcript` that will follow, and replaces the one before.
    """

    type: Literal["partial"] = "partial"
    text: str


class Transcript(Result):
    """Server: one utterance's outcome, with the id of its `speech` messages.

    `text` is empty exactly when `rejected` says why. `start` and `end` bound the
    speech; `time` equals `end`. `intent` is there where the engine understands.
    `level_dbfs` is the loudness of the speech, where it was measured.
    """

    type: Literal["transcript"] = "transcript"
    text: str
    confidence: Score
    rejected: Rejection | None = None
    alternatives: list[Alternative] = []
    language: str
    start: datetime
    end: datetime
    engine: Engine
    intent: Intent | None = None
    level_dbfs: float | None = None


class Sound(Result):
    """Server: a sound event began or ended, or goes on for long. All share its id.

    `score` is the highest so far; `scores` the best five labels of the deciding
    window, `windows` this label's scores of the last 20 up to there, oldest first, and
    `gates` what they passed, as evidence; `threshold` what `score` had to pass. `end`
    is set with the state "end" only. With "sustained", `start` is that of the first
    event of the stretch. `verified` says that a describer heard it, too, and
    `description` what that said; `clip` is the id of the recording that was kept.
    """

    type: Literal["sound"] = "sound"
    state: SoundState
    label: str
    score: Score
    threshold: Score
    scores: dict[str, Score]
    windows: list[Score] = []
    gates: list[Gate] = []
    start: datetime
    end: datetime | None = None
    engine: Engine
    verified: bool = False
    profile: str = DEFAULT_PROFILE
    description: str | None = None
    clip: str | None = None


class Clip(Result):
    """Server: a recording of the sound event with this id is kept and can be fetched.

    It holds `seconds` from `start` on; `time` is where it ends.
    """

    type: Literal["clip"] = "clip"
    label: str
    start: datetime
    seconds: float


class Level(Message):
    """Server: loudness of the last second, dB relative to full scale, -100 for digital silence."""

    type: Literal["level"] = "level"
    time: datetime
    microphone: str
    rms_dbfs: float
    peak_dbfs: float


class Health(Message):
    """Server: what is wrong with the microphone now. A stream begins with nothing wrong."""

    type: Literal["health"] = "health"
    time: datetime
    microphone: str
    problems: list[Problem]


class Stopped(Message):
    """Server: the last frame of an orderly end."""

    type: Literal["stopped"] = "stopped"
    reason: Literal["ended", "shutdown"]


ErrorCode = Literal[
    "bad_message",
    "unsupported_protocol",
    "unsupported_language",
    "unsupported_task",
    "unknown_label",
    "too_many_streams",
    "too_fast",
    "idle",
    "utterance_too_long",
    "engine_failed",
]


class Error(Message):
    """Server: the last frame of a stream that cannot go on; says what to do."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str


ClientMessage = Annotated[Start | Listen | Attend | End, Field(discriminator="type")]
ServerMessage = Annotated[
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
    | Error,
    Field(discriminator="type"),
]


class Label(Message):
    """A sound label the server can report; going on for `sustain_s`, it is told again."""

    slug: Slug
    name: str
    group: str
    device_class: str
    default: bool
    sustain_s: float | None = None
    source: Source = "classifier"


class WakeWord(Message):
    """A wake word that streams may listen for; `cutoff` is its model's own."""

    name: Slug
    phrase: str
    languages: list[str]
    cutoff: Score


class SpeechCapability(Message):
    """The speech engine and what it can hear."""

    engine: Engine
    languages: list[str]
    vocabulary: str | None = None


class SoundCapability(Message):
    """The sound engine and its labels."""

    engine: Engine
    labels: list[Label]


class DescriptionCapability(Message):
    """The engine that answers questions about a clip, and how long a clip may be."""

    engine: Engine
    max_seconds: float


class Info(Message):
    """`GET /v1/info`. `id` stays the same for the life of an installation.

    `clips` says whether the settings let recordings of sound events be kept.
    """

    name: Literal["earshot"] = "earshot"
    id: str
    version: str
    protocol: int = PROTOCOL
    speech: SpeechCapability | None
    wake_words: list[WakeWord] = []
    sounds: SoundCapability | None
    descriptions: DescriptionCapability | None = None
    clips: bool = False
    limits: Limits
    streams: int


class KeptClip(Message):
    """A recording of a sound event; `id` is the event's, `score` its highest."""

    id: str
    microphone: Slug
    label: Slug
    start: datetime
    seconds: float
    score: Score


class Clips(Message):
    """`GET /v1/clips`: a microphone's recordings, the newest first."""

    clips: list[KeptClip]


class TextDescription(Message):
    """`POST /v1/describe` without a schema. `seconds` is how much audio was heard."""

    text: str
    engine: Engine
    seconds: float


class JsonDescription(Message):
    """`POST /v1/describe` with a schema; `json` is valid by it."""

    model_config = ConfigDict(serialize_by_alias=True)

    value: Annotated[Any, Field(alias="json")]
    engine: Engine
    seconds: float
