"""Being found on the home's network."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest
from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from model_server import __version__
from model_server.api.zeroconf import SERVICE_TYPE, WYOMING_TYPE, announced
from tests.server.client import Serve


async def test_a_server_is_found_and_says_goodbye(serve: Serve, tmp_path: Path) -> None:
    changes: asyncio.Queue[tuple[str, ServiceStateChange]] = asyncio.Queue()

    def changed(
        zeroconf: Zeroconf,
        service_type: str,
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        changes.put_nowait((name, state_change))

    finder = AsyncZeroconf(interfaces=["127.0.0.1"])
    browser = AsyncServiceBrowser(finder.zeroconf, SERVICE_TYPE, handlers=[changed])
    try:
        async with serve(zeroconf=True) as house:
            identity = (tmp_path / "data" / "id").read_text().strip()
            name = f"earshot-{identity[:8]}.{SERVICE_TYPE}"
            while await changes.get() != (name, ServiceStateChange.Added):
                pass
            info = ServiceInfo(SERVICE_TYPE, name)
            assert await info.async_request(finder.zeroconf, 5000)
        while await changes.get() != (name, ServiceStateChange.Removed):
            pass
    finally:
        await browser.async_cancel()
        await finder.async_close()

    assert info.port == int(house.url.rsplit(":", 1)[1])
    assert info.parsed_addresses() == ["127.0.0.1"]
    assert info.decoded_properties == {
        "id": identity,
        "version": __version__,
        "protocol": "1",
        "tls": "0",
    }


async def test_a_server_without_the_flag_is_not_announced(serve: Serve) -> None:
    async with serve() as house:
        name = f"earshot-{house.service.info().id[:8]}.{SERVICE_TYPE}"
        finder = AsyncZeroconf(interfaces=["127.0.0.1"])
        try:
            info = ServiceInfo(SERVICE_TYPE, name)
            assert not await info.async_request(finder.zeroconf, 500)
        finally:
            await finder.async_close()


async def test_its_wyoming_port_is_found_too(serve: Serve) -> None:
    finder = AsyncZeroconf(interfaces=["127.0.0.1"])
    try:
        async with serve(zeroconf=True, wyoming={"port": 0}) as house:
            assert house.server.wyoming is not None
            name = f"earshot-{house.service.info().id[:8]}.{WYOMING_TYPE}"
            info = ServiceInfo(WYOMING_TYPE, name)
            assert await info.async_request(finder.zeroconf, 5000)
            assert info.parsed_addresses() == ["127.0.0.1"]
            assert info.port == house.server.wyoming.address[1]
    finally:
        await finder.async_close()


async def test_a_network_without_multicast_is_named_and_the_server_serves(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(self: AsyncZeroconf, info: ServiceInfo) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(AsyncZeroconf, "async_register_service", refused)
    async with serve(zeroconf=True) as house, house.http() as http:
        assert (await http.get("/v1/info")).status_code == 200

    assert "cannot be announced" in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_who_listens_everywhere_announces_addresses_that_others_reach(
    host: str,
) -> None:
    service = announced("0123456789", host, 10380, tls=True).service

    assert not any(
        ip_address(address).is_loopback for address in service.parsed_addresses()
    )
    assert service.decoded_properties["tls"] == "1"
