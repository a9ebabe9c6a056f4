"""An HTTP exchange that ends in time and fits in memory, whatever the server does.

The limits sit where bytes leave the socket, below headers, chunks and lines: nothing
that is built on top can be made to wait or to swell by what it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import ssl
import time
from typing import Any, Final

import httpcore2
import httpx2

SENT: Final = frozenset(
    {
        *("host", "authorization", "user-agent", "accept", "accept-encoding"),
        *("content-type", "content-length", "connection"),
    }
)
"""Headers that leave this machine: client libraries add what describes it."""

_PIECE: Final = 1 << 16
"""Bytes that are written before the clock is looked at again."""


class TooMuchError(Exception):
    """A server sent more than was allowed for."""


class Budget:
    """What one exchange may still cost: seconds, and bytes that are read.

    `patience` bounds a single wait for the server; None leaves that to the deadline.
    """

    patience: float | None = None

    def __init__(
        self,
        seconds: float,
        read_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin now."""
        self._clock = clock
        self._deadline = clock() + seconds
        self._bytes = read_bytes

    def left(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._deadline - self._clock()

    def wait(self, longest: float | None) -> float:
        """Seconds that a wait may last now. Raises httpcore2.ReadTimeout if none."""
        left = self.left()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for the whole exchange is over")
        limits = (left, longest, self.patience)
        return min(limit for limit in limits if limit is not None)

    def take(self, count: int) -> None:
        """Count bytes that came. Raises TooMuchError."""
        self._bytes -= count
        if self._bytes < 0:
            raise TooMuchError


class BoundedTransport(httpx2.BaseTransport):
    """HTTP/1.1 on a connection of its own, within a budget; no proxy, no decoding.

    Its errors are those of httpcore2, and TooMuchError.
    """

    def __init__(
        self, budget: Budget, tls: ssl.SSLContext | None, authorization: str | None
    ) -> None:
        """Connect when asked; `authorization` goes with every request."""
        self._authorization = authorization
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls, network_backend=_Backend(budget), max_connections=1
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Exchange a request for a response whose body is still to come."""
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in SENT - {"authorization"}
        }
        # A compressed body could unpack to any size.
        headers |= {"accept-encoding": "identity", "connection": "close"}
        if self._authorization is not None:
            headers["authorization"] = self._authorization
        url = request.url
        response = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(
                    scheme=url.raw_scheme,
                    host=url.raw_host,
                    port=url.port,
                    target=url.raw_path,
                ),
                headers=[*headers.items()],
                content=request.stream,
                extensions=request.extensions,
            )
        )
        kept = [
            (name, value)
            for name, value in response.headers
            if name.lower() != b"content-encoding"
        ]
        return httpx2.Response(response.status, headers=kept, stream=_Body(response))

    def close(self) -> None:
        """Close the connection, with whatever still comes on it."""
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    """A response's body as it comes."""

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Backend(httpcore2.NetworkBackend):
    """Connects within a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect; only the look-up of the name cannot be cut short."""
        stream = self._inner.connect_tcp(
            host, port, self._budget.wait(timeout), local_address, socket_options
        )
        return _Stream(stream, self._budget)


class _Stream(httpcore2.NetworkStream):
    """A connection that reads and writes within a budget."""

    def __init__(self, inner: httpcore2.NetworkStream, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what there is."""
        data = self._inner.read(max_bytes, self._budget.wait(timeout))
        self._budget.take(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all; each piece has a time of its own, all together the deadline."""
        for first in range(0, len(buffer), _PIECE):
            piece = buffer[first : first + _PIECE]
            self._inner.write(piece, self._budget.wait(timeout))

    def close(self) -> None:
        """Close it."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Greet within the time; Python bounds the whole handshake by it."""
        stream = self._inner.start_tls(
            ssl_context, server_hostname, self._budget.wait(timeout)
        )
        return _Stream(stream, self._budget)

    def get_extra_info(self, info: str) -> Any:
        """What the connection knows of itself."""
        return self._inner.get_extra_info(info)
