"""What a client uploads: received within limits, in memory, and only while it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from model_server.api.refusals import RefusedError
from model_server.engines.base import EngineBusyError

MAX_FIELDS: Final = 32
MAX_FIELD_BYTES: Final = 256 << 10
"""A JSON schema is the largest field that makes sense."""

MAX_BESIDE: Final = 1 << 20
"""Bytes of all fields and of the form itself."""

T = TypeVar("T")


class Admission:
    """So many requests at a time; a further one hears at once that it is too many."""

    def __init__(self, places: int) -> None:
        """All places are free."""
        self._places = places
        self.taken = 0
        """Requests inside now."""

    @contextmanager
    def entered(self) -> Generator[None]:
        """Take a place. Raises EngineBusyError where none is free."""
        if self.taken >= self._places:
            raise EngineBusyError(
                f"All {self._places} places for requests with audio are taken: try "
                "again soon, or start the server with a larger max_requests."
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


@dataclass(frozen=True)
class Form:
    """A multipart form: at most one file, and fields by name."""

    file: bytes | None
    fields: dict[str, list[str]]

    def last(self, name: str) -> str | None:
        """A field's value, the last one if it was sent twice; None if it was not."""
        return self.fields[name][-1] if name in self.fields else None


class _InMemory(MultiPartParser):
    """A parser that keeps a file in memory, whatever its size."""

    spool_max_size = 0


async def read_body(request: Request, limit: int, idle_s: float) -> bytes:
    """The body. Raises RefusedError for one that is too long or does not come."""
    body = bytearray()
    async for piece in _limited(request, limit, idle_s):
        body += piece
    return bytes(body)


async def read_form(request: Request, limit: int, idle_s: float) -> Form:
    """A multipart body whose file has at most `limit` bytes. Raises RefusedError."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise RefusedError(
            400, "not_a_form", "Send multipart/form-data with the audio as `file`."
        )
    stream = _limited(request, limit, idle_s, MAX_BESIDE)
    parser = _InMemory(
        request.headers,
        stream,
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusedError(400, "bad_form", f"{error.message}") from None
    fields: dict[str, list[str]] = {}
    file = None
    for name, value in form.multi_items():
        if isinstance(value, str):
            fields.setdefault(name, []).append(value)
        elif name == "file":
            file = await value.read()
    await form.close()
    if file is not None and len(file) > limit:
        raise _too_large(limit)
    return Form(file, fields)


async def _limited(
    request: Request, limit: int, idle_s: float, beside: int = 0
) -> AsyncGenerator[bytes, None]:
    """The pieces of a body of at most `limit` bytes, none later than `idle_s`.

    `beside` bytes more are allowed for what is not audio.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit + beside:
        raise _too_large(limit)
    received = 0
    pieces = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(idle_s):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise RefusedError(
                408, "idle", f"Nothing came for {idle_s:g} s: send the request again."
            ) from None
        if piece is None:
            return
        received += len(piece)
        if received > limit + beside:
            raise _too_large(limit)
        yield piece


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        413,
        "too_large",
        f"A request has at most {limit / (1 << 20):.3g} MiB here: send less audio or a "
        "compressed format, or start the server with a larger max_upload_bytes.",
    )


async def attended(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Work for a client whose body was read; ClientDisconnect if it leaves before."""
    task = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    """Wait until the client is gone: after the body, nothing else is received."""
    await request.receive()
