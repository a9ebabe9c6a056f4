"""The entry of the Home Assistant app: its options become settings, then it serves."""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
from pathlib import Path
import sys
from typing import Any, Final

from model_server.api.auth import TokenFile

OPTIONS: Final = Path("/data/options.json")
DATA_DIR: Final = Path("/data/earshot")
USER: Final = 10380

SETTINGS: Final = {
    "log_level": "EARSHOT_LOG_LEVEL",
    "max_streams": "EARSHOT_MAX_STREAMS",
    "speech": "EARSHOT_SPEECH",
    "descriptions": "EARSHOT_DESCRIPTIONS",
    "remote_url": "EARSHOT_REMOTE__URL",
    "remote_model": "EARSHOT_REMOTE__MODEL",
    "remote_api_key": "EARSHOT_REMOTE__API_KEY",
}
"""Options of the app's config.yaml, and the environment variables of `Settings`."""


def environment(options: Mapping[str, Any], data_dir: Path) -> dict[str, str]:
    """What the server is started with; options left empty keep the server's default."""
    chosen = {
        variable: str(options[name])
        for name, variable in SETTINGS.items()
        if options.get(name) not in {None, ""}
    }
    # The container's address: Home Assistant decides whether a port leads to it.
    return chosen | {"EARSHOT_HOST": "0.0.0.0", "EARSHOT_DATA_DIR": str(data_dir)}


def prepare(options: Mapping[str, Any], data_dir: Path, user: int) -> None:
    """Make the data folder the server's own, and a new token where one is asked for."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.get("new_token"):
        token = TokenFile(data_dir).rotate()
        print(f"New token: {token}", flush=True)
        print("Enter it in Home Assistant and switch new_token off.", flush=True)
    for path in (data_dir, *data_dir.rglob("*")):
        os.lchown(path, user, user)


def become(user: int) -> None:
    """Give root up for good."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def main(options: Path = OPTIONS, data_dir: Path = DATA_DIR, user: int = USER) -> None:
    """Read the options, drop privileges, serve."""
    chosen = json.loads(options.read_text("utf-8"))
    prepare(chosen, data_dir, user)
    become(user)
    command = [sys.executable, "-m", "model_server", "serve"]
    os.execve(sys.executable, command, os.environ | environment(chosen, data_dir))


if __name__ == "__main__":
    main()
