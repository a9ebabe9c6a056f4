"""The whole road with the real model server: real audio in, entities and actions out."""

import asyncio
from collections.abc import AsyncGenerator
import os
from pathlib import Path
import re
import signal
import subprocess
import wave

from homeassistant.components import stt
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import numpy as np
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
    async_mock_service,
)

from custom_components.earshot.client import Info
from custom_components.earshot.const import DOMAIN
from custom_components.earshot.coordinator import async_create_client
from model_server.evaluation import synthesis

from .conftest import microphone, server_data, wait_for
from .test_stt import METADATA

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/bin/python"
SMOKE = "binary_sensor.kitchen_smoke_alarm"


class ModelServer:
    """The model server in its own Python, as a person runs it."""

    def __init__(self, folder: Path) -> None:
        """Keep where its data is."""
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.token = ""

    async def start(self) -> None:
        """Start, on the same port as before if there was one; wait until it listens."""
        command = ["serve", "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = await asyncio.create_subprocess_exec(
            PYTHON, "-m", "model_server", *command, "--data-dir", self._folder,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # The test tools' coverage and event loop settings are not for it.
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
        )  # fmt: skip
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if found := re.search(rb"Token[^:]*: (\S+)", line):
                self.token = found[1].decode()
            if found := re.search(rb"listens on http://127.0.0.1:(\d+)", line):
                self.port = int(found[1])
                return
        pytest.fail("the model server did not start")

    async def stop(self, how: int = signal.SIGTERM) -> None:
        """End it."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        # Its output has to be read: the process would not be seen to end.
        await self._process.communicate()


@pytest.fixture
async def model_server(
    hass: HomeAssistant, socket_enabled: None, tmp_path: Path
) -> AsyncGenerator[ModelServer]:
    """A running model server."""
    assert await async_setup_component(hass, "homeassistant", {})
    server = ModelServer(tmp_path / "data")
    await server.start()
    yield server
    await server.stop()


async def set_up(
    hass: HomeAssistant, server: ModelServer, wav: Path
) -> MockConfigEntry:
    """Set the integration up with a microphone that plays a file."""
    data = server_data(server.port, server.token)
    info: Info = await async_create_client(hass, data).info()
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="Server",
        unique_id=info.id,
        data=data,
        subentries_data=[microphone({"url": str(wav)}, labels=["smoke", "co"])],
    )
    entry.add_to_hass(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    return entry


def light(hass: HomeAssistant) -> None:
    """Put a lamp that may be named into the house."""
    hass.states.async_set("light.lamp", "off", {"friendly_name": "Reading lamp"})
    async_expose_entity(hass, "conversation", "light.lamp", True)


async def vocabulary_known(entry: MockConfigEntry) -> None:
    """Wait until the server knows what may be said."""
    client = entry.runtime_data.coordinator.client
    async with asyncio.timeout(40):
        while (await client.info()).speech.vocabulary is None:
            await asyncio.sleep(0.1)


def spoken(text: str) -> synthesis.Audio:
    """Have a synthesiser say something."""
    command = ["espeak-ng", "-v", "en-us", "-s", "140", "--stdout"]
    wav = subprocess.run([*command, text], check=True, capture_output=True).stdout
    pcm = subprocess.run(
        [
            "ffmpeg",
            "-loglevel",
            "error",
            "-i",
            "-",
            "-f",
            "s16le",
            "-ar",
            "16000",
            "-ac",
            "1",
            "-",
        ],
        input=wav,
        check=True,
        capture_output=True,
    ).stdout
    return (np.frombuffer(pcm, "<i2") / 32768).astype(np.float32)


def save(path: Path, *parts: synthesis.Audio) -> Path:
    """Write a WAV file, over the faint noise of a room."""
    audio = np.concatenate(parts)
    audio = audio + synthesis.noise(len(audio) / 16000, "pink", rms=0.001)[: len(audio)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(synthesis.pcm(audio.astype(np.float32)).tobytes())
    return path


async def test_a_smoke_alarm_is_heard_and_its_end_too(
    hass: HomeAssistant, model_server: ModelServer, tmp_path: Path
) -> None:
    wav = save(
        tmp_path / "alarm.wav",
        synthesis.silence(2),
        synthesis.t3(16),
        synthesis.silence(40),
    )
    await set_up(hass, model_server, wav)
    changes = async_capture_events(hass, "state_changed")
    await wait_for(lambda: hass.states.is_state(SMOKE, "on"), timeout=60)
    heard = hass.states.get("event.kitchen_sound")
    assert heard is not None
    assert heard.attributes["event_type"] == "smoke"
    assert heard.attributes["score"] >= heard.attributes["threshold"]
    await wait_for(lambda: hass.states.is_state(SMOKE, "off"), timeout=60)
    on = [
        change.data["entity_id"]
        for change in changes
        if change.data["new_state"].state == "on"
    ]
    assert on == [SMOKE]


async def test_an_alarm_through_a_restart_of_the_server_is_one_event(
    hass: HomeAssistant, model_server: ModelServer, tmp_path: Path
) -> None:
    wav = save(
        tmp_path / "alarm.wav",
        synthesis.silence(1),
        synthesis.t3(60),
        synthesis.silence(40),
    )
    await set_up(hass, model_server, wav)
    changes = async_capture_events(hass, "state_changed")
    await wait_for(lambda: hass.states.is_state(SMOKE, "on"), timeout=60)
    # Without a word, as when the power fails.
    await model_server.stop(signal.SIGKILL)
    await wait_for(lambda: hass.states.is_state(SMOKE, "unavailable"))
    await model_server.start()
    await wait_for(lambda: hass.states.is_state(SMOKE, "on"), timeout=60)
    await wait_for(lambda: hass.states.is_state(SMOKE, "off"), timeout=100)
    events = {
        change.data["new_state"].attributes.get("id")
        for change in changes
        if change.data["entity_id"] == "event.kitchen_sound"
    }
    assert len(events - {None}) == 1


async def test_a_spoken_command_switches_the_lamp(
    hass: HomeAssistant, model_server: ModelServer, tmp_path: Path
) -> None:
    turned_on = async_mock_service(hass, "homeassistant", "turn_on")
    light_on = async_mock_service(hass, "light", "turn_on")
    light(hass)
    wav = save(
        tmp_path / "command.wav",
        # The vocabulary is sent and compiled meanwhile.
        synthesis.silence(12),
        spoken("turn on the reading lamp"),
        synthesis.silence(40),
    )
    entry = await set_up(hass, model_server, wav)
    await vocabulary_known(entry)
    await wait_for(lambda: turned_on or light_on, timeout=60)
    assert (turned_on + light_on)[0].data["entity_id"] in ("light.lamp", ["light.lamp"])


async def test_assist_gets_its_text(
    hass: HomeAssistant, model_server: ModelServer, tmp_path: Path
) -> None:
    light(hass)
    wav = save(tmp_path / "silence.wav", synthesis.silence(60))
    entry = await set_up(hass, model_server, wav)
    await vocabulary_known(entry)
    entity = stt.async_get_speech_to_text_entity(hass, "stt.server_speech_to_text")
    assert entity is not None

    async def stream(text: str) -> AsyncGenerator[bytes]:
        # As a satellite sends it: with a moment before and after, in a room.
        said = save(
            tmp_path / "said.wav",
            synthesis.silence(0.5),
            spoken(text),
            synthesis.silence(0.5),
        )
        with wave.open(str(said)) as file:
            pcm = file.readframes(file.getnframes())
        for offset in range(0, len(pcm), 640):
            yield pcm[offset : offset + 640]

    result = await entity.internal_async_process_audio_stream(
        METADATA, stream("turn off the reading lamp")
    )
    assert result.result is stt.SpeechResultState.SUCCESS
    assert result.text == "turn off the reading lamp"
