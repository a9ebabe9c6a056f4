"""What `POST /v1/chat/completions` takes: one clip and a question."""

from __future__ import annotations

import asyncio
from base64 import b64decode
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from model_server.api.answers import Question
from model_server.api.refusals import RefusedError
from model_server.audio import Pcm

DEFAULT_TOKENS: Final = 256
MAX_TOKENS: Final = 4096
"""No answer about a clip is longer; a client may ask for more and will not miss it."""

MAX_STOPS: Final = 4


class _Body(BaseModel):
    """Unknown fields are ignored, as OpenAI-compatible servers do."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TextPart(_Body):
    """Text of a message."""

    type: Literal["text"]
    text: str


class InputAudio(_Body):
    """A file in base64. Its format is seen in the file itself."""

    data: str
    format: str | None = None


class InputAudioPart(_Body):
    """Audio of a message."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class AudioUrl(_Body):
    """A `data:` URL. No other is ever opened."""

    url: str


class AudioUrlPart(_Body):
    """Audio of a message, in vLLM's way."""

    type: Literal["audio_url"]
    audio_url: AudioUrl


Part = Annotated[TextPart | InputAudioPart | AudioUrlPart, Field(discriminator="type")]


def _parts(content: object) -> object:
    """A plain string is a list of one part, so that an error names the part."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Content = Annotated[
    list[Part], BeforeValidator(_parts, json_schema_input_type=str | list[Part])
]


class ChatMessage(_Body):
    """A system message, or the user's."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None


class JsonSchema(_Body):
    """A named schema."""

    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class ResponseFormat(_Body):
    """What the answer looks like."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


class ChatBody(_Body):
    """The request. What is not listed is ignored: `logprobs` in the answer is null."""

    model: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=64)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: ResponseFormat | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None

    n: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    logit_bias: dict[str, Any] | None = None
    modalities: list[str] | None = None


UNSUPPORTED: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "n": (lambda value: value != 1, "there is one answer"),
    "tools": (bool, "ask for JSON by a schema (response_format) instead"),
    "functions": (bool, "ask for JSON by a schema (response_format) instead"),
    "logit_bias": (bool, "leave it out"),
    "modalities": (lambda value: value != ["text"], "answers are text"),
}
"""What would change the answer if it were ignored: when, and what to do."""


@dataclass(frozen=True)
class Chat:
    """A checked request."""

    model: str | None
    audio: bytes
    instruction: str
    schema: dict[str, Any] | None
    max_tokens: int
    stop: tuple[str, ...]
    stream: bool

    def about(self, pcm: Pcm) -> Question:
        """The question, once its audio is decoded."""
        return Question(pcm, self.instruction, self.schema, self.max_tokens)


async def read_chat(body: bytes) -> Chat:
    """Check a request, away from the loop: its audio may be megabytes."""
    return await asyncio.to_thread(parse_chat, body)


def parse_chat(content: bytes) -> Chat:
    """Check a request. Raises RefusedError naming the parameter that is wrong."""
    try:
        body = ChatBody.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        message = f"{param or 'body'}: {first['msg']}."
        raise RefusedError(400, "invalid_value", message, param) from None
    for name, (matters, hint) in UNSUPPORTED.items():
        value = getattr(body, name)
        if value is not None and matters(value):
            message = f"{name}: not supported, {hint}."
            raise RefusedError(400, "unsupported_parameter", message, name)
    instruction, audio = _question(body.messages)
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    wanted = body.max_completion_tokens or body.max_tokens or DEFAULT_TOKENS
    return Chat(
        body.model,
        audio,
        instruction,
        _schema(body.response_format),
        min(wanted, MAX_TOKENS),
        tuple(stop for stop in stops if stop),
        bool(body.stream),
    )


def _question(messages: list[ChatMessage]) -> tuple[str, bytes]:
    """The texts, system messages first, and the one clip."""
    before: list[str] = []
    asked: list[str] = []
    clips: list[bytes] = []
    for number, message in enumerate(messages):
        param = f"messages.{number}"
        if message.role not in {"system", "developer", "user"}:
            raise _wrong(
                param, "one question about one clip is answered, without a history"
            )
        texts = asked if message.role == "user" else before
        for part in message.content or ():
            match part:
                case TextPart():
                    texts.append(part.text)
                case InputAudioPart():
                    clips.append(_decoded(part.input_audio.data, param))
                case AudioUrlPart():
                    clips.append(_data_url(part.audio_url.url, param))
    if len(clips) != 1:
        raise _wrong(
            "messages",
            f"send exactly one input_audio part, not {len(clips) or 'none'}",
        )
    if not "".join(asked).strip():
        raise _wrong("messages", "say in a text part what you want to know")
    return "\n".join(text for text in before + asked if text.strip()), clips[0]


def _data_url(url: str, param: str) -> bytes:
    """The content of a `data:` URL."""
    head, comma, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        raise _wrong(
            param,
            "no address is opened for a client: send the audio itself, as input_audio "
            "or as a data: URL in base64",
        )
    return _decoded(data, param)


def _decoded(data: str, param: str) -> bytes:
    try:
        return b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(param, "the audio is not base64") from None


def _wrong(param: str, message: str) -> RefusedError:
    return RefusedError(400, "invalid_value", f"{param}: {message}.", param)


def _schema(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    """The JSON Schema of the answer, if it is to be JSON."""
    match wanted:
        case ResponseFormat(type="json_schema", json_schema=JsonSchema() as named):
            return named.schema_
        case ResponseFormat(type="json_schema"):
            raise _wrong("response_format.json_schema", "give the schema")
        case ResponseFormat(type="json_object"):
            return {"type": "object"}
    return None
