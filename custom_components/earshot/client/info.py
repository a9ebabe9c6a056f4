"""What `GET /v1/info` tells about a server."""

from dataclasses import dataclass

from . import fields
from .errors import InvalidMessage, NotEarshot, ProtocolMismatch
from .fields import Json
from .limits import Limits
from .messages import Engine
from .requests import PROTOCOL


@dataclass(frozen=True)
class Label:
    """A sound label the server can report; `sustain_s` is when it tells that it lasts.

    `source` says what finds it: a classifier, the alarm rhythm or the gestures.
    """

    slug: str
    name: str
    group: str
    device_class: str
    default: bool
    sustain_s: float | None = None
    source: str = "classifier"

    @property
    def tunable(self) -> bool:
        """Return whether it has scores, which rules are about."""
        return self.source == "classifier"

    @property
    def is_gesture(self) -> bool:
        """Return whether it is made on purpose and over at once: it is never on."""
        return self.group == "gestures"

    @classmethod
    def read(cls, data: Json) -> Label:
        """Read it from decoded JSON."""
        return cls(
            fields.slug(data, "slug"),
            fields.string(data, "name"),
            fields.string(data, "group"),
            fields.string(data, "device_class"),
            fields.boolean(data, "default"),
            fields.optional_number(data, "sustain_s"),
            fields.optional_string(data, "source") or "classifier",
        )


@dataclass(frozen=True)
class WakeWord:
    """A wake word that a server hears; `cutoff` is the score it must exceed."""

    name: str
    phrase: str
    cutoff: float

    @classmethod
    def read(cls, data: Json) -> WakeWord:
        """Read it from decoded JSON."""
        return cls(
            fields.slug(data, "name"),
            fields.string(data, "phrase"),
            fields.score(data, "cutoff"),
        )


@dataclass(frozen=True)
class SpeechCapability:
    """The speech engine, its languages and the version of its vocabulary."""

    engine: Engine
    languages: tuple[str, ...]
    vocabulary: str | None


@dataclass(frozen=True)
class SoundCapability:
    """The sound engine and its labels."""

    engine: Engine
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Info:
    """A server: `id` stays the same for the life of an installation."""

    id: str
    version: str
    protocol: int
    limits: Limits
    streams: int
    speech: SpeechCapability | None
    sounds: SoundCapability | None
    clips: bool = False
    wake_words: tuple[WakeWord, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Info:
        """Read the answer of `GET /v1/info`.

        Raises NotEarshot if something else answers, ProtocolMismatch for
        another protocol than ours.
        """
        try:
            data = fields.decode(text)
            if fields.string(data, "name") != "earshot":
                raise NotEarshot("another program answers at this address")
            if (protocol := fields.integer(data, "protocol")) != PROTOCOL:
                raise ProtocolMismatch(protocol, PROTOCOL)
            return cls(
                id=fields.string(data, "id"),
                version=fields.string(data, "version"),
                protocol=protocol,
                limits=Limits.read(fields.item(data, "limits")),
                streams=fields.integer(data, "streams"),
                speech=_speech(data),
                sounds=_sounds(data),
                clips=fields.boolean(data, "clips"),
                wake_words=fields.items(data, "wake_words", WakeWord.read),
            )
        except InvalidMessage as err:
            raise NotEarshot(str(err)) from err


def _speech(data: Json) -> SpeechCapability | None:
    """Read the speech capability."""
    if data.get("speech") is None:
        return None
    speech = fields.item(data, "speech")
    return SpeechCapability(
        Engine.read(fields.item(speech, "engine")),
        fields.strings(speech, "languages"),
        fields.optional_string(speech, "vocabulary"),
    )


def _sounds(data: Json) -> SoundCapability | None:
    """Read the sound capability."""
    if data.get("sounds") is None:
        return None
    sounds = fields.item(data, "sounds")
    return SoundCapability(
        Engine.read(fields.item(sounds, "engine")),
        fields.items(sounds, "labels", Label.read),
    )
