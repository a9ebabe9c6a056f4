"""Nothing that the server is made of reports to its maker."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

import pytest

LOAD = """
from model_server.engines.embedded.sounds import EmbeddedClassifier
EmbeddedClassifier()
print("loaded")
"""


def test_onnxruntime_makes_no_identifier_and_no_store_for_reports(
    tmp_path: Path,
) -> None:
    # What else would keep it quiet is taken away, as on a person's machine.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ORT_", "XDG_"))
        and name not in {"CI", "GITHUB_ACTIONS"}
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "loaded\n"
    assert "telemetry" not in done.stderr.lower()
    assert list(tmp_path.rglob("*")) == []


def test_a_download_does_not_tell_what_is_installed() -> None:
    pytest.importorskip("huggingface_hub")
    from huggingface_hub.utils import build_hf_headers  # noqa: PLC0415 - may be absent

    assert "torch/" not in build_hf_headers(token=False)["user-agent"]
