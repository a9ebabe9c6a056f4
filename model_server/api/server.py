"""uvicorn with an orderly end: streams hear of it before their connections close."""

from __future__ import annotations

from collections.abc import Callable
import logging
import socket

from fastapi import FastAPI
import uvicorn
from zeroconf import NonUniqueNameException

from model_server.api.service import Service
from model_server.api.wyoming import WyomingDoor
from model_server.api.zeroconf import WYOMING_TYPE, Announcement, announced

_LOGGER = logging.getLogger(__name__)


class BindError(Exception):
    """The address cannot be listened on; the message says what to do."""


def bind(host: str, port: int, settings: str = "--host and --port") -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises BindError, which names the settings to change.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port),
            family=family,
            backlog=128,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is no address of this machine"
        raise BindError(
            f"Cannot listen on {host}, port {port} ({reason}): choose another with "
            f"{settings}."
        ) from error


class EarshotServer(uvicorn.Server):
    """Serves one application on one socket."""

    def __init__(
        self, app: FastAPI, listener: socket.socket, ready: Callable[[str], None]
    ) -> None:
        """`ready` is called with the address once streams are served.

        Raises OSError for a certificate or key that cannot be used, BindError for
        the Wyoming port.
        """
        self._service: Service = app.state.service
        settings = self._service.settings
        self._listener = listener
        self._ready = ready
        self._announcements: list[Announcement] = []
        self.wyoming: WyomingDoor | None = None
        """The second door, if it is to be open."""
        super().__init__(
            uvicorn.Config(
                app,
                ws="websockets-sansio",
                ws_max_size=settings.max_message_bytes,
                # PCM does not shrink, and inflating is a door for bombs.
                ws_per_message_deflate=False,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        # Now rather than when serving: a bad certificate ends the start.
        self.config.load()
        wyoming = settings.wyoming
        if wyoming.port is not None:
            second = bind(
                wyoming.host, wyoming.port, "--wyoming-host and --wyoming-port"
            )
            self.wyoming = WyomingDoor(self._service, second)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the socket given at the start until SIGINT or SIGTERM."""
        await super().serve([self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce and report the address."""
        host, port = self._listener.getsockname()[:2]
        await super().startup(sockets)
        settings = self._service.settings
        tls = settings.tls_cert is not None
        if self.wyoming is not None:
            await self.wyoming.open()
        if settings.zeroconf:
            server = self._service.info().id
            await self._announce(announced(server, host, port, tls=tls))
            if self.wyoming is not None:
                await self._announce(
                    Announcement(server, *self.wyoming.address, {}, WYOMING_TYPE)
                )
        shown = f"[{host}]" if ":" in host else host
        self._ready(f"{'https' if tls else 'http'}://{shown}:{port}")

    async def _announce(self, announcement: Announcement) -> None:
        """Announce; a network that forbids it must not keep streams from being served."""
        try:
            await announcement.open()
            self._announcements.append(announcement)
        except (OSError, NonUniqueNameException):
            await announcement.close()
            _LOGGER.warning(
                "The server cannot be announced on this network: enter its address "
                "in Home Assistant by hand"
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take leave of the network and of every stream, then close."""
        for announcement in self._announcements:
            await announcement.close()
        if self.wyoming is not None:
            await self.wyoming.close()
        await self._service.stop_streams()
        await super().shutdown(sockets)
