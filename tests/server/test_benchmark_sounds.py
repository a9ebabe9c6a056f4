"""The benchmark of sounds prints and writes what it measured."""

from __future__ import annotations

import csv
import json
from pathlib import Path
import sys
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from benchmarks.sounds import main
from benchmarks.yamnet import Peer, PeerMissingError
from model_server.evaluation import synthesis
from model_server.evaluation.recordings import Clip, Recording

ROWS = [
    ("dog.flac", "esc50-fold4", "dog"),
    ("rain.flac", "esc50-fold4", "rain"),
    ("hello.flac", "speech-negative", "hello"),
]
NAMES = "index,mid,display_name\n0,/m/1,Speech\n1,/m/2,Bark\n2,/m/3,Dog\n"


class _Interpreter:
    """Stands for YAMNet, which the test environment need not have: loud is a bark."""

    def __init__(self, *_: object, **__: object) -> None:
        self._loud = 0.0

    def allocate_tensors(self) -> None:
        pass

    def get_output_details(self) -> list[dict[str, int]]:
        return [{"index": 3}]

    def set_tensor(self, _: int, window: npt.NDArray[np.float32]) -> None:
        assert window.shape == (15_600,)
        self._loud = float(np.sqrt(np.mean(window**2)))

    def invoke(self) -> None:
        pass

    def get_tensor(self, _: int) -> npt.NDArray[np.float32]:
        return np.array([[0.0, min(1.0, 4 * self._loud), 0.1]], dtype=np.float32)


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a peer, and what runs it; it knows barks only."""
    module = ModuleType("ai_edge_litert.interpreter")
    module.__dict__["Interpreter"] = _Interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert", ModuleType("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    monkeypatch.setattr("benchmarks.yamnet.CLASSES", {"bark": ("Bark", "Dog")})
    folder = tmp_path / "peers"
    folder.mkdir()
    (folder / "yamnet.tflite").write_bytes(b"")
    (folder / "yamnet_class_map.csv").write_text(NAMES, encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three made recordings that training would not see."""
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "MANIFEST.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "subset", "label", "licence", "attribution"])
        rows.writerows([*row, "CC0", "nobody"] for row in ROWS)
    for seed, (name, *_) in enumerate(ROWS):
        soundfile.write(folder / name, synthesis.music(3.0, seed=seed), 16_000)
    return folder


def _bench(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(main)
    usual = ["--beeping", 8, "--minutes", 1]
    result = CliRunner().invoke(app, [str(one) for one in [*usual, *arguments]])
    return result.exit_code, result.output


def test_every_figure_is_measured_and_written(
    data: Path, peers: Path, tmp_path: Path
) -> None:
    to = tmp_path / "figures.json"

    code, told = _bench("--data", data, "--peers", peers, "--json", to)

    assert code == 0, told
    report = json.loads(to.read_text(encoding="utf-8"))
    assert report["recall"]["bark"]["clips"] == 1
    assert report["recall"]["bark"]["others"] == 1
    assert report["false_alarms"]["music"]["hours"] == pytest.approx(1 / 60)
    assert report["cost_ms_per_s"] > 0
    assert 0 <= report["accuracy"] <= 1
    assert report["yamnet"]["bark 0.5"]["clips"] == 1


def test_without_recordings_only_the_cost_is_measured(tmp_path: Path) -> None:
    to = tmp_path / "figures.json"

    code, told = _bench("--data", tmp_path / "nothing", "--json", to)

    assert code == 0, told
    assert set(json.loads(to.read_text(encoding="utf-8"))) == {
        "cores",
        "cost_ms_per_s",
    }


def test_the_peer_hears_only_what_is_loud_enough(peers: Path) -> None:
    peer = Peer(peers)
    loud = synthesis.noise(3.0, "white", rms=0.3)

    assert peer.best(loud)["bark"] == pytest.approx(1.0)
    # 500 of 32768 is the gate.
    assert peer.best(synthesis.noise(3.0, "white", rms=0.01))["bark"] == 0.0
    assert peer.events(loud, 0.8) == {"bark": 1}
    dog = Clip(Recording(Path("dog.flac"), "esc50-fold4", "dog", "", ""), loud)
    rain = Clip(Recording(Path("rain.flac"), "esc50-fold4", "rain", "", ""), loud)
    assert peer.found("bark", [dog, rain], 30.0, 0.8) == {
        "clips": 1,
        "found": 1,
        "others": 1,
        "wrong": 1,
    }


def test_a_peer_that_is_not_here_is_said_to_be_missing(
    peers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PeerMissingError, match=r"has no yamnet\.tflite"):
        Peer(tmp_path)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(PeerMissingError, match="not installed"):
        Peer(peers)
