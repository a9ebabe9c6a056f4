"""Where models are, and how they get there: one download that a person asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatch
import hashlib
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
import shutil
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
import yaml

from model_server.engines.base import EngineError
from model_server.fetched import (
    RECORD,
    Fetched,
    FetchedFile,
    Progress,
    Source,
    changed_files,
    hash_of,
    read_record,
)

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

# Data only: never code (.py) and never pickle (.bin, .pt), which is code in disguise.
FILES: Final = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "*.safetensors",
)

Watch = Callable[[str, int], Progress]
"""Told of a file and its bytes; answers what to tell of the bytes that were done."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class KnownModel(BaseModel):
    """A model of `models.yaml`. Hashes in `sha256` pin files by their name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str
    revision: str
    bytes: int
    licence: str
    about: str
    sha256: dict[str, Sha256] = {}


def known_models() -> dict[str, KnownModel]:
    """What `fetch` knows by name."""
    text = (resources.files("model_server") / "models.yaml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, KnownModel]).validate_python(yaml.safe_load(text))


def folder_of(name: str, data_dir: Path) -> Path:
    """Where `fetch` puts a model."""
    return data_dir / "models" / name


def locate(model: str, data_dir: Path) -> Path:
    """The folder of a model: its own path, or where `fetch` put the name.

    Never looks further than the disk. Raises EngineError if it is not there.
    """
    if model in known_models():
        fetched = folder_of(model, data_dir)
        if (fetched / RECORD).is_file():
            return fetched
        state = "is not wholly here" if fetched.is_dir() else "is not here"
        raise EngineError(
            f"The model {model} {state}: run `python -m model_server fetch {model}`"
        )
    given = Path(model).expanduser()
    if given.is_dir():
        return given
    raise EngineError(
        f"There is no folder {model}, and no model of that name: give the folder of a "
        f"checkpoint, or fetch one of {', '.join(known_models())}"
    )


def fetch(
    name: str,
    source: Source,
    folder: Path,
    pinned: Mapping[str, str],
    watch: Watch,
) -> Fetched:
    """Download what is missing of a model, verify all of it, and write that down.

    What an earlier try left behind is continued. A file whose hash is not the one
    that is pinned or published is removed. Raises EngineError.
    """
    if find_spec("huggingface_hub") is None:
        raise EngineError(
            "Fetching takes the package huggingface_hub: run `scripts/setup --models`"
        )
    from model_server import hub  # noqa: PLC0415 - it takes the package

    with hub.spoken_errors(source):
        commit, remote = hub.listed(source)
    wanted = [file for file in remote if _is_data(file.path)]
    names = [file.path for file in wanted]
    if not any(file.endswith(".safetensors") for file in names):
        raise EngineError(f"{source.repo} has no weights in safetensors: take another")
    if astray := [file for file in pinned if file not in names]:
        raise EngineError(
            f"{source.repo} has no {', '.join(sorted(astray))} to compare a hash with"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _see_space(folder, wanted)
        # From here on the folder is not what it was, until all of it is verified.
        (folder / RECORD).unlink(missing_ok=True)
        files = {}
        for file in wanted:
            path = folder / file.path
            if not (path.is_file() and path.stat().st_size == file.size):
                with hub.spoken_errors(source):
                    hub.download(
                        file, commit, source, path, watch(file.path, file.size)
                    )
            files[file.path] = _verified(file, path, pinned.get(file.path), watch)
        record = Fetched(name, source.repo, commit, files)
        record.write(folder)
    except OSError as error:
        raise EngineError(
            f"{error.filename or folder}: {error.strerror}; choose another --data-dir"
        ) from error
    return record


def _is_data(path: str) -> bool:
    """Whether a file is one to take: data, at the top of the repository."""
    beside = not any(mark in path for mark in "/\\:")
    return beside and any(fnmatch(path, pattern) for pattern in FILES)


def verify(folder: Path, watch: Watch) -> Fetched:
    """Read every byte of a fetched model and compare. Raises EngineError."""
    record = read_record(folder)
    if record is None:
        raise EngineError(
            f"{folder} was not made by fetch: there is nothing to compare"
        )
    total = sum(file.size for file in record.files.values())
    for file, wrong in changed_files(folder, record, watch("verifying", total)):
        raise EngineError(
            f"{folder / file} {wrong}: remove it and run "
            f"`python -m model_server fetch {record.name}`"
        )
    return record


def _verified(
    file: RepoFile, path: Path, pinned: str | None, watch: Watch
) -> FetchedFile:
    """See that a file is what was published and pinned, or remove it."""
    ours = hash_of(path, watch(f"verifying {file.path}", file.size))
    published = file.lfs.sha256 if file.lfs else None
    wrong = None
    if pinned not in (None, ours):
        wrong = "pinned"
    # Of small files the hub tells git's hash alone.
    if (ours != published) if published else (_git_hash(path) != file.blob_id):
        wrong = "published"
    if wrong is not None:
        path.unlink()
        raise EngineError(
            f"{path.name} is not the file that was {wrong}: its SHA-256 is {ours}. It "
            "was removed; fetch again, and if that does not help, mistrust where it "
            "came from"
        )
    return FetchedFile(path.stat().st_size, ours, published)


def _git_hash(path: Path) -> str:
    content = path.read_bytes()
    head = b"blob %d\0" % len(content)
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def _see_space(folder: Path, wanted: list[RepoFile]) -> None:
    missing = sum(file.size for file in wanted if not (folder / file.path).is_file())
    missing -= sum(part.stat().st_size for part in folder.glob(".*.part"))
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise EngineError(
            f"{folder} has room for {free / 1e9:.1f} GB, and {missing / 1e9:.1f} GB "
            "are to come: make room, or choose another --data-dir"
        )
