"""Setting a server up, losing it, unloading it."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState, ConfigSubentry
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.earshot.coordinator import POLL

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer
from .test_sources import children


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 503}, "cannot_connect"),
        ({"status": 404}, "not_earshot"),
        ({"info": {"name": "earshot", "protocol": 9}}, "protocol_mismatch"),
        ({"id": "another"}, "another_server"),
    ],
)
async def test_a_server_that_does_not_fit_is_tried_again(
    hass: HomeAssistant, server: FakeServer, change: dict[str, Any], reason: str
) -> None:
    if "id" in change:
        server.info["id"] = change.pop("id")
    for name, value in change.items():
        setattr(server, name, value)
    entry = await set_up(hass, server)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == reason


async def test_a_refused_token_asks_for_another(
    hass: HomeAssistant, server: FakeServer
) -> None:
    server.token = "another"
    entry = await set_up(hass, server)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert list(entry.async_get_active_flows(hass, {SOURCE_REAUTH}))


async def test_a_token_refused_later_asks_for_another(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    server.token = "another"
    await stream.drop()
    await wait_for(lambda: list(entry.async_get_active_flows(hass, {SOURCE_REAUTH})))


async def test_unloading_ends_everything(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    assert "ffmpeg" in children()
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    await stream.closed.wait()
    assert "ffmpeg" not in children()
    # Cancelled while the entry unloaded: gone at the next turn of the loop.
    await asyncio.sleep(0)
    assert not [
        task.get_name()
        for task in asyncio.all_tasks()
        if task.get_name().startswith("earshot")
    ]


async def test_home_assistants_end_is_told_to_everybody(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    tone: Path,
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    await stream.sound("smoke", "start", "event-1")
    await wait_for(lambda: witness.on("earshot/kitchen/sound"))
    await hass.async_stop(force=True)
    await wait_for(lambda: witness.on("earshot/status") == ["online", "offline"])
    assert witness.on("earshot/kitchen/availability") == ["online", "offline"]
    assert [m["state"] for m in witness.json("earshot/kitchen/sound")] == [
        "start",
        "end",
    ]
    assert "ffmpeg" not in children()


async def test_a_microphone_that_is_added_runs_without_a_restart(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server)
    hass.config_entries.async_add_subentry(
        entry,
        ConfigSubentry(
            data=microphone({"url": str(tone)})["data"],
            subentry_type="microphone",
            title="Kitchen",
            unique_id="kitchen",
        ),
    )
    await server.stream()
    (subentry_id,) = entry.subentries
    await wait_for(lambda: hass.states.get("event.kitchen_sound"))
    hass.config_entries.async_remove_subentry(entry, subentry_id)
    await server.streams[0].closed.wait()
    await wait_for(lambda: hass.states.get("event.kitchen_sound") is None)
    await wait_for(lambda: not entry.setup_lock.locked())


async def test_a_server_that_learned_something_is_set_up_anew(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    await server.stream()
    server.info["version"] = "0.2.0"
    async_fire_time_changed(hass, dt_util.utcnow() + POLL + timedelta(seconds=1))
    await wait_for(lambda: entry.runtime_data.coordinator.data.version == "0.2.0")
    assert len(server.streams) == 1
    server.info["sounds"]["labels"] = server.info["sounds"]["labels"][:1]
    await entry.runtime_data.coordinator.async_refresh()
    stream = await server.stream(2)
    assert stream.start["labels"] == ["smoke"]


async def test_a_server_that_is_away_makes_speech_unavailable(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    await server.stop()
    await entry.runtime_data.coordinator.async_refresh()
    stt = hass.states.get("stt.server_speech_to_text")
    assert stt is not None
    assert stt.state == "unavailable"


async def test_a_camera_is_a_microphone(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A camera's own code may raise anything.
    answers: list[Any] = [HomeAssistantError("gone"), KeyError("x"), None, str(tone)]

    async def resolve(hass: HomeAssistant, entity_id: str) -> str | None:
        assert entity_id == "camera.door"
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(
        "custom_components.earshot.capture.async_get_stream_source", resolve
    )
    await set_up(hass, server, microphone({"camera": "camera.door"}))
    stream = await server.stream()
    await wait_for(lambda: len(stream.pcm) > 3200)
    assert "camera.door is not available" in caplog.text


async def test_an_address_with_a_password_never_reaches_the_log(
    hass: HomeAssistant, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = "http://user:hush@127.0.0.1:9/live"
    await set_up(hass, server, microphone({"url": url}))
    await wait_for(lambda: "does not hear: ffmpeg ended" in caplog.text)
    ours = [r.getMessage() for r in caplog.records if "earshot" in r.name]
    assert not [line for line in ours if "hush" in line]


async def test_what_was_said_never_reaches_the_log(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    await stream.transcript("my secret diary")
    # The next is obeyed after it: its text, its intent twice.
    await stream.transcript("never mind")
    await wait_for(lambda: entry.runtime_data.publisher.waiting == 3)
    ours = [r.getMessage() for r in caplog.records if "earshot" in r.name]
    assert ours
    assert not [line for line in ours if "diary" in line or server.token in line]
    assert not [line for line in ours if "never mind" in line]


async def test_an_unexpected_error_does_not_leave_the_home_deaf(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("custom_components.earshot.device.RESTART_S", 0.01)

    def fault(*_: object) -> None:
        raise IndexError

    with monkeypatch.context() as patch:
        patch.setattr("custom_components.earshot.buffer.PcmBuffer.append", fault)
        await set_up(hass, server, microphone({"url": str(tone)}))
        await wait_for(lambda: "begins anew" in caplog.text)
    assert await server.stream()
    caplog.clear()
