"""The benchmark of alarm rhythms prints and writes what it measured."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import soundfile
import typer
from typer.testing import CliRunner

from benchmarks.alarms import main
from model_server.evaluation import synthesis


def _bench(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(main)
    usual = ["--every", 900, "--negatives-hours", 0.1]
    result = CliRunner().invoke(app, [str(one) for one in [*usual, *arguments]])
    return result.exit_code, result.output


def test_every_figure_is_measured_and_written(tmp_path: Path) -> None:
    to = tmp_path / "figures.json"
    with (tmp_path / "MANIFEST.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "subset", "label", "licence", "attribution"])
        rows.writerow(["rain.flac", "esc50-fold4", "rain", "CC0", "nobody"])
    soundfile.write(tmp_path / "rain.flac", synthesis.noise(2.0, "pink"), 16_000)

    code, told = _bench("--data", tmp_path, "--json", to)

    assert code == 0, told
    report = json.loads(to.read_text(encoding="utf-8"))
    assert report["alarms"]["rows"]["all"]["conditions"] == 5
    assert report["alarms"]["rows"]["all"]["missed"] == 0
    assert report["negatives"]["hours"] == 0.1
    assert report["negatives"]["seconds"]["recordings"] == 120.0
    assert report["negatives"]["events"] == []


def test_without_recordings_the_negatives_are_made(tmp_path: Path) -> None:
    code, told = _bench("--data", tmp_path / "nothing")

    assert code == 0, told
    assert "Negatives without recordings" in told
    assert "0.10 h of negatives: 0 false alarms" in told
