"""Where models are, and how they get there: one download that a person asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
import hashlib
from importlib import resources
from importlib.util import find_spec
import io
from pathlib import Path
import shutil
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
import yaml

from model_server.engines.base import EngineError
from model_server.fetched import (
    RECORD,
    Fetched,
    FetchedFile,
    Progress,
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


@dataclass(frozen=True)
class Source:
    """Where to fetch from. `endpoint` is a mirror of the hub, which gets no token."""

    repo: str
    revision: str
    endpoint: str | None = None


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
            "Fetching takes the package huggingface_hub: install Earshot with its "
            "extra, `pip install earshot[models]`"
        )
    with _hub_errors(source):
        commit, remote = _listed(source)
    wanted = [file for file in remote if any(fnmatch(file.path, p) for p in FILES)]
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
                with _hub_errors(source):
                    _download(file, commit, source, path, watch)
            files[file.path] = _verified(file, path, pinned.get(file.path), watch)
        record = Fetched(name, source.repo, commit, files)
        record.write(folder)
    except OSError as error:
        raise EngineError(
            f"{error.filename or folder}: {error.strerror}; choose another --data-dir"
        ) from error
    return record


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


def _listed(source: Source) -> tuple[str, list[RepoFile]]:
    """The commit that a revision stands for, and the files at the top of it."""
    # The package is of the extra `models`, and heavy.
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

    api = HfApi(endpoint=source.endpoint, token=False if source.endpoint else None)
    commit = api.model_info(source.repo, revision=source.revision).sha
    assert commit is not None, "the hub tells the commit of every revision"
    tree = api.list_repo_tree(source.repo, revision=commit)
    return commit, [each for each in tree if isinstance(each, RepoFile)]


def _download(
    file: RepoFile, commit: str, source: Source, path: Path, watch: Watch
) -> None:
    """Bring one file, going on where an earlier try ended."""
    from huggingface_hub import hf_hub_url  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    # What the package itself resumes with; its hf_hub_download starts anew each time.
    from huggingface_hub.file_download import http_get  # noqa: PLC0415
    from huggingface_hub.utils import (  # noqa: PLC0415
        build_hf_headers,
        disable_progress_bars,
    )

    # Its own bars would write into ours.
    disable_progress_bars("huggingface_hub.http_get")
    url = hf_hub_url(source.repo, file.path, revision=commit, endpoint=source.endpoint)
    part = path.with_name(f".{path.name}.{file.blob_id}.part")
    done = part.stat().st_size if part.is_file() else 0
    if done > file.size:
        part.unlink()
        done = 0
    told = watch(file.path, file.size)
    told(done)
    try:
        with part.open("ab", buffering=0) as raw, _Counting(raw, told) as counting:
            http_get(
                url,
                counting,
                resume_size=done,
                headers=build_hf_headers(token=False if source.endpoint else None),
                expected_size=file.size,
            )
    except OSError as error:
        if error.errno is None and not isinstance(error, HfHubHTTPError):
            # Bytes of another size than announced are of another file.
            part.unlink()
        raise
    part.replace(path)


class _Counting(io.BufferedWriter):
    """A file that tells how many bytes were written to it."""

    def __init__(self, raw: io.RawIOBase, told: Progress) -> None:
        super().__init__(raw)
        self._told = told

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._told(written)
        return written


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


@contextmanager
def _hub_errors(source: Source) -> Iterator[None]:
    """What goes wrong between here and the hub, in sentences."""
    from huggingface_hub import errors  # noqa: PLC0415

    hub = source.endpoint or "the hub"
    try:
        yield
    except errors.GatedRepoError as error:
        raise EngineError(
            f"{source.repo} asks for consent: give it on its page, then log in with "
            "`hf auth login` and fetch again"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise EngineError(f"{source.repo} has no revision {source.revision}") from error
    except errors.RepositoryNotFoundError as error:
        raise EngineError(f"{hub} has no repository {source.repo}") from error
    except errors.HTTPError as error:
        raise EngineError(
            f"{hub} cannot be reached or gave up ({type(error).__name__}): see that "
            "this machine is online and fetch again; what has come is kept"
        ) from error
    except OSError as error:
        # With a number it is of this machine's disk.
        if error.errno is not None:
            raise
        raise EngineError(
            f"{hub} sent another number of bytes than it had announced: fetch again"
        ) from error
