"""Clips in Home Assistant: told, browsed, and passed on without the server's token."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
import json
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient
from homeassistant.components.media_player.errors import BrowseError
from homeassistant.components.media_source import (
    BrowseMediaSource,
    Unresolvable,
    async_browse_media,
    async_resolve_media,
)
from homeassistant.components.media_source.const import DOMAIN as MEDIA_SOURCE
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import (
    ClientSessionGenerator,
    WebSocketGenerator,
)

from custom_components.earshot.client import (
    Client,
    ClipNotFound,
    Endpoint,
    NotEarshot,
    Start,
)
from custom_components.earshot.client.clips import MAX_BYTES, one_range

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import TOKEN, FakeServer

CLIP = "01a204d0-1c3e-7a51-b0f4-5d1f0c9be7aa"
EVENT = "event.kitchen_clip"
SOUND = b"fLaC" + bytes(range(256)) * 600


@pytest.fixture
def keeping(server: FakeServer, tmp_path: Path) -> FakeServer:
    """A server that keeps clips, and has one of the kitchen."""
    server.info["clips"] = True
    server.clips = [
        {
            "id": CLIP,
            "microphone": "kitchen",
            "label": "smoke",
            "start": "2026-11-22T18:00:07.010Z",
            "seconds": 15.0,
            "score": 0.96,
        }
    ]
    for name, content in ((CLIP, SOUND), (f"{CLIP}.png", b"\x89PNG")):
        server.files[name] = tmp_path / name
        server.files[name].write_bytes(content)
    return server


async def home(hass: HomeAssistant, server: FakeServer, **changes: Any) -> ConfigEntry:
    """Set up a home with media, and a kitchen whose sounds are kept."""
    assert await async_setup_component(hass, MEDIA_SOURCE, {})
    assert await async_setup_component(hass, "websocket_api", {})
    kitchen = microphone(**({"clips": True} | changes))
    return await set_up(hass, server, kitchen)


def place_of(entry: ConfigEntry) -> str:
    """Return the kitchen's place among the clips."""
    return f"{entry.entry_id}/{next(iter(entry.subentries))}"


# What is told


async def test_a_kept_clip_is_an_event_and_a_message(
    hass: HomeAssistant,
    keeping: FakeServer,
    tone: Path,
    mqtt_entry: object,
    witness: Witness,
) -> None:
    entry = await home(hass, keeping, url=str(tone))
    stream = await keeping.stream()
    assert stream.start["clips"] is True

    await stream.sound("smoke", "start", CLIP)
    await stream.clip("smoke", CLIP)

    await wait_for(lambda: witness.on("earshot/kitchen/clip"))
    (message,) = witness.json("earshot/kitchen/clip")
    assert message["id"] == message["event"] == CLIP
    assert (message["label"], message["seconds"]) == ("smoke", 7.5)
    assert datetime.fromisoformat(message["start"]).tzinfo is not None
    state = hass.states.get(EVENT)
    assert state is not None
    assert state.attributes["event_type"] == "smoke"
    assert state.attributes["event"] == CLIP
    assert state.attributes["seconds"] == 7.5
    played = f"media-source://earshot/{place_of(entry)}/{CLIP}"
    assert state.attributes["clip"] == played
    assert (await async_resolve_media(hass, played, None)).mime_type == "audio/flac"


async def test_the_clip_of_a_sound_that_went_on_names_its_first_message(
    hass: HomeAssistant,
    keeping: FakeServer,
    tone: Path,
    mqtt_entry: object,
    witness: Witness,
) -> None:
    await home(hass, keeping, url=str(tone))
    stream = await keeping.stream()
    await stream.sound("smoke", "start", "first")
    await wait_for(lambda: witness.on("earshot/kitchen/sound"))
    await stream.drop()
    stream = await keeping.stream(2)
    await stream.sound("smoke", "start", CLIP)
    await stream.sound("smoke", "end", CLIP)
    await stream.clip("smoke", CLIP)

    await wait_for(lambda: witness.on("earshot/kitchen/clip"))
    (message,) = witness.json("earshot/kitchen/clip")
    assert (message["id"], message["event"]) == (CLIP, "first")
    sounds = witness.json("earshot/kitchen/sound")
    assert [sound["id"] for sound in sounds] == ["first", "first"]


async def test_what_a_describer_said_is_passed_on(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    mqtt_entry: object,
    witness: Witness,
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    now = datetime.now(UTC).isoformat()
    await stream.say(
        {
            "type": "sound",
            "id": "a",
            "time": now,
            "microphone": "kitchen",
            "state": "start",
            "label": "bark",
            "score": 0.9,
            "threshold": 0.5,
            "start": now,
            "engine": {"name": "fake", "version": "1"},
            "verified": True,
            "description": "A dog barks.",
        }
    )
    await wait_for(lambda: witness.on("earshot/kitchen/sound"))
    (message,) = witness.json("earshot/kitchen/sound")
    assert message["description"] == "A dog barks."
    assert (message["verified"], message["clip"]) == (True, None)
    state = hass.states.get("event.kitchen_sound")
    assert state is not None
    assert state.attributes["description"] == message["description"]


@pytest.mark.parametrize(
    ("allowed", "asked"), [(True, False), (False, True), (False, False)]
)
async def test_without_the_owner_and_the_microphone_nothing_is_kept(
    hass: HomeAssistant, server: FakeServer, tone: Path, allowed: bool, asked: bool
) -> None:
    server.info["clips"] = allowed
    await home(hass, server, url=str(tone), clips=asked)
    stream = await server.stream()

    assert "clips" not in stream.start
    assert hass.states.get("event.kitchen_sound") is not None
    assert hass.states.get(EVENT) is None


async def test_a_clip_of_a_label_that_nobody_chose_is_not_an_event(
    hass: HomeAssistant, keeping: FakeServer, tone: Path
) -> None:
    await home(hass, keeping, url=str(tone))
    stream = await keeping.stream()
    await stream.clip("dripping_tap", CLIP)
    await stream.sound("smoke", "start", "a")
    await wait_for(lambda: (s := hass.states.get(SENSOR)) and s.state == "on")

    state = hass.states.get(EVENT)
    assert state is not None
    assert state.attributes["event_type"] is None


SENSOR = "binary_sensor.kitchen_smoke_alarm"


async def test_a_server_that_begins_to_keep_clips_is_noticed(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await home(hass, server, url=str(tone))
    assert hass.states.get(EVENT) is None
    server.info["clips"] = True

    await entry.runtime_data.coordinator.async_refresh()

    await wait_for(lambda: hass.states.get(EVENT))


def test_a_start_says_clips_only_if_it_wants_them() -> None:
    for clips in (True, False):
        frame = json.loads(Start("kitchen", ("sounds",), clips=clips).encode())
        assert frame.get("clips", False) is clips


def test_a_clips_texts_are_those_of_the_sounds() -> None:
    path = Path(__file__).parents[2] / "custom_components/earshot/translations/en.json"
    events = json.loads(path.read_text())["entity"]["event"]

    assert events["clip"]["state_attributes"] == events["sound"]["state_attributes"]


# Browsing


async def test_clips_are_found_by_server_and_microphone(
    hass: HomeAssistant, keeping: FakeServer, tone: Path
) -> None:
    await hass.config.async_set_time_zone("Europe/Berlin")
    entry = await home(hass, keeping, url=str(tone))
    found: BrowseMediaSource = await async_browse_media(hass, "media-source://earshot")
    titles = []
    for _ in range(3):
        assert found.children is not None
        (found,) = found.children
        titles.append(found.title)
        if found.can_expand:
            found = await async_browse_media(hass, found.media_content_id)

    assert titles == ["Server", "Kitchen", "Smoke alarm, 2026-11-22 19:00:07"]
    assert keeping.asked == ["kitchen"]
    assert (found.can_play, found.can_expand) == (True, False)
    assert found.media_content_type == "audio/flac"
    picture = f"/api/earshot/clip/{place_of(entry)}/{CLIP}.png"
    assert found.thumbnail == picture


@pytest.mark.parametrize(
    "path",
    [
        "x",
        "{place}/x",
        "{entry}/x",
        "{place}/{clip}/x",
        f"x/y/{CLIP}",
        f"{{entry}}/x/{CLIP}",
    ],
)
async def test_what_is_not_there_is_neither_shown_nor_played(
    hass: HomeAssistant, keeping: FakeServer, tone: Path, path: str
) -> None:
    entry = await home(hass, keeping, url=str(tone))
    path = path.format(entry=entry.entry_id, place=place_of(entry), clip=CLIP)
    for action in (
        async_browse_media(hass, f"media-source://earshot/{path}"),
        async_resolve_media(hass, f"media-source://earshot/{path}", None),
    ):
        with pytest.raises((BrowseError, Unresolvable), match="no such clip"):
            await action


async def test_a_server_that_is_away_cannot_be_browsed(
    hass: HomeAssistant, keeping: FakeServer, tone: Path
) -> None:
    entry = await home(hass, keeping, url=str(tone))
    keeping.clips_status = 404
    with pytest.raises(BrowseError, match="does not answer"):
        await async_browse_media(hass, f"media-source://earshot/{place_of(entry)}")
    await hass.config_entries.async_unload(entry.entry_id)
    for path in (entry.entry_id, place_of(entry)):
        with pytest.raises(BrowseError):
            await async_browse_media(hass, f"media-source://earshot/{path}")
    found = await async_browse_media(hass, "media-source://earshot")
    assert found.children == []


# Fetching


@pytest.fixture
async def fetch(
    hass: HomeAssistant,
    keeping: FakeServer,
    tone: Path,
    hass_client: ClientSessionGenerator,
) -> Callable[..., Awaitable[aiohttp.ClientResponse]]:
    """Ask Home Assistant for a file of the kitchen."""
    entry = await home(hass, keeping, url=str(tone))
    client: TestClient[Any, Any] = await hass_client()

    async def get(file: str, place: str | None = None, **options: Any) -> Any:
        path = f"/api/earshot/clip/{place or place_of(entry)}/{file}"
        return await client.get(path, **options)

    return get


type Fetch = Callable[..., Awaitable[aiohttp.ClientResponse]]


async def test_a_clip_and_its_picture_are_passed_on(
    fetch: Fetch, keeping: FakeServer
) -> None:
    sound = await fetch(f"{CLIP}.flac")
    picture = await fetch(f"{CLIP}.png")

    assert (sound.status, await sound.read()) == (200, SOUND)
    assert sound.headers["Content-Type"] == "audio/flac"
    assert sound.headers["Content-Length"] == str(len(SOUND))
    assert (picture.status, await picture.read()) == (200, b"\x89PNG")
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert keeping.asked == ["kitchen", "kitchen"]
    assert TOKEN not in str(sound.headers) + str(picture.headers)


async def test_a_part_is_passed_on_as_one(fetch: Fetch) -> None:
    part = await fetch(f"{CLIP}.flac", headers={"Range": "bytes=4-9"})
    beyond = await fetch(f"{CLIP}.flac", headers={"Range": "bytes=9999999-"})

    assert (part.status, await part.read()) == (206, SOUND[4:10])
    assert part.headers["Content-Range"] == f"bytes 4-9/{len(SOUND)}"
    assert beyond.status == 416


@pytest.mark.parametrize("header", [None, "bytes=0-1,5-6", "lines=1-2", "bytes=-"])
def test_anything_but_one_range_is_left_out(header: str | None) -> None:
    assert one_range(header) == {}
    assert one_range("bytes=-5") == {"Range": "bytes=-5"}


async def test_nobody_gets_a_clip_without_home_assistants_leave(
    hass: HomeAssistant,
    keeping: FakeServer,
    tone: Path,
    hass_client_no_auth: ClientSessionGenerator,
    hass_ws_client: WebSocketGenerator,
) -> None:
    entry = await home(hass, keeping, url=str(tone))
    stranger = await hass_client_no_auth()
    path = f"/api/earshot/clip/{place_of(entry)}/{CLIP}.flac"
    assert (await stranger.get(path)).status == 401

    websocket = await hass_ws_client()
    await websocket.send_json_auto_id(
        {
            "type": "media_source/resolve_media",
            "media_content_id": f"media-source://earshot/{place_of(entry)}/{CLIP}",
        }
    )
    resolved = (await websocket.receive_json())["result"]
    assert resolved["mime_type"] == "audio/flac"
    assert TOKEN not in resolved["url"]
    signed = await stranger.get(resolved["url"])
    assert (signed.status, await signed.read()) == (200, SOUND)


async def test_no_name_leads_elsewhere(fetch: Fetch, keeping: FakeServer) -> None:
    keeping.files["passwd"] = keeping.files[CLIP]
    for file in ("passwd.flac", f"{CLIP}.json", CLIP, "..%2F..%2Finfo.flac"):
        # Home Assistant refuses some of them before they reach us.
        assert (await fetch(file)).status in (400, 404)
    assert (await fetch(f"{CLIP}.flac", place="x/y")).status == 404
    assert keeping.asked == []


async def test_what_the_server_does_not_have_is_not_found(
    fetch: Fetch, keeping: FakeServer
) -> None:
    keeping.files.clear()

    assert (await fetch(f"{CLIP}.flac")).status == 404


async def test_a_server_that_fails_is_a_bad_gateway(
    fetch: Fetch, keeping: FakeServer
) -> None:
    for status in (302, 401, 500):
        keeping.clips_status = status
        assert (await fetch(f"{CLIP}.flac")).status == 502
    await keeping.stop()
    assert (await fetch(f"{CLIP}.flac")).status == 502


async def _endless(request: web.Request) -> web.StreamResponse:
    """Answer without a length."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"fLaC")
    return response


async def _huge(request: web.Request) -> web.StreamResponse:
    """Answer with more than any clip has."""
    response = web.StreamResponse(headers={"Content-Length": str(MAX_BYTES + 1)})
    await response.prepare(request)
    return response


async def _broken(request: web.Request) -> web.StreamResponse:
    """Vanish in the middle."""
    response = web.StreamResponse(headers={"Content-Length": "9000"})
    await response.prepare(request)
    await response.write(b"fLaC" * 1000)
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize("answer", [_endless, _huge])
async def test_an_answer_that_is_no_clip_is_not_passed_on(
    fetch: Fetch, keeping: FakeServer, answer: object
) -> None:
    keeping.files[CLIP] = answer

    assert (await fetch(f"{CLIP}.flac")).status == 502


async def test_a_clip_that_breaks_off_does_not_look_whole(
    fetch: Fetch, keeping: FakeServer
) -> None:
    keeping.files[CLIP] = _broken

    with pytest.raises(aiohttp.ClientError):
        await (await fetch(f"{CLIP}.flac")).read()


async def test_the_client_says_what_is_wrong_with_a_list(
    hass: HomeAssistant, keeping: FakeServer
) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, Endpoint("127.0.0.1", keeping.port), TOKEN)
        assert [clip.id for clip in await client.clips("kitchen")] == [CLIP]
        keeping.clips[0]["id"] = "../../v1/info"
        with pytest.raises(NotEarshot, match="id"):
            await client.clips("kitchen")
        keeping.files.clear()
        with pytest.raises(ClipNotFound):
            async with client.open_clip("kitchen", CLIP, "png"):
                pass
