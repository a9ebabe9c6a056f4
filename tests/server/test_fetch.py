"""Fetching models: from a real server that speaks the hub's API, broken in many ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import hashlib
import json
from pathlib import Path
import re
import shutil
from types import SimpleNamespace

from huggingface_hub import constants
import pytest
from typer.testing import CliRunner

from model_server import fetch as fetching
from model_server.__main__ import app
from model_server.engines.base import EngineError
from model_server.fetch import fetch, known_models, locate, verify
from model_server.fetched import Source, check_sizes, read_record, version
from tests.server.checkpoints import write_ced
from tests.server.hub import COMMIT, Hub, serving

REPO = "mispeech/ced-tiny"


def quiet(what: str, size: int) -> Callable[[int], None]:
    return lambda done: None


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = write_ced(tmp_path / "original")
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    files |= {
        "modeling_ced.py": b"import os",
        "pytorch_model.bin": b"pickle",
        "README.md": b"# CED",
        "../outside.safetensors": b"never",
        "C:\\outside.safetensors": b"never",
    }
    with serving(Hub(REPO, files)) as started:
        yield started


@pytest.fixture
def bring(hub: Hub, tmp_path: Path) -> Callable[..., Path]:
    folder = tmp_path / "data" / "models" / "ced-tiny"

    def run(revision: str = "main", **pinned: str) -> Path:
        source = Source(REPO, revision, hub.url)
        fetch("ced-tiny", source, folder, pinned, quiet)
        return folder

    return run


def test_only_data_comes_and_what_came_is_written_down(
    hub: Hub, bring: Callable[..., Path]
) -> None:
    folder = bring()

    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "fetched.json",
    }
    assert {name for name, _ in hub.requests} == {"config.json", "model.safetensors"}
    weights = hub.files["model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == weights
    told = json.loads((folder / "fetched.json").read_text())
    assert told["repo"] == REPO
    assert told["revision"] == COMMIT
    assert told["files"]["model.safetensors"] == {
        "size": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "published": hashlib.sha256(weights).hexdigest(),
    }
    assert told["files"]["config.json"]["published"] is None
    assert version(folder) == f"ced-tiny@{COMMIT[:12]}"


def test_progress_counts_every_byte_once(hub: Hub, tmp_path: Path) -> None:
    done: dict[str, int] = {}
    sizes: dict[str, int] = {}

    def watch(what: str, size: int) -> Callable[[int], None]:
        sizes[what] = size
        done[what] = 0

        def told(count: int) -> None:
            done[what] += count

        return told

    fetch("ced-tiny", Source(REPO, "main", hub.url), tmp_path / "to", {}, watch)

    assert done == sizes
    assert done["model.safetensors"] == len(hub.files["model.safetensors"])
    assert done["verifying model.safetensors"] == done["model.safetensors"]


def test_what_is_there_already_is_not_sent_again(
    hub: Hub, bring: Callable[..., Path]
) -> None:
    bring()
    hub.requests.clear()

    bring()

    assert hub.requests == []


def test_an_interrupted_download_goes_on_where_it_ended(
    hub: Hub,
    bring: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What has come is written in pieces of so many bytes: 10 MB, and these weights are
    # smaller.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    hub.cut["model.safetensors"] = 20_000
    with pytest.raises(EngineError, match="what has come is kept"):
        bring()
    with pytest.raises(EngineError, match=r"not wholly here: run .* fetch ced-tiny"):
        locate("ced-tiny", tmp_path / "data")

    hub.down = False
    hub.requests.clear()
    folder = bring()

    (asked,) = [each for name, each in hub.requests if name == "model.safetensors"]
    assert asked is not None
    start = int(asked.removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= 20_000
    content = (folder / "model.safetensors").read_bytes()
    assert content == hub.files["model.safetensors"]
    assert not list(folder.glob(".*.part"))


def test_a_part_that_is_too_long_is_begun_anew(
    hub: Hub, bring: Callable[..., Path]
) -> None:
    folder = bring()
    weights = hub.files["model.safetensors"]
    (folder / "model.safetensors").unlink()
    blob = next(
        each["oid"] for each in hub.tree() if each["path"] == "model.safetensors"
    )
    (folder / f".model.safetensors.{blob}.part").write_bytes(weights + b"more")
    hub.requests.clear()

    bring()

    assert hub.requests == [("model.safetensors", None)]
    assert (folder / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_was_tampered_with_is_removed(
    hub: Hub, bring: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    content = bytearray(hub.files[name])
    content[-3] ^= 1
    hub.swapped[name] = bytes(content)

    with pytest.raises(EngineError, match=rf"{re.escape(name)} is not .* published"):
        bring()

    left = {path.name for path in (tmp_path / "data/models/ced-tiny").iterdir()}
    assert name not in left
    assert "fetched.json" not in left


def test_a_file_of_another_size_than_announced_is_not_kept(
    hub: Hub, bring: Callable[..., Path], tmp_path: Path
) -> None:
    for content in (b"short", hub.files["model.safetensors"] + b"more"):
        hub.swapped["model.safetensors"] = content
        with pytest.raises(EngineError, match="another number of bytes"):
            bring()
        assert not list((tmp_path / "data/models/ced-tiny").glob(".*.part"))

    hub.swapped.clear()
    folder = bring()
    weights = (folder / "model.safetensors").read_bytes()
    assert weights == hub.files["model.safetensors"]


def test_a_pinned_hash_must_be_the_one(hub: Hub, bring: Callable[..., Path]) -> None:
    right = hashlib.sha256(hub.files["config.json"]).hexdigest()
    folder = bring(**{"config.json": right})
    assert (folder / "config.json").is_file()

    with pytest.raises(EngineError, match=r"config.json is not .* pinned"):
        bring(**{"config.json": "0" * 64})
    assert not (folder / "config.json").exists()

    with pytest.raises(EngineError, match="has no other.json to compare"):
        bring(**{"other.json": right})


def test_verify_finds_what_changed_and_sizes_find_what_was_cut(
    bring: Callable[..., Path],
) -> None:
    folder = bring()
    assert verify(folder, quiet).repo == REPO
    check_sizes(folder)

    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    check_sizes(folder)
    with pytest.raises(EngineError, match="model.safetensors has changed"):
        verify(folder, quiet)

    weights.write_bytes(content[:-1])
    with pytest.raises(EngineError, match=r"has \d+ bytes, not the \d+"):
        check_sizes(folder)
    weights.unlink()
    with pytest.raises(EngineError, match="model.safetensors is missing"):
        check_sizes(folder)
    with pytest.raises(EngineError, match="model.safetensors is missing"):
        verify(folder, quiet)


def test_a_folder_that_was_not_fetched_is_not_verified(tmp_path: Path) -> None:
    check_sizes(tmp_path)
    assert read_record(tmp_path) is None
    with pytest.raises(EngineError, match="nothing to compare"):
        verify(tmp_path, quiet)

    (tmp_path / "fetched.json").write_text('{"files": 3}')
    with pytest.raises(EngineError, match="fetch the model again"):
        check_sizes(tmp_path)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((403, "GatedRepo"), "asks for consent"),
        ((404, "RepoNotFound"), "has no repository mispeech/ced-tiny"),
        ((503, "Down"), "cannot be reached or gave up"),
    ],
)
def test_what_the_hub_refuses_is_said_in_a_sentence(
    hub: Hub, bring: Callable[..., Path], refusal: tuple[int, str], told: str
) -> None:
    hub.refusal = refusal
    with pytest.raises(EngineError, match=told):
        bring()


def test_an_unknown_revision_is_named(bring: Callable[..., Path]) -> None:
    with pytest.raises(EngineError, match="has no revision 1999"):
        bring("1999")


def test_without_a_network_the_error_says_so(tmp_path: Path) -> None:
    source = Source(REPO, "main", "http://127.0.0.1:9")
    with pytest.raises(EngineError, match="see that this machine is online"):
        fetch("ced-tiny", source, tmp_path / "to", {}, quiet)


def test_a_repository_without_safetensors_is_refused(
    hub: Hub, bring: Callable[..., Path]
) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(EngineError, match="no weights in safetensors"):
        bring()


def test_a_full_disk_is_told_before_anything_comes(
    hub: Hub, bring: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(free=1000), raising=True
    )
    with pytest.raises(EngineError, match=r"has room for 0.0 GB.* make room"):
        bring()
    assert hub.requests == []


def test_a_folder_that_cannot_be_written_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source = Source(REPO, "main", hub.url)
    with pytest.raises(EngineError, match="choose another --data-dir"):
        fetch("ced-tiny", source, tmp_path / "file" / "ced-tiny", {}, quiet)


def test_without_its_package_fetching_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r"run `scripts/setup --models`"):
        fetch("ced-tiny", Source(REPO, "main"), tmp_path, {}, quiet)


def test_a_model_is_found_by_name_or_by_folder(
    bring: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="ced-tiny is not here: run"):
        locate("ced-tiny", tmp_path / "data")

    folder = bring()

    assert locate("ced-tiny", tmp_path / "data") == folder
    assert locate(str(folder), tmp_path / "elsewhere") == folder
    with pytest.raises(EngineError, match="no model of that name"):
        locate("ced-huge", tmp_path / "data")


def test_every_known_model_is_from_its_authors_and_free() -> None:
    models = known_models()

    assert {"midashenglm-7b", "midashenglm-0.6b", "ced-tiny", "ced-base"} <= set(models)
    for name, model in models.items():
        assert model.repo.startswith("mispeech/"), name
        assert model.licence == "Apache-2.0", name


def test_the_command_fetches_verifies_and_lists(hub: Hub, tmp_path: Path) -> None:
    run = CliRunner().invoke
    here = ["--data-dir", str(tmp_path / "data")]
    config = hashlib.sha256(hub.files["config.json"]).hexdigest()

    listed = run(app, ["fetch"])
    assert listed.exit_code == 0
    assert "midashenglm" in listed.output
    assert "22 MB" in listed.output

    pin = ["--sha256", f"config.json={config.upper()}"]
    got = run(app, ["fetch", "ced-tiny", "--endpoint", hub.url, *pin, *here])
    assert got.exit_code == 0, got.output
    assert f"{REPO} at {COMMIT}, 2 files, verified." in got.output

    again = run(app, ["fetch", "ced-tiny", "--verify", *here])
    assert again.exit_code == 0
    assert "2 files, verified" in again.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ced-huge"], "There is no model ced-huge: choose one of midashenglm-7b"),
        (["ced-tiny", "--sha256", "config.json=12"], "write FILE=HEX"),
        (["ced-tiny", "--verify"], "was not made by fetch"),
        (["ced-tiny", "--endpoint", "http://127.0.0.1:9"], "is online"),
    ],
)
def test_the_command_fails_with_a_sentence(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    result = CliRunner().invoke(app, ["fetch", *arguments, "--data-dir", str(tmp_path)])

    assert result.exit_code == 2
    assert told in result.stderr.replace("\n", " ")
