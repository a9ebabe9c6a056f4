"""What `fetch` wrote down about a model's folder, and whether the folder is still that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from model_server.engines.base import EngineError

RECORD: Final = "fetched.json"
_BLOCK: Final = 1 << 20

Progress = Callable[[int], None]
"""Told of the bytes that were done since the last time."""


@dataclass(frozen=True)
class Source:
    """Where to fetch from. `endpoint` is a mirror of the hub, which gets no token."""

    repo: str
    revision: str
    endpoint: str | None = None


@dataclass(frozen=True)
class FetchedFile:
    """A file as it arrived. `published` is the hash that the hub gave, if it gave one."""

    size: int
    sha256: str
    published: str | None = None


@dataclass(frozen=True)
class Fetched:
    """Where a folder's files are from: repository and commit."""

    name: str
    repo: str
    revision: str
    files: dict[str, FetchedFile] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Keep it in the folder, replacing what was there in one step."""
        path = folder / RECORD
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        part.replace(path)


def read_record(folder: Path) -> Fetched | None:
    """What `fetch` wrote, or None for a folder that it did not make. Raises EngineError."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FetchedFile(**each) for name, each in raw.pop("files").items()}
        return Fetched(**raw, files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path} cannot be read: fetch the model again") from error


def check_sizes(folder: Path) -> None:
    """See that every fetched file is there at its size: cheap, for every load.

    A folder that `fetch` did not make is taken as it is. Raises EngineError.
    """
    record = read_record(folder)
    if record is None:
        return
    for name, file in record.files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != file.size:
            now = "is missing" if size is None else f"has {size} bytes"
            raise EngineError(
                f"{path} {now}, not the {file.size} that were fetched: "
                f"run `python -m model_server fetch {record.name}`"
            )


def changed_files(
    folder: Path, record: Fetched, progress: Progress
) -> Iterator[tuple[str, str]]:
    """Files that are not as they arrived, and why: reads every byte."""
    for name, file in record.files.items():
        path = folder / name
        if not path.is_file():
            yield name, "is missing"
        elif hash_of(path, progress) != file.sha256:
            yield name, "has changed since it was fetched"


def hash_of(path: Path, progress: Progress = lambda _: None) -> str:
    """SHA-256 of a file in hexadecimal, read a block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


def version(folder: Path) -> str:
    """Which checkpoint this is: its name, and its commit or a hash of its description."""
    record = read_record(folder)
    if record is not None:
        return f"{record.name}@{record.revision[:12]}"
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors.index.json"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return f"{folder.name}@{digest.hexdigest()[:12]}"
