"""Adding and changing microphones through the dialogs."""

from pathlib import Path
from typing import Any

from homeassistant.config_entries import SOURCE_USER, ConfigEntry, SubentryFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import area_registry as ar, device_registry as dr
import pytest

from custom_components.earshot.const import DOMAIN

from .conftest import microphone, set_up, wait_for
from .fake_server import FakeServer


async def begin(
    hass: HomeAssistant, entry: ConfigEntry, source: str
) -> SubentryFlowResult:
    """Open the dialog and choose the kind of source."""
    flow = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "microphone"), context={"source": SOURCE_USER}
    )
    assert flow["type"] is FlowResultType.MENU
    assert flow["menu_options"] == ["camera", "url"]
    return await fill(hass, flow, {"next_step_id": source})


async def fill(
    hass: HomeAssistant, flow: SubentryFlowResult, data: dict[str, Any]
) -> SubentryFlowResult:
    """Submit a form."""
    return await hass.config_entries.subentries.async_configure(flow["flow_id"], data)


async def test_a_microphone_at_an_address_is_added_and_runs(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server)
    area = ar.async_get(hass).async_create("Kitchen")
    flow = await begin(hass, entry, "url")
    flow = await fill(
        hass, flow, {"name": " Küche am Herd ", "url": str(tone), "area": area.id}
    )
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = entry.subentries.values()
    assert subentry.title == "Küche am Herd"
    assert subentry.unique_id == "kuche_am_herd"
    assert subentry.data == {
        "url": str(tone),
        "area": area.id,
        "sounds": True,
        # What the catalogue has on by default.
        "labels": ["smoke", "co", "bark"],
        "commands": True,
        "clips": False,
        "guard": False,
        "slug": "kuche_am_herd",
    }
    stream = await server.stream()
    assert stream.start["microphone"] == "kuche_am_herd"
    device = dr.async_get(hass).async_get_device_by_identifier(
        (DOMAIN, subentry.subentry_id), entry.entry_id
    )
    assert device is not None
    assert device.area_id == area.id


async def test_a_microphone_of_a_camera_is_added(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    flow = await begin(hass, entry, "camera")
    flow = await fill(hass, flow, {"name": "Door", "camera": "camera.door"})
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = entry.subentries.values()
    assert subentry.data["camera"] == "camera.door"
    await hass.async_block_till_done(wait_background_tasks=False)


async def test_a_microphone_outdoors_says_so(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server)
    flow = await begin(hass, entry, "url")
    await fill(hass, flow, {"name": "Gate", "url": str(tone), "place": "outdoor"})
    (subentry,) = entry.subentries.values()
    assert subentry.data["place"] == "outdoor"
    await server.stream()


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"name": "  "}, {"name": "name_missing"}),
        ({"url": "concat:/etc/passwd"}, {"url": "unsupported_url"}),
        ({"labels": []}, {"labels": "no_labels"}),
        ({"sounds": False, "commands": False}, {"base": "nothing_to_hear"}),
    ],
)
async def test_what_is_wrong_is_said_and_can_be_mended(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    change: dict[str, Any],
    errors: dict[str, str],
) -> None:
    entry = await set_up(hass, server)
    flow = await begin(hass, entry, "url")
    right = {"name": "Hall", "url": f" {tone} "}
    flow = await fill(hass, flow, right | change)
    assert flow["errors"] == errors
    flow = await fill(hass, flow, right)
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = entry.subentries.values()
    assert subentry.data["url"] == str(tone)
    await server.stream()


async def test_namesakes_get_topics_of_their_own(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server)
    for _ in range(3):
        flow = await begin(hass, entry, "url")
        await fill(hass, flow, {"name": "Hall", "url": str(tone)})
        await hass.async_block_till_done(wait_background_tasks=False)
    slugs = [subentry.data["slug"] for subentry in entry.subentries.values()]
    assert slugs == ["hall", "hall_2", "hall_3"]


async def test_names_that_make_no_topic_still_get_one(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server)
    for name in ("!!!", "x" * 200):
        flow = await begin(hass, entry, "url")
        await fill(hass, flow, {"name": name, "url": str(tone)})
        await hass.async_block_till_done(wait_background_tasks=False)
    slugs = [subentry.data["slug"] for subentry in entry.subentries.values()]
    assert all(slug and len(slug) <= 64 for slug in slugs)


async def test_a_microphone_is_changed_and_keeps_its_topics(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    await server.stream()
    area = ar.async_get(hass).async_create("Hall")
    (subentry,) = entry.subentries.values()
    flow = await entry.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    assert flow["step_id"] == "reconfigure"
    flow = await fill(
        hass,
        flow,
        {
            "name": "Hall",
            "url": str(tone),
            "area": area.id,
            "sounds": True,
            "labels": ["smoke"],
            "commands": False,
        },
    )
    assert flow["reason"] == "reconfigure_successful"
    (subentry,) = entry.subentries.values()
    assert subentry.title == "Hall"
    assert subentry.data["slug"] == "kitchen"
    stream = await server.stream(2)
    assert stream.start["microphone"] == "kitchen"
    assert stream.start["labels"] == ["smoke"]
    assert stream.start["tasks"] == ["sounds"]
    device = dr.async_get(hass).async_get_device_by_identifier(
        (DOMAIN, subentry.subentry_id), entry.entry_id
    )
    assert device is not None
    assert device.area_id == area.id


async def test_the_form_shows_what_is_so_now(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(
        hass,
        server,
        microphone({"camera": "camera.door"}, labels=["smoke", "forgotten"]),
    )
    (subentry,) = entry.subentries.values()
    registry = dr.async_get(hass)
    device = registry.async_get_device_by_identifier(
        (DOMAIN, subentry.subentry_id), entry.entry_id
    )
    assert device is not None
    area = ar.async_get(hass).async_create("Moved by hand")
    registry.async_update_device(device.id, area_id=area.id)
    flow = await entry.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    schema = flow["data_schema"]
    assert schema is not None
    suggested = {
        str(key): key.description["suggested_value"]
        for key in schema.schema
        if key.description
    }
    assert suggested["area"] == area.id
    assert suggested["camera"] == "camera.door"
    # A label that the server no longer has could not be submitted.
    assert suggested["labels"] == ["smoke"]


async def test_without_the_server_nothing_can_be_added_or_changed(
    hass: HomeAssistant, server: FakeServer
) -> None:
    server.status = 503
    entry = await set_up(hass, server, microphone())
    flow = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "microphone"), context={"source": SOURCE_USER}
    )
    assert flow["reason"] == "entry_not_loaded"
    (subentry,) = entry.subentries.values()
    flow = await entry.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    assert flow["reason"] == "entry_not_loaded"


async def test_a_server_without_sounds_offers_commands_only(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    server.info["sounds"] = None
    entry = await set_up(hass, server)
    flow = await begin(hass, entry, "url")
    flow = await fill(hass, flow, {"name": "Hall", "url": str(tone)})
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    stream = await server.stream()
    assert stream.start["tasks"] == ["commands"]
    assert not await wait_for(lambda: hass.states.get("switch.hall_listening"))
    assert hass.states.get("event.hall_sound") is None
