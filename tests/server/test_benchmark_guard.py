"""The benchmark of the guard's sounds prints and writes what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import soundfile
import typer
from typer.testing import CliRunner

from benchmarks.guard import main
from model_server.evaluation import synthesis

APP = typer.Typer()
APP.command()(main)


def test_it_measures_what_is_found_and_what_is_taken_for_it(tmp_path: Path) -> None:
    noise = synthesis.noise(3.0, rms=0.1)
    soundfile.write(tmp_path / "rain.flac", noise, synthesis.RATE)
    (tmp_path / "MANIFEST.csv").write_text(
        "file,subset,label,licence,attribution\nrain.flac,esc50-fold4,rain,CC0,me\n"
    )
    report = tmp_path / "report.json"
    options = ["--data", str(tmp_path), "--takes", "2", "--minutes", "1"]

    result = CliRunner().invoke(APP, [*options, "--json", str(report)])

    assert result.exit_code == 0, result.output
    figures = json.loads(report.read_text("utf-8"))
    assert figures["found"]["scratch 20 dB"] == [2, 2]
    assert figures["found"]["engine_start 20 dB"] == [2, 2]
    assert figures["found"]["glass_break 20 dB"] == [0, 0]
    assert figures["false"]["traffic"] == {"hours": 1 / 60, "told": {}}
    assert figures["false"]["rain, wind, thunder"]["hours"] > 1 / 60
    assert figures["false"]["talk"]["hours"] == 0


def test_without_recordings_it_says_so(tmp_path: Path) -> None:
    options = ["--data", str(tmp_path / "none"), "--takes", "1", "--minutes", "1"]

    result = CliRunner().invoke(APP, options)

    assert result.exit_code == 0, result.output
    assert "Without recordings" in result.output
