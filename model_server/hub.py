"""The Hugging Face hub: what a repository holds, and one file of it at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import io
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, errors, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError

# What the package itself resumes with; its hf_hub_download starts anew each time.
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from model_server.engines.base import EngineError
from model_server.fetched import Progress, Source


def listed(source: Source) -> tuple[str, list[RepoFile]]:
    """The commit that a revision stands for, and the files at the top of it."""
    api = HfApi(endpoint=source.endpoint, token=False if source.endpoint else None)
    commit = api.model_info(source.repo, revision=source.revision).sha
    assert commit is not None, "the hub tells the commit of every revision"
    tree = api.list_repo_tree(source.repo, revision=commit)
    return commit, [each for each in tree if isinstance(each, RepoFile)]


def download(
    file: RepoFile, commit: str, source: Source, path: Path, told: Progress
) -> None:
    """Bring one file, going on where an earlier try ended."""
    # Its own bars would write into ours.
    disable_progress_bars("huggingface_hub.http_get")
    url = hf_hub_url(source.repo, file.path, revision=commit, endpoint=source.endpoint)
    part = path.with_name(f".{path.name}.{file.blob_id}.part")
    done = part.stat().st_size if part.is_file() else 0
    if done > file.size:
        part.unlink()
        done = 0
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


@contextmanager
def spoken_errors(source: Source) -> Iterator[None]:
    """What goes wrong between here and the hub, in sentences."""
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
    except (errors.HTTPError, ConnectionError) as error:
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
