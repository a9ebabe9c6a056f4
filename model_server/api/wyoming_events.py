"""Wyoming's events off and on a connection, with a limit on every length and every wait.

The `wyoming` package describes the events; its own reader believes any length that
a client claims and waits for ever.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from wyoming.event import Event, async_write_event

from model_server.api.intake import StreamError

MAX_HEADER_BYTES = 64 << 10
MAX_DATA_BYTES = 64 << 10
READ_S = 10.0
"""How long an event may take from its first byte to its last."""
WRITE_S = 10.0
"""How long a client may let an answer wait."""


class Fields(BaseModel):
    """Part of an event. Unknown fields are ignored: newer clients may add some."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


F = TypeVar("F", bound=Fields)
Number: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 31)]


class Header(Fields):
    """The line before an event's data and payload, with their lengths in bytes."""

    type: Annotated[str, Field(max_length=64)]
    data: dict[str, Any] | None = None
    data_length: Annotated[int, Field(ge=0)] | None = None
    payload_length: Annotated[int, Field(ge=0)] | None = None


class AudioFields(Fields):
    """`audio-start`, and each `audio-chunk`: Hz, bytes per sample, channels, ms."""

    rate: Number
    width: Number
    channels: Number
    timestamp: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None


class TranscribeFields(Fields):
    """`transcribe`: an utterance follows."""

    name: str | None = None
    language: Annotated[str, Field(max_length=64)] | None = None


class DetectFields(Fields):
    """`detect`: listen for these wake words, or for all."""

    names: Annotated[list[str], Field(max_length=64)] | None = None


class PingFields(Fields):
    """`ping`: say this back."""

    text: str | None = None


def fields(model: type[F], data: dict[str, Any]) -> F:
    """An event's data, checked. Raises StreamError naming the field that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StreamError("bad_message", f"{where}: {first['msg']}.") from None


async def read_event(
    reader: asyncio.StreamReader, idle_s: float, max_payload_bytes: int
) -> Event | None:
    """The next event; None when the client has left between two events.

    `reader` has MAX_HEADER_BYTES as its limit. Raises StreamError for what is no
    event, is too long or comes too slowly; IncompleteReadError or OSError when the
    client vanishes in the middle of one.
    """
    try:
        async with asyncio.timeout(idle_s):
            first = await reader.read(1)
    except TimeoutError:
        raise StreamError(
            "idle", f"Nothing came for {idle_s:g} s: connect again when there is more."
        ) from None
    if not first:
        return None
    try:
        async with asyncio.timeout(READ_S):
            return await _read_rest(reader, first, max_payload_bytes)
    except TimeoutError:
        raise StreamError(
            "idle", f"An event takes at most {READ_S:g} s from first to last byte."
        ) from None


async def _read_rest(
    reader: asyncio.StreamReader, first: bytes, max_payload_bytes: int
) -> Event:
    """An event whose first byte has come."""
    try:
        line = first if first == b"\n" else first + await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise _too_long("header line", MAX_HEADER_BYTES) from None
    header = fields(Header, _json_object(line))
    data = dict(header.data or {})
    if length := header.data_length or 0:
        if length > MAX_DATA_BYTES:
            raise _too_long("data", MAX_DATA_BYTES)
        data |= _json_object(await reader.readexactly(length))
    payload = None
    if length := header.payload_length or 0:
        if length > max_payload_bytes:
            raise _too_long("payload", max_payload_bytes)
        payload = await reader.readexactly(length)
    return Event(header.type, data, payload)


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        content = from_json(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise StreamError(
            "bad_message",
            "An event begins with one line that is a JSON object, and its data is "
            "another: this port speaks Wyoming.",
        )
    return content


def _too_long(part: str, limit: int) -> StreamError:
    return StreamError("bad_message", f"An event's {part} has at most {limit} bytes.")


async def write_event(writer: asyncio.StreamWriter, event: Event) -> None:
    """Send an event. Raises OSError, TimeoutError too, when nobody takes it."""
    async with asyncio.timeout(WRITE_S):
        await async_write_event(event, writer)
