"""Finding the server on the home's network, by its own name and by Wyoming's."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

import ifaddr
from zeroconf import InterfaceChoice, IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from model_server import __version__
from model_server.api.messages import PROTOCOL

SERVICE_TYPE = "_earshot._tcp.local."
WYOMING_TYPE = "_wyoming._tcp.local."


class Announcement:
    """A service that is announced from `open` to `close`."""

    def __init__(
        self,
        installation: str,
        host: str,
        port: int,
        properties: Mapping[str, str],
        service_type: str = SERVICE_TYPE,
    ) -> None:
        """Announce what listens on `host` (an address; 0.0.0.0 or :: for all)."""
        address = ip_address(host)
        everywhere = address.is_unspecified
        self._interfaces: InterfaceChoice | list[str] = (
            InterfaceChoice.All if everywhere else [host]
        )
        # `::` also takes IPv4, which is what homes are found by.
        self._ip_version = (
            IPVersion.V6Only
            if address.version == 6 and not everywhere
            else IPVersion.V4Only
        )
        addresses = _addresses() if everywhere else [host]
        name = f"earshot-{installation[:8]}"
        self.service = ServiceInfo(
            service_type,
            f"{name}.{service_type}",
            port=port,
            properties=dict(properties),
            server=f"{name}.local.",
            parsed_addresses=addresses,
        )
        self._zeroconf: AsyncZeroconf | None = None

    async def open(self) -> None:
        """Start announcing."""
        self._zeroconf = AsyncZeroconf(
            interfaces=self._interfaces, ip_version=self._ip_version
        )
        await self._zeroconf.async_register_service(self.service)

    async def close(self) -> None:
        """Say goodbye."""
        if self._zeroconf is not None:
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()
            self._zeroconf = None


def announced(installation: str, host: str, port: int, *, tls: bool) -> Announcement:
    """The announcement of the server's own protocol."""
    properties = {
        "id": installation,
        "version": __version__,
        "protocol": str(PROTOCOL),
        "tls": "1" if tls else "0",
    }
    return Announcement(installation, host, port, properties)


def _addresses() -> list[str]:
    """This machine's IPv4 addresses that others may reach."""
    found = (ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips)
    return [
        address
        for address in found
        if isinstance(address, str) and not ip_address(address).is_loopback
    ]
