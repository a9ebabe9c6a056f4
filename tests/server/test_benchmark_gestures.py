"""The benchmark of gestures prints and writes what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import soundfile
import typer
from typer.testing import CliRunner

from benchmarks.gestures import main
from model_server.evaluation import synthesis

APP = typer.Typer()
APP.command()(main)


def test_it_measures_recall_and_false_triggers(tmp_path: Path) -> None:
    noise = synthesis.noise(3.0, rms=0.1)
    soundfile.write(tmp_path / "rain.flac", noise, synthesis.RATE)
    (tmp_path / "MANIFEST.csv").write_text(
        "file,subset,label,licence,attribution\nrain.flac,esc50-fold4,rain,CC0,me\n"
    )
    report = tmp_path / "report.json"
    options = ["--data", str(tmp_path), "--takes", "1", "--minutes", "1"]

    result = CliRunner().invoke(APP, [*options, "--json", str(report)])

    assert result.exit_code == 0, result.output
    figures = json.loads(report.read_text("utf-8"))
    assert figures["cost_ms_per_s"] > 0
    assert figures["found"]["double_clap 20 dB 0.3 s"] in (0, 1)
    assert figures["false"]["generated"]["typing"]["gestures"] == {}
    assert figures["false"]["recorded"]["rain, fire, thunder"]["hours"] > 0


def test_without_recordings_it_says_so(tmp_path: Path) -> None:
    options = ["--data", str(tmp_path / "none"), "--takes", "1", "--minutes", "1"]

    result = CliRunner().invoke(APP, options)

    assert result.exit_code == 0, result.output
    assert "Without recordings" in result.output
