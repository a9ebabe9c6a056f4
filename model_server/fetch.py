"""Where models are, and how they get there: one download that a person asked for."""

from __future__ import annotations

from pathlib import Path

from model_server.engines.base import EngineError


def locate(model: str, data_dir: Path) -> Path:
    """The folder of a model: its own path, or where `fetch` put the name.

    Never looks further than the disk. Raises EngineError if it is not there.
    """
    given = Path(model).expanduser()
    if given.is_dir():
        return given
    fetched = data_dir / "models" / model
    if fetched.is_dir():
        return fetched
    raise EngineError(
        f"There is no model {model} here: run `python -m model_server fetch {model}`, "
        "or give a folder"
    )
