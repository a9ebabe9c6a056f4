"""Real parts for the integration's tests: Home Assistant's core, Mosquitto, ffmpeg."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
import json
from pathlib import Path
import socket
import sys
from typing import Any
import wave

from homeassistant.components import mqtt
from homeassistant.config_entries import ConfigSubentryData
from homeassistant.const import (
    CONF_HOST,
    CONF_PORT,
    CONF_SSL,
    CONF_TOKEN,
    CONF_URL,
    CONF_VERIFY_SSL,
)
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

# Binds custom_components to this repository before Home Assistant mounts its own.
import custom_components.earshot
from custom_components.earshot.const import DOMAIN

from .fake_server import TOKEN, FakeServer
from .house import calls, furnish, house

assert custom_components.earshot
assert calls and furnish and house

MOSQUITTO = "/usr/sbin/mosquitto"


@pytest.fixture(autouse=True)
def _custom_integrations(enable_custom_integrations: None) -> None:
    """Let Home Assistant load this repository's integration."""


@pytest.fixture
def expected_lingering_timers() -> bool:
    """Let Home Assistant's own MQTT keep its timers, as in core's tests."""
    return True


async def wait_for(condition: Callable[[], object], timeout: float = 60) -> None:
    """Wait until something holds; the time is against hanging only."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def server(
    hass: HomeAssistant, socket_enabled: None
) -> AsyncGenerator[FakeServer]:
    """A model server that hears what the test says."""
    # In a real installation it is always there before any integration.
    assert await async_setup_component(hass, "homeassistant", {})
    server = FakeServer()
    await server.start()
    yield server
    await server.stop()


def server_data(port: int, token: str = TOKEN) -> dict[str, Any]:
    """Return an entry's data for a server on loopback."""
    return {
        CONF_HOST: "127.0.0.1",
        CONF_PORT: port,
        CONF_SSL: False,
        CONF_VERIFY_SSL: True,
        CONF_TOKEN: token,
    }


def microphone(
    source: dict[str, Any] | None = None, title: str = "Kitchen", **changes: Any
) -> ConfigSubentryData:
    """Return a microphone; by default one that listens for everything."""
    slug = title.lower().replace(" ", "_")
    data = {
        "sounds": True,
        "labels": ["smoke", "co", "bark"],
        "commands": True,
        "slug": slug,
        **(source or {CONF_URL: "rtsp://user:secret@camera.invalid/live"}),
        **changes,
    }
    return ConfigSubentryData(
        data=data, subentry_type="microphone", title=title, unique_id=slug
    )


async def set_up(
    hass: HomeAssistant,
    server: FakeServer,
    *microphones: ConfigSubentryData,
    options: dict[str, Any] | None = None,
) -> MockConfigEntry:
    """Set up the integration with microphones."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="Server",
        unique_id="installation-1",
        data=server_data(server.port),
        options=options or {},
        subentries_data=microphones,
    )
    entry.add_to_hass(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    return entry


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """A minute of a faint ramp as a WAV file, for ffmpeg."""
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        samples = bytes(byte for n in range(16000) for byte in (n & 0xFF, 0))
        file.writeframes(samples * 60)
    return path


class Broker:
    """A real Mosquitto that can vanish and return on the same port."""

    def __init__(self, folder: Path) -> None:
        """Choose a port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        )
        self._process: asyncio.subprocess.Process | None = None

    @property
    def entry_data(self) -> dict[str, Any]:
        """Return what Home Assistant's MQTT entry says, without the trimmings."""
        return {
            mqtt.CONF_BROKER: "127.0.0.1",
            CONF_PORT: self.port,
            "protocol": "5",
            "discovery": False,
            "birth_message": {},
        }

    async def start(self) -> None:
        """Start and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", str(self._config), stderr=asyncio.subprocess.DEVNULL
        )

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        await wait_for(listens)

    async def stop(self) -> None:
        """Vanish."""
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()
            self._process = None


@pytest.fixture
async def broker(tmp_path: Path, socket_enabled: None) -> AsyncGenerator[Broker]:
    """A running Mosquitto."""
    broker = Broker(tmp_path)
    await broker.start()
    yield broker
    await broker.stop()


@dataclass(frozen=True)
class Heard:
    """A message as another client of the broker sees it."""

    topic: str
    payload: str
    retained: bool
    expiry: int | None


class Witness:
    """Another client of the broker, in a process of its own."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.heard: list[Heard] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self, port: int, topic: str) -> None:
        """Subscribe; returns when the broker has taken it."""
        self._task = asyncio.create_task(self._run(port, topic))
        await wait_for(lambda: self.heard)
        self.heard.clear()

    async def _run(self, port: int, topic: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("subscriber.py")),
            str(port),
            topic,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                self.heard.append(Heard(*json.loads(line)))
        finally:
            process.kill()
            await process.wait()

    async def stop(self) -> None:
        """End."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    def on(self, topic: str) -> list[str]:
        """Return the payloads of a topic, in order."""
        return [message.payload for message in self.heard if message.topic == topic]

    def json(self, topic: str) -> list[dict[str, Any]]:
        """Return the decoded payloads of a topic, in order."""
        return [json.loads(payload) for payload in self.on(topic)]


@pytest.fixture
async def witness(broker: Broker) -> AsyncGenerator[Witness]:
    """What anybody else on the broker sees below earshot/."""
    witness = Witness()
    await witness.start(broker.port, "earshot/#")
    yield witness
    await witness.stop()


@pytest.fixture
async def mqtt_entry(
    hass: HomeAssistant, broker: Broker, mock_hass_config: None
) -> AsyncGenerator[MockConfigEntry]:
    """Home Assistant's MQTT integration, connected to the broker."""
    entry = MockConfigEntry(
        domain=mqtt.DOMAIN,
        data=broker.entry_data,
        version=mqtt.CONFIG_ENTRY_VERSION,
        minor_version=mqtt.CONFIG_ENTRY_MINOR_VERSION,
    )
    entry.add_to_hass(hass)
    assert await async_setup_component(hass, mqtt.DOMAIN, {})
    await wait_for(lambda: mqtt.is_connected(hass))
    yield entry
    for earshot in hass.config_entries.async_loaded_entries(DOMAIN):
        await hass.config_entries.async_unload(earshot.entry_id)
    await hass.config_entries.async_unload(entry.entry_id)
