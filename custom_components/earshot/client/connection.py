"""One open stream: PCM goes up, results come down."""

import asyncio
from collections.abc import AsyncGenerator

import aiohttp

from .clips import Clip
from .errors import ConnectionLost, InvalidMessage, ProtocolMismatch, StreamError
from .messages import (
    Health,
    Level,
    Listening,
    Partial,
    Ready,
    ServerMessage,
    Sound,
    Speech,
    Stopped,
    Transcript,
    Wake,
    parse,
)
from .requests import END, PROTOCOL, Attend, Listen, Start

BYTES_PER_SECOND = 32_000
CATCH_UP = 1.04
"""How much faster than time a backlog is sent: servers tolerate a fast clock."""

type StreamResult = Speech | Wake | Partial | Transcript | Sound | Clip | Level | Health


class Stream:
    """A stream that the server has answered with `ready`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, ready: Ready) -> None:
        """Wrap a socket whose handshake is done."""
        self._socket = socket
        self._ahead_s = 0.0
        self._sent_at = asyncio.get_running_loop().time()
        self._ended = False
        self.ready = ready
        self.listening: Listening | None = None
        self.stopped: Stopped | None = None

    @classmethod
    async def open(
        cls, socket: aiohttp.ClientWebSocketResponse, start: Start
    ) -> Stream:
        """Send the start frame and wait for `ready`."""
        await _send_text(socket, start.encode())
        while not isinstance(message := await _receive(socket), Ready):
            if isinstance(message, Stopped):
                raise ConnectionLost("the server is shutting down")
        if message.protocol != PROTOCOL:
            raise ProtocolMismatch(message.protocol, PROTOCOL)
        return cls(socket, message)

    async def send(self, pcm: bytes) -> None:
        """Send PCM, 16-bit little-endian 16 kHz mono, no faster than allowed."""
        size = max(2, self.ready.limits.max_message_bytes & ~1)
        for offset in range(0, len(pcm), size):
            chunk = pcm[offset : offset + size]
            await self._pace(len(chunk) / BYTES_PER_SECOND)
            try:
                await self._socket.send_bytes(chunk)
            except (aiohttp.ClientError, ConnectionError) as err:
                raise ConnectionLost("the stream broke while sending") from err

    async def ask(self, message: Listen | Attend) -> None:
        """Have the server listen for something else, or to what comes next.

        Nothing is asked of a stream whose end was said.
        """
        if not self._ended:
            await _send_text(self._socket, message.encode())

    async def end(self) -> None:
        """Say that no more PCM follows; results still due come until `stopped`."""
        self._ended = True
        await _send_text(self._socket, END)

    async def results(self) -> AsyncGenerator[StreamResult]:
        """Yield results until the server stops in order.

        Raises StreamError for an error frame, ConnectionLost for a broken stream.
        """
        while not isinstance(message := await _receive(self._socket), Stopped):
            if isinstance(message, Listening):
                self.listening = message
            elif message is not None and not isinstance(message, Ready):
                yield message
        self.stopped = message

    async def close(self) -> None:
        """Leave at once; results still due are lost."""
        await self._socket.close()

    async def _pace(self, seconds: float) -> None:
        """Wait until so much audio may follow: a backlog at once, then as time goes."""
        loop = asyncio.get_running_loop()
        passed = (loop.time() - self._sent_at) * CATCH_UP
        ahead = max(0.0, self._ahead_s - passed) + seconds
        if (early := ahead - self.ready.limits.max_ahead_s) > 0:
            await asyncio.sleep(early / CATCH_UP)
            ahead -= early
        self._ahead_s = ahead
        self._sent_at = loop.time()


async def _send_text(socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
    """Send one text frame."""
    try:
        await socket.send_str(text)
    except (aiohttp.ClientError, ConnectionError) as err:
        raise ConnectionLost("the stream broke while sending") from err


async def _receive(
    socket: aiohttp.ClientWebSocketResponse,
) -> Ready | Listening | StreamResult | Stopped | None:
    """Wait for the next message; None for one this client does not know."""
    frame = await socket.receive()
    if frame.type is aiohttp.WSMsgType.TEXT:
        message: ServerMessage | None = parse(frame.data)
        if isinstance(message, StreamError):
            raise message
        return message
    if frame.type is aiohttp.WSMsgType.BINARY:
        raise InvalidMessage("binary frame from the server")
    raise ConnectionLost("the server closed the stream")
