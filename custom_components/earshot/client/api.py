"""The doors of a model server: its description, its vocabulary, its streams."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from yarl import URL

from .clips import ClipFile, ClipKind, KeptClip, one_range, parse_clips
from .connection import Stream
from .errors import (
    CannotConnect,
    ConnectTimeout,
    InvalidAuth,
    NotEarshot,
    TlsFailed,
    VocabularyRefused,
)
from .info import Info
from .requests import Start
from .vocabulary import Vocabulary, VocabularyReport

ANSWER_S = 10.0
COMPILE_S = 60.0
CLIP_S = 60.0
CLOSE_S = 2.0
HEARTBEAT_S = 15.0


@dataclass(frozen=True)
class Endpoint:
    """Where a server is; certificates are those of the given session."""

    host: str
    port: int
    tls: bool = False

    def url(self, path: str, **query: str) -> URL:
        """Return the address of one door."""
        return URL.build(
            scheme="https" if self.tls else "http",
            host=self.host,
            port=self.port,
            path=path,
            query=query,
        )


class Client:
    """A model server, reached through a shared aiohttp session."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: Endpoint, token: str
    ) -> None:
        """Keep the way to the server; connects nowhere yet."""
        self._session = session
        self._endpoint = endpoint
        self._headers = {"Authorization": f"Bearer {token}"}

    async def info(self) -> Info:
        """Ask the server what it is and can do."""
        status, text = await self._request("GET", "/v1/info", ANSWER_S)
        if status != HTTPStatus.OK:
            raise NotEarshot(f"HTTP {status}")
        return Info.parse(text)

    async def put_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Send what may be said; returns when it is compiled and in use.

        Raises VocabularyRefused if the server does not take it.
        """
        status, text = await self._request(
            "PUT", "/v1/vocabulary", COMPILE_S, vocabulary.encode()
        )
        if status != HTTPStatus.OK:
            raise VocabularyRefused(f"HTTP {status}")
        return VocabularyReport.parse(text)

    async def clips(self, microphone: str) -> tuple[KeptClip, ...]:
        """Ask which recordings of a microphone there are, the newest first."""
        status, text = await self._request(
            "GET", "/v1/clips", ANSWER_S, microphone=microphone
        )
        if status != HTTPStatus.OK:
            raise NotEarshot(f"HTTP {status}")
        return parse_clips(text)

    @asynccontextmanager
    async def open_clip(
        self, microphone: str, clip: str, kind: ClipKind, part: str | None = None
    ) -> AsyncGenerator[ClipFile]:
        """Fetch a recording or its picture, or the part that a `Range` header names.

        Raises ClipNotFound if this microphone has no such clip.
        """
        path = f"/v1/clips/{clip}" + (".png" if kind == "png" else "")
        try:
            response = await self._session.get(
                self._endpoint.url(path, microphone=microphone),
                headers=self._headers
                | {"Accept-Encoding": "identity"}
                | one_range(part),
                timeout=aiohttp.ClientTimeout(total=CLIP_S, sock_read=ANSWER_S),
                allow_redirects=False,
            )
        except (TimeoutError, aiohttp.ClientError) as err:
            raise _error(err) from err
        async with response:
            _check_status(response.status)
            yield ClipFile(response)

    @asynccontextmanager
    async def open_stream(self, start: Start) -> AsyncGenerator[Stream]:
        """Open a stream; it is ready for PCM inside the block, closed after it.

        Raises StreamError if the server refuses the start frame.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                socket = await self._session.ws_connect(
                    self._endpoint.url("/v1/stream"),
                    headers=self._headers,
                    heartbeat=HEARTBEAT_S,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                )
        except (TimeoutError, aiohttp.ClientError) as err:
            raise _error(err) from err
        try:
            async with asyncio.timeout(ANSWER_S):
                stream = await Stream.open(socket, start)
        except TimeoutError as err:
            await socket.close()
            raise ConnectTimeout("no answer to the start frame") from err
        except BaseException:
            await socket.close()
            raise
        try:
            yield stream
        finally:
            await socket.close()

    async def _request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: str | None = None,
        **query: str,
    ) -> tuple[int, str]:
        """Send one request; returns status and text unless nobody can answer."""
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method,
                    self._endpoint.url(path, **query),
                    headers=self._headers | {"Content-Type": "application/json"},
                    data=body,
                    # A redirect would carry the token to another address.
                    allow_redirects=False,
                ) as response,
            ):
                _check_status(response.status)
                return response.status, await response.text()
        except UnicodeDecodeError as err:
            raise NotEarshot("answer is not text") from err
        except (TimeoutError, aiohttp.ClientError) as err:
            raise _error(err) from err


def _check_status(status: int) -> None:
    """Raise for an answer that means the same at every door."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise InvalidAuth(f"HTTP {status}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise CannotConnect(f"HTTP {status}")


def _error(err: TimeoutError | aiohttp.ClientError) -> Exception:
    """Translate a transport's error into ours."""
    if isinstance(err, TimeoutError):
        return ConnectTimeout("no answer in time")
    if isinstance(err, aiohttp.ClientSSLError):
        return TlsFailed(type(err).__name__)
    if isinstance(err, aiohttp.WSServerHandshakeError):
        try:
            _check_status(err.status)
        except (InvalidAuth, CannotConnect) as known:
            return known
        return NotEarshot(f"HTTP {err.status}")
    if isinstance(err, aiohttp.ClientResponseError):
        return NotEarshot("answer is not HTTP")
    return CannotConnect(type(err).__name__)
