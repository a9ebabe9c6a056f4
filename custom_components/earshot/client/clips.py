"""Recordings of sound events that a server keeps."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
import re
from typing import Literal

import aiohttp

from . import fields
from .errors import ClipNotFound, ConnectionLost, InvalidMessage, NotEarshot
from .fields import Json

type ClipKind = Literal["flac", "png"]

MAX_BYTES = 32 << 20
"""No clip is nearly as long."""
PIECE_BYTES = 64 << 10
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RANGE = re.compile(r"bytes=(\d{1,12}-\d{0,12}|-\d{1,12})")
_PASSED = ("Accept-Ranges", "Content-Length", "Content-Range")
_REFUSED = ("Content-Range",)


@dataclass(frozen=True)
class Clip:
    """A stream's message: a recording is kept, and can be fetched by its id.

    `event` is the sound event that it belongs to: the first stream's id, where the
    event went on over several streams.
    """

    id: str
    time: datetime
    microphone: str
    label: str
    start: datetime
    seconds: float
    event: str

    @classmethod
    def read(cls, data: Json) -> Clip:
        """Read it from decoded JSON."""
        clip = clip_id(data)
        return cls(
            clip,
            fields.time(data, "time"),
            fields.string(data, "microphone"),
            fields.slug(data, "label"),
            fields.time(data, "start"),
            fields.number(data, "seconds"),
            event=clip,
        )


@dataclass(frozen=True)
class KeptClip:
    """A recording; `id` is that of its sound event."""

    id: str
    microphone: str
    label: str
    start: datetime
    seconds: float
    score: float

    @classmethod
    def read(cls, data: Json) -> KeptClip:
        """Read it from decoded JSON."""
        return cls(
            clip_id(data),
            fields.slug(data, "microphone"),
            fields.slug(data, "label"),
            fields.time(data, "start"),
            fields.number(data, "seconds"),
            fields.score(data, "score"),
        )


def is_clip_id(text: str) -> bool:
    """Tell whether this can name a clip, and nothing else in a path."""
    return _ID.fullmatch(text) is not None


def clip_id(data: Json) -> str:
    """Read a clip's id: it becomes part of addresses."""
    if is_clip_id(value := fields.string(data, "id")):
        return value
    raise InvalidMessage("id: a clip's id expected")


def parse_clips(text: str) -> tuple[KeptClip, ...]:
    """Read the answer of `GET /v1/clips`. Raises NotEarshot for anything else."""
    try:
        return fields.items(fields.decode(text), "clips", KeptClip.read)
    except InvalidMessage as err:
        raise NotEarshot(str(err)) from err


def one_range(header: str | None) -> dict[str, str]:
    """Return a request's `Range` as a header, if it asks for one part."""
    if header is None or _RANGE.fullmatch(header) is None:
        return {}
    return {"Range": header}


class ClipFile:
    """A clip's file on its way: a status, headers to pass on, and the bytes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Check an answer. Raises ClipNotFound, NotEarshot."""
        if response.status == HTTPStatus.NOT_FOUND:
            raise ClipNotFound("the server has no such clip")
        refused = response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if not refused:
            if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                raise NotEarshot(f"HTTP {response.status}")
            size = response.content_length
            if size is None or size > MAX_BYTES:
                raise NotEarshot("the answer has no length, or one that no clip has")
        self._response = response
        self._refused = refused
        self.status = response.status
        self.headers = {
            name: response.headers[name]
            for name in (_REFUSED if refused else _PASSED)
            if name in response.headers
        }

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come. Raises ConnectionLost."""
        if self._refused:
            return
        try:
            async for piece in self._response.content.iter_chunked(PIECE_BYTES):
                yield piece
        except (TimeoutError, aiohttp.ClientError) as err:
            raise ConnectionLost("the clip broke off") from err
