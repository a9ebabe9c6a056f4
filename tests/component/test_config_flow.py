"""Adding a server and keeping it right: every way, every error, and out of it again."""

import asyncio
from ipaddress import ip_address
from typing import Any

from homeassistant.config_entries import (
    SOURCE_USER,
    SOURCE_ZEROCONF,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
import pytest

from custom_components.earshot.client import EarshotError, api
from custom_components.earshot.const import DOMAIN

from .conftest import server_data, set_up, wait_for
from .fake_server import TOKEN, FakeServer


async def begin(hass: HomeAssistant) -> ConfigFlowResult:
    """Open the dialog."""
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert flow["type"] is FlowResultType.FORM
    assert flow["errors"] == {}
    return flow


async def fill(
    hass: HomeAssistant, flow: ConfigFlowResult, data: dict[str, Any]
) -> ConfigFlowResult:
    """Submit a form."""
    return await hass.config_entries.flow.async_configure(flow["flow_id"], data)


def discovered(server: FakeServer, **changes: Any) -> ZeroconfServiceInfo:
    """Return what a server announces."""
    return ZeroconfServiceInfo(
        ip_address=ip_address("127.0.0.1"),
        ip_addresses=[ip_address("127.0.0.1")],
        port=server.port,
        hostname="earshot.local.",
        type="_earshot._tcp.local.",
        name="earshot._earshot._tcp.local.",
        properties={"id": "installation-1", "tls": "0", **changes},
    )


async def test_a_server_is_added(hass: HomeAssistant, server: FakeServer) -> None:
    flow = await fill(hass, await begin(hass), server_data(server.port))
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    assert flow["title"] == "127.0.0.1"
    assert flow["data"] == server_data(server.port)
    assert flow["result"].unique_id == "installation-1"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"token": "wrong"}, "invalid_auth"),
        ({"status": 503}, "cannot_connect"),
        ({"status": 404}, "not_earshot"),
        ({"info": {"name": "other"}}, "not_earshot"),
        ({"info": {"name": "earshot", "protocol": 2}}, "protocol_mismatch"),
    ],
)
async def test_a_server_that_does_not_fit_has_its_message_and_can_be_mended(
    hass: HomeAssistant, server: FakeServer, change: dict[str, Any], error: str
) -> None:
    right = {name: getattr(server, name) for name in change}
    for name, value in change.items():
        setattr(server, name, value)
    flow = await fill(hass, await begin(hass), server_data(server.port))
    assert flow["type"] is FlowResultType.FORM
    assert flow["errors"] == {"base": error}
    for name, value in right.items():
        setattr(server, name, value)
    flow = await fill(hass, flow, server_data(server.port))
    assert flow["type"] is FlowResultType.CREATE_ENTRY


async def test_a_protocol_mismatch_names_both_versions(
    hass: HomeAssistant, server: FakeServer
) -> None:
    server.info = {"name": "earshot", "protocol": 7}
    flow = await fill(hass, await begin(hass), server_data(server.port))
    placeholders = flow["description_placeholders"]
    assert placeholders is not None
    assert (placeholders["theirs"], placeholders["ours"]) == ("7", "1")


async def test_nobody_at_the_address(hass: HomeAssistant, server: FakeServer) -> None:
    await server.stop()
    flow = await fill(hass, await begin(hass), server_data(server.port))
    assert flow["errors"] == {"base": "cannot_connect"}
    await server.start()
    flow = await fill(hass, flow, server_data(server.port))
    assert flow["type"] is FlowResultType.CREATE_ENTRY


async def test_no_answer_in_time(
    hass: HomeAssistant, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(
        lambda _, writer: callers.append(writer), "127.0.0.1", 0
    )
    port = silent.sockets[0].getsockname()[1]
    with monkeypatch.context() as patch:
        patch.setattr(api, "ANSWER_S", 0.05)
        flow = await fill(hass, await begin(hass), server_data(port))
    assert flow["errors"] == {"base": "timeout_connect"}
    await wait_for(lambda: callers)
    silent.close()
    silent.close_clients()
    flow = await fill(hass, flow, server_data(server.port))
    assert flow["type"] is FlowResultType.CREATE_ENTRY


async def test_tls_where_there_is_none(hass: HomeAssistant, server: FakeServer) -> None:
    flow = await fill(hass, await begin(hass), server_data(server.port) | {"ssl": True})
    assert flow["errors"] == {"base": "tls_failed"}
    flow = await fill(hass, flow, server_data(server.port))
    assert flow["type"] is FlowResultType.CREATE_ENTRY


async def test_a_host_that_is_none(hass: HomeAssistant, server: FakeServer) -> None:
    flow = await fill(
        hass, await begin(hass), server_data(server.port) | {"host": "http://a b"}
    )
    assert flow["errors"] == {"host": "invalid_host"}
    flow = await fill(hass, flow, server_data(server.port))
    assert flow["type"] is FlowResultType.CREATE_ENTRY


async def test_an_answer_beyond_understanding(
    hass: HomeAssistant, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: object) -> None:
        raise EarshotError("new kind")

    with monkeypatch.context() as patch:
        patch.setattr("custom_components.earshot.client.Client.info", fail)
        flow = await fill(hass, await begin(hass), server_data(server.port))
    assert flow["errors"] == {"base": "unknown"}
    flow = await fill(hass, flow, server_data(server.port))
    assert flow["type"] is FlowResultType.CREATE_ENTRY


async def test_a_server_is_added_only_once(
    hass: HomeAssistant, server: FakeServer
) -> None:
    await set_up(hass, server)
    flow = await fill(hass, await begin(hass), server_data(server.port))
    assert flow["type"] is FlowResultType.ABORT
    assert flow["reason"] == "already_configured"


async def test_a_discovered_server_asks_for_its_token(
    hass: HomeAssistant, server: FakeServer
) -> None:
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_ZEROCONF}, data=discovered(server)
    )
    assert flow["step_id"] == "zeroconf_confirm"
    flow = await fill(hass, flow, {"token": "wrong", "verify_ssl": True})
    assert flow["errors"] == {"base": "invalid_auth"}
    flow = await fill(hass, flow, {"token": TOKEN, "verify_ssl": True})
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    assert flow["data"] == server_data(server.port)


async def test_a_discovered_server_says_whether_it_uses_tls(
    hass: HomeAssistant, server: FakeServer
) -> None:
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_ZEROCONF}, data=discovered(server, tls="1")
    )
    flow = await fill(hass, flow, {"token": TOKEN, "verify_ssl": True})
    assert flow["errors"] == {"base": "tls_failed"}


async def test_a_discovered_server_that_lies_is_not_added(
    hass: HomeAssistant, server: FakeServer
) -> None:
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_ZEROCONF}, data=discovered(server, id="2")
    )
    flow = await fill(hass, flow, {"token": TOKEN, "verify_ssl": True})
    assert flow["reason"] == "another_server"


async def test_a_discovered_stranger_is_ignored(
    hass: HomeAssistant, server: FakeServer
) -> None:
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_ZEROCONF}, data=discovered(server, id="")
    )
    assert flow["reason"] == "not_earshot"


async def test_a_known_server_that_moved_is_followed(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "host": "192.0.2.1"}
    )
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_ZEROCONF}, data=discovered(server)
    )
    assert flow["reason"] == "already_configured"
    assert entry.data["host"] == "127.0.0.1"
    await hass.async_block_till_done()


async def test_a_new_token_is_asked_for_and_used(
    hass: HomeAssistant, server: FakeServer
) -> None:
    server.token = "new"
    entry = await set_up(hass, server)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["step_id"] == "reauth_confirm"
    result = await hass.config_entries.flow.async_configure(
        flow["flow_id"], {"token": "still wrong"}
    )
    assert result["errors"] == {"base": "invalid_auth"}
    result = await fill(hass, result, {"token": "new"})
    assert result["reason"] == "reauth_successful"
    assert entry.data["token"] == "new"
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED


async def test_a_token_of_another_server_is_not_taken(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    server.info["id"] = "installation-2"
    flow = await fill(hass, await entry.start_reauth_flow(hass), {"token": TOKEN})
    assert flow["reason"] == "another_server"


async def test_a_server_is_reconfigured(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    flow = await entry.start_reconfigure_flow(hass)
    assert flow["step_id"] == "reconfigure"
    # The form never shows the token it knows.
    assert TOKEN not in str(flow["data_schema"])
    flow = await fill(hass, flow, server_data(server.port) | {"token": "wrong"})
    assert flow["errors"] == {"base": "invalid_auth"}
    flow = await fill(hass, flow, server_data(server.port) | {"verify_ssl": False})
    assert flow["reason"] == "reconfigure_successful"
    assert entry.data["verify_ssl"] is False
    await hass.async_block_till_done()


async def test_the_options_are_checked_and_taken(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    for wrong in ("a/#", "", "/", "a+b"):
        flow = await hass.config_entries.options.async_configure(
            flow["flow_id"], {"base_topic": wrong, "publish_level": True}
        )
        assert flow["errors"] == {"base_topic": "invalid_topic"}
    flow = await hass.config_entries.options.async_configure(
        flow["flow_id"],
        {"base_topic": "ears", "publish_level": True, "code_words": "yes please"},
    )
    assert flow["errors"] == {"code_words": "invalid_code_words"}
    flow = await hass.config_entries.options.async_configure(
        flow["flow_id"],
        {
            "base_topic": " home/ears/ ",
            "publish_level": True,
            "media": ["Jazz Radio"],
            "code_words": " purple elephant ",
        },
    )
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == {
        "base_topic": "home/ears",
        "code_words": "purple elephant",
        "media": ["Jazz Radio"],
        "publish_level": True,
        "publish_partials": False,
        "unasked": 5,
    }
    await hass.async_block_till_done()
