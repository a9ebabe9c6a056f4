"""The Wyoming door: TCP without a token, so with limits on who, how many and how long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
import logging
import socket

from wyoming.error import Error
from wyoming.event import Eventable

from model_server.api.intake import StreamError
from model_server.api.service import Service
from model_server.api.wyoming_events import (
    MAX_HEADER_BYTES,
    WRITE_S,
    read_event,
    write_event,
)
from model_server.api.wyoming_talk import Talk

LINGER_S = 2.0
"""How long a client that was refused may go on sending before it is cut off."""

_LOGGER = logging.getLogger(__name__)


class WyomingDoor:
    """Serves Wyoming clients from `open` to `close`."""

    def __init__(self, service: Service, listener: socket.socket) -> None:
        """Serve on a listening socket."""
        self._service = service
        self._settings = service.settings.wyoming
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        """The address, as Wyoming writes it."""
        host, port = self.address
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    async def open(self) -> None:
        """Begin to serve."""
        if not ip_address(self.address[0]).is_loopback:
            _LOGGER.warning(
                "The Wyoming port is open beyond this machine, and Wyoming has no "
                "token: %s may use the server",
                "only addresses of wyoming.allow"
                if self._settings.allow
                else "whoever can reach it",
            )
        self._server = await asyncio.start_server(
            self._accept, sock=self._listener, limit=MAX_HEADER_BYTES
        )

    async def close(self) -> None:
        """Let nobody in, and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Let a client in, if it may come and there is room."""
        most = self._settings.max_connections
        # Half of the places are for clients that are only told that there are no more.
        if len(self._tasks) >= 2 * most or not self._allowed(writer):
            self._service.metrics.wyoming_errors.labels("refused").inc()
            writer.transport.abort()
            return
        task = asyncio.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection, from first to last byte."""
        try:
            await self._serve(reader, writer)
            writer.close()
            async with asyncio.timeout(WRITE_S):
                await writer.wait_closed()
        except (OSError, EOFError):
            # The client vanished, or takes nothing more: nobody is there to tell.
            pass
        finally:
            writer.transport.abort()

    def _allowed(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the client's address is one of those that may connect."""
        peer = writer.get_extra_info("peername")
        if not peer:
            return False
        address = ip_address(peer[0].partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        allow = self._settings.allow
        return not allow or any(address in network for network in allow)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Talk until the client leaves or breaks a rule. Raises OSError, EOFError."""

        async def say(event: Eventable) -> None:
            await write_event(writer, event.event())

        refusal = None
        try:
            await self._converse(reader, Talk(self._service, say))
        except StreamError as error:
            refusal = error
        except (OSError, EOFError):
            raise
        except Exception as error:  # noqa: BLE001 - a defect must end one client only
            self._service.report("Wyoming connection", error)
            refusal = StreamError(
                "engine_failed", "The server failed here; its log says where."
            )
        if refusal is None:
            return
        self._service.metrics.wyoming_errors.labels(refusal.code).inc()
        await say(Error(refusal.message, refusal.code))
        # Closing while something comes in would take the error from the client.
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                writer.write_eof()
                while await reader.read(MAX_HEADER_BYTES):
                    pass

    async def _converse(self, reader: asyncio.StreamReader, talk: Talk) -> None:
        """Take events until there are no more."""
        most = self._settings.max_connections
        if self._open >= most:
            raise StreamError(
                "too_many_streams",
                f"All {most} Wyoming connections are taken: close one, or start the "
                "server with a larger wyoming.max_connections.",
            )
        settings = self._service.settings
        self._count(1)
        try:
            while event := await read_event(
                reader, settings.idle_s, settings.max_message_bytes
            ):
                await talk.take(event)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._open += change
        self._service.metrics.wyoming_connections.set(self._open)
