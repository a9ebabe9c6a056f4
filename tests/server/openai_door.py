"""Earshot's own OpenAI door with a tiny MiDashengLM behind it, in a process of its own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
import json
import os
from pathlib import Path
import subprocess
import sys

from tests.server.checkpoints import write_midashenglm

ADDRESS = "Earshot listens on "


@dataclass(frozen=True)
class Door:
    """Where it is and what lets a client in. `base_url` is what an openai client takes."""

    url: str
    token: str
    model: str
    process: subprocess.Popen[str]

    @property
    def base_url(self) -> str:
        """The address with OpenAI's prefix."""
        return f"{self.url}/v1"


@contextmanager
def openai_door(folder: Path, port: int = 0, **settings: object) -> Generator[Door]:
    """Serve a tiny checkpoint from `folder`; further settings as in the TOML file.

    The same folder and port bring the same server back after it was killed.
    """
    checkpoint = folder / "checkpoint"
    if not checkpoint.exists():
        write_midashenglm(checkpoint)
    config = folder / "earshot.toml"
    values = {
        "port": port,
        "data_dir": str(folder / "data"),
        "descriptions": "midashenglm",
    } | settings
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    model = [f"model = {json.dumps(str(checkpoint))}", 'device = "cpu"']
    config.write_text("\n".join([*lines, "[midashenglm]", *model, ""]))
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(
            [sys.executable, "-m", "model_server", "serve", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Eight of these may run beside each other on two cores.
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        try:
            yield Door(
                _address(process, folder / "log"),
                (folder / "data" / "token").read_text().strip(),
                "midashenglm",
                process,
            )
        finally:
            process.kill()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """What the server prints once it serves; its log if it does not."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(ADDRESS):
            return line.removeprefix(ADDRESS).strip()
    raise AssertionError(log.read_text())
