"""`POST /v1/audio/transcriptions`: a file in, what was said out, in OpenAI's formats."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from io import BytesIO
import math
from typing import Any, Final, Literal, TypeAlias, cast, get_args
import zlib

from model_server.api.answers import STOPPING, THE_FILE, event
from model_server.api.refusals import (
    EngineFailedError,
    RefusedError,
    error_body,
    refused,
)
from model_server.api.service import Service
from model_server.api.uploads import Form
from model_server.audio import SAMPLE_RATE
from model_server.audio.decode import DecodeError, decode_audio
from model_server.engines.base import EngineError, SpeechRecognizer
from model_server.listen.endpoint import Utterance
from model_server.listen.recording import utterances

PATH: Final = "/v1/audio/transcriptions"

DELTA: Final = "transcript.text.delta"

Format: TypeAlias = Literal["json", "text", "verbose_json", "srt", "vtt"]

FIELDS: Final = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "model": {"type": "string"},
        "language": {"type": "string"},
        "response_format": {"enum": list(get_args(Format)), "default": "json"},
        "stream": {"type": "boolean", "default": False},
    },
}
"""The form's fields, as a JSON Schema."""

LANGUAGES: Final = {
    "en": "english",
    "zh": "chinese",
    "id": "indonesian",
    "th": "thai",
    "vi": "vietnamese",
}
"""What OpenAI calls a language in its answer; others keep their tag."""

WITHOUT_SPACES: Final = ("zh", "th")
"""Languages that put nothing between two sentences."""


@dataclass(frozen=True)
class Transcription:
    """What a client asks for."""

    audio: bytes
    model: str | None
    language: str
    format: Format
    stream: bool


@dataclass(frozen=True)
class Segment:
    """One utterance that gave text; times in seconds."""

    start: float
    end: float
    text: str
    confidence: float


@dataclass
class Transcript:
    """What has been heard so far of `seconds` of audio."""

    language: str
    segments: list[Segment] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def gap(self) -> str:
        """What stands between two utterances."""
        return "" if self.language in WITHOUT_SPACES else " "

    @property
    def text(self) -> str:
        """Everything that was said."""
        return self.gap.join(segment.text for segment in self.segments)

    @property
    def usage(self) -> dict[str, Any]:
        """How much audio it was."""
        return {"type": "duration", "seconds": math.ceil(self.seconds)}

    def brief(self) -> dict[str, Any]:
        """As `json`."""
        return {"text": self.text, "usage": self.usage}

    def verbose(self) -> dict[str, Any]:
        """As `verbose_json`."""
        return {
            "task": "transcribe",
            "language": LANGUAGES.get(self.language, self.language),
            "duration": round(self.seconds, 3),
            "text": self.text,
            "segments": [
                _segment(number, segment)
                for number, segment in enumerate(self.segments)
            ],
            "usage": self.usage,
        }

    def srt(self) -> str:
        """As SubRip subtitles."""
        return "\n".join(
            f"{number}\n{_clock(each.start, ',')} --> {_clock(each.end, ',')}\n"
            f"{each.text}\n"
            for number, each in enumerate(self.segments, 1)
        )

    def vtt(self) -> str:
        """As WebVTT subtitles."""
        return "\n".join(
            [
                "WEBVTT\n",
                *(
                    f"{_clock(each.start, '.')} --> {_clock(each.end, '.')}\n"
                    f"{each.text}\n"
                    for each in self.segments
                ),
            ]
        )


def _clock(seconds: float, point: str) -> str:
    """Seconds as hh:mm:ss and milliseconds."""
    rest, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(rest, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{milliseconds:03}"


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    """A segment with the fields that clients read.

    Whisper's inner figures are given as far as they have a meaning here: the
    logarithm of the confidence, and how far the text can be compressed. There are
    no tokens, and a segment is there because a voice was.
    """
    text = segment.text.encode()
    return {
        "id": number,
        "seek": round(segment.start * 100),
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(segment.confidence, 1e-9)), 4),
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 4),
        "no_speech_prob": 0.0,
    }


def read_transcription(form: Form, service: Service) -> Transcription:
    """Check a form. Raises RefusedError for what this door cannot do."""
    if form.file is None:
        raise RefusedError(400, "no_file", "Send the audio as a `file`.", "file")
    chosen = form.last("response_format") or "json"
    if chosen not in get_args(Format):
        raise _unsupported(
            "response_format", f"take one of {', '.join(get_args(Format))}"
        )
    if "word" in _list(form, "timestamp_granularities"):
        raise _unsupported(
            "timestamp_granularities", "there are times of segments, not of words"
        )
    if _list(form, "include"):
        raise _unsupported("include", "leave it out")
    stream = (form.last("stream") or "false").lower() == "true"
    if stream and chosen not in {"json", "text"}:
        raise _unsupported("stream", f"{chosen} is made when everything is heard")
    return Transcription(
        form.file,
        form.last("model"),
        _language(service, form.last("language")),
        cast(Format, chosen),
        stream,
    )


def _list(form: Form, name: str) -> list[str]:
    """A parameter that may be given several times; clients spell it in two ways."""
    return form.fields.get(name, []) + form.fields.get(f"{name}[]", [])


def _unsupported(param: str, hint: str) -> RefusedError:
    return RefusedError(
        400, "unsupported_parameter", f"{param}: not supported, {hint}.", param
    )


def _language(service: Service, wanted: str | None) -> str:
    """The recogniser's language; English, or else its first, where none is wanted."""
    spoken = service.recognizer.languages if service.recognizer else ()
    language = service.spoken(wanted or "en") or (None if wanted else spoken[0])
    if language is None:
        raise RefusedError(
            400,
            "unsupported_language",
            f"The speech engine's languages: {', '.join(spoken)}.",
            "language",
        )
    return language


def _heard(
    audio: bytes, max_samples: int, max_utterance_s: float
) -> Generator[tuple[list[Utterance], int]]:
    """Utterances as they are found, and the samples read."""
    samples = 0
    with decode_audio(BytesIO(audio), THE_FILE, max_samples) as decoded:

        def counted() -> Generator[Any]:
            nonlocal samples
            for block in decoded.blocks:
                samples += block.size
                yield block

        for found in utterances(counted(), max_utterance_s):
            yield found, samples


async def segments(
    service: Service,
    recognizer: SpeechRecognizer,
    asked: Transcription,
    transcript: Transcript,
) -> AsyncGenerator[Segment]:
    """The utterances of a file that gave text, each added to `transcript`.

    A file is decoded and recognised by turns with every other file and behind the
    microphones. Raises DecodeError, EngineError and EngineFailedError.
    """
    settings = service.settings
    steps = _heard(
        asked.audio,
        round(settings.max_upload_s * SAMPLE_RATE),
        settings.max_utterance_s,
    )

    def step() -> tuple[list[Utterance], int] | None:
        return next(steps, None)

    try:
        while (heard := await service.work("files", step)) is not None:
            found, samples = heard
            transcript.seconds = samples / SAMPLE_RATE
            for utterance in found:
                if service.stopping:
                    raise EngineError(STOPPING)
                async with service.file_speech:
                    said = await service.work(
                        "speech", recognizer.recognize, utterance.pcm, asked.language
                    )
                service.metrics.utterances.labels(said.rejected or "recognised").inc()
                if said.rejected == "unavailable":
                    raise EngineError("The speech engine is away: try again later.")
                # A line of its own would end a subtitle.
                text = " ".join(said.text.split())
                if text:
                    segment = Segment(
                        utterance.start / SAMPLE_RATE,
                        utterance.end / SAMPLE_RATE,
                        text,
                        said.confidence,
                    )
                    transcript.segments.append(segment)
                    yield segment
    finally:
        service.release("files", steps.close)


async def transcript_events(
    transcript: Transcript, first: Segment | None, found: AsyncGenerator[Segment]
) -> AsyncGenerator[str]:
    """Server-sent events: each utterance as a delta, then the whole text."""
    try:
        if first is not None:
            yield event({"type": DELTA, "delta": first.text})
            async for segment in found:
                delta = transcript.gap + segment.text
                yield event({"type": DELTA, "delta": delta})
    except (EngineError, DecodeError, EngineFailedError) as error:
        yield event(error_body(PATH, refused(error)))
    else:
        yield event({"type": "transcript.text.done", "text": transcript.text})
