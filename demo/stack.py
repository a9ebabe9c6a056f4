"""The house: a real Mosquitto, the model server and a real Home Assistant, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

import aiohttp

from demo.processes import Process, StartError, accepts, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
_CONFIGURATION = """\
homeassistant:
  name: Earshot demo
  latitude: 0
  longitude: 0
  elevation: 0
  time_zone: UTC
  unit_system: metric
  currency: EUR
  country: GB
  language: en
config:
diagnostics:
repairs:
logbook:
history:
my:
automation: !include automations.yaml
logger:
  default: info
"""


@dataclass(frozen=True)
class Stack:
    """The running parts and where they are."""

    folder: Path
    broker: Process
    broker_port: int
    server: Process
    server_port: int
    wyoming_port: int
    home_assistant: Process
    home_assistant_port: int

    @property
    def url(self) -> str:
        """Home Assistant's address."""
        return f"http://127.0.0.1:{self.home_assistant_port}"

    @property
    def config(self) -> Path:
        """Home Assistant's configuration folder."""
        return self.folder / "config"

    async def token(self) -> str:
        """Ask the model server's own command for its token. Raises StartError."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "model_server", "token", "show"),
            *("--data-dir", str(self.folder / "server")),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await child.communicate()
        if child.returncode or not out.split():
            raise StartError(
                f"the model server shows no token: {err.decode(errors='replace')}"
            )
        return out.split()[-1].decode()


async def _answers(url: str) -> bool:
    """Tell whether url answers 200."""
    timeout = aiohttp.ClientTimeout(total=2)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url) as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _mosquitto() -> str:
    """Find the broker, which Debian keeps outside an ordinary user's PATH."""
    found = shutil.which("mosquitto") or shutil.which(
        "mosquitto", path="/usr/sbin:/usr/local/sbin"
    )
    if found is None:
        raise StartError("mosquitto is not installed: run scripts/setup --demo")
    return found


def _broker(folder: Path) -> tuple[Process, int]:
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stdout\n"
    )
    process = Process(
        "Mosquitto",
        [_mosquitto(), "-c", config],
        folder / "mosquitto.log",
        ready=lambda: accepts(port),
        timeout_s=10,
        cwd=folder,
    )
    return process, port


def _server(folder: Path) -> tuple[Process, int, int]:
    port = free_port()
    wyoming_port = free_port()
    process = Process(
        "the model server",
        [
            *(sys.executable, "-m", "model_server", "serve", "--host", "127.0.0.1"),
            *("--port", str(port), "--data-dir", folder / "server"),
            *("--wyoming-port", str(wyoming_port)),
        ],
        folder / "server.log",
        ready=lambda: _answers(f"http://127.0.0.1:{port}/health"),
        timeout_s=120,
        cwd=ROOT,
    )
    return process, port, wyoming_port


def _configure(config: Path, port: int, others: Sequence[Path]) -> None:
    """Write a configuration that reaches nothing beyond loopback.

    Home Assistant reverts an `http:` of YAML that nobody confirms, and its
    onboarding's last steps set up integrations that need the internet: both
    are therefore seeded as its storage keeps them.
    """
    storage = config / ".storage"
    storage.mkdir(parents=True)
    (config / "configuration.yaml").write_text(_CONFIGURATION)
    (config / "automations.yaml").write_text("[]\n")
    components = config / "custom_components"
    components.mkdir()
    for component in (ROOT / "custom_components" / "earshot", *others):
        (components / component.name).symlink_to(component)
    shutil.copytree(ROOT / "blueprints", config / "blueprints", dirs_exist_ok=True)
    http = {
        "stable": {
            "server_port": port,
            "server_host": ["127.0.0.1"],
            "cors_allowed_origins": [],
            "login_attempts_threshold": -1,
            "ip_ban_enabled": True,
            "ssl_profile": "modern",
            "use_x_frame_options": True,
            "created_at": "2026-01-01T00:00:00+00:00",
            "error": None,
            "error_message": None,
        },
        "pending": None,
        "yaml_migration_done": True,
    }
    onboarding = {"done": ["core_config", "analytics", "integration"]}
    for key, version, minor, data in (
        ("http", 2, 2, http),
        ("onboarding", 4, 1, onboarding),
    ):
        (storage / key).write_text(
            json.dumps(
                {"version": version, "minor_version": minor, "key": key, "data": data}
            )
        )


def _home_assistant(folder: Path, components: Sequence[Path]) -> tuple[Process, int]:
    hass = ROOT / ".venv-ha" / "bin" / "hass"
    if not hass.exists():
        raise StartError("Home Assistant is not installed: run scripts/setup --ha")
    port = free_port()
    _configure(folder / "config", port, components)
    process = Process(
        "Home Assistant",
        [hass, "-c", folder / "config", "--log-no-color"],
        folder / "home-assistant.log",
        ready=lambda: _answers(f"http://127.0.0.1:{port}/manifest.json"),
        timeout_s=300,
        cwd=folder,
    )
    return process, port


@contextlib.asynccontextmanager
async def running_stack(
    say: Callable[[str], None] = lambda _: None, components: Sequence[Path] = ()
) -> AsyncIterator[Stack]:
    """Start the three parts; stop them and remove their folder on the way out.

    `say` gets one line per part that is up; `components` are folders of further
    integrations for Home Assistant. Raises StartError.
    """
    folder = Path(tempfile.mkdtemp(prefix="earshot-"))
    try:
        broker, broker_port = _broker(folder)
        server, server_port, wyoming_port = _server(folder)
        home_assistant, home_assistant_port = _home_assistant(folder, components)
        stack = Stack(
            folder,
            broker,
            broker_port,
            server,
            server_port,
            wyoming_port,
            home_assistant,
            home_assistant_port,
        )
        parts = (broker, server, home_assistant)

        async def start(part: Process) -> None:
            await part.start()
            say(f"{part.name} is up")

        try:
            try:
                async with asyncio.TaskGroup() as group:
                    for part in parts:
                        group.create_task(start(part))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
            yield stack
        finally:
            # Home Assistant first: it would otherwise log that the others went away.
            for part in reversed(parts):
                await part.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
