"""The data folder: private files that are whole at any moment."""

from __future__ import annotations

import os
from pathlib import Path
import stat

import pytest

from model_server.store import installation_id, write_private


def test_a_file_is_private_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"

    write_private(path, b"old")
    write_private(path, b"new")

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"new")

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_an_installation_keeps_its_id(tmp_path: Path) -> None:
    assert installation_id(tmp_path) == installation_id(tmp_path)
    assert installation_id(tmp_path) != installation_id(tmp_path / "other")
