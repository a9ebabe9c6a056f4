"""Alarm rhythms, measured: `python -m benchmarks.alarms [--every N] [--negatives-hours H] [--json FILE]`."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
import typer

from model_server.audio import SAMPLE_RATE
from model_server.evaluation import beeping, synthesis
from model_server.evaluation.alarms import Outcome, grid, try_condition
from model_server.evaluation.recordings import DataError, load, read_manifest
from model_server.evaluation.synthesis import Audio
from model_server.monitor.rhythm import RhythmRecognizer

console = Console()
Report = dict[str, Any]

_TALK = 400


def main(
    every: Annotated[
        int, typer.Option(min=1, help="take every so many-th condition of the grid")
    ] = 1,
    negatives_hours: Annotated[
        float, typer.Option(min=0, help="of what beeps and sounds and is no alarm")
    ] = 1.0,
    data: Annotated[Path, typer.Option(envvar="EARSHOT_DATA")] = Path("../shared/data"),
    to: Annotated[
        Path | None, typer.Option("--json", help="also write figures here")
    ] = None,
) -> None:
    """Measure on alarms at the limits of their standards, and on what is none."""
    report: Report = {
        "alarms": alarms(every),
        "negatives": negatives(negatives_hours, data),
    }
    if to is not None:
        to.write_text(json.dumps(report, indent=2), encoding="utf-8")


def alarms(every: int) -> Report:
    """Alarms of every timing, clock, tone, room and noise, alone and in pairs."""
    cells = list(enumerate(grid()))[::every]
    outcomes = [
        try_condition(condition, seed)
        for seed, condition in track(
            cells, description="alarms", console=console, transient=True
        )
    ]
    table = Table("", "conditions", "missed", "late", "wrong", title="Alarm rhythms")
    aspects: dict[str, Callable[[Outcome], str]] = {
        "alarm": lambda one: " and ".join(one.condition.labels),
        "what": lambda one: one.condition.aspect,
        "tone": lambda one: f"{one.condition.sounders[0].frequency:.0f} Hz",
        "room": lambda one: f"RT60 {one.condition.rt60} s",
        "noise": lambda one: f"{one.condition.snr_db:+.0f} dB",
    }
    rows: Report = {}
    for aspect, key in {"all": lambda _: "", **aspects}.items():
        for value in dict.fromkeys(map(key, outcomes)):
            group = [one for one in outcomes if key(one) == value]
            row = {
                "conditions": len(group),
                "missed": sum(not one.found for one in group),
                "late": sum(one.found and not one.in_time for one in group),
                "wrong": sum(one.wrong for one in group),
            }
            name = f"{aspect} {value}".strip()
            rows[name] = row
            table.add_row(name, *map(str, row.values()))
    console.print(table)
    report: Report = {"rows": rows}
    for label in ("smoke", "co"):
        times = [at for one in outcomes for heard, at in one.heard if heard == label]
        if times:
            p50, p95 = np.percentile(times, [50, 95])
            report[f"{label}_p50_s"], report[f"{label}_p95_s"] = p50, p95
            console.print(f"{label}: p50 {p50:.1f} s, p95 {p95:.1f} s from first beep")
    return report


def negatives(hours: float, data: Path) -> Report:
    """One stream of what is no alarm: what it gave, by label."""
    clips = _recordings(data)
    recogniser = RhythmRecognizer()
    seconds: dict[str, float] = {}
    events: list[dict[str, Any]] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("negatives", total=hours * 3600)
        for name, audio in beeping.negatives(hours, clips):
            events += [
                {"label": change.label, "what": name, "score": change.score}
                for change in recogniser.push(synthesis.pcm(audio))
                if change.state == "start"
            ]
            seconds[name] = seconds.get(name, 0.0) + audio.size / SAMPLE_RATE
            progress.advance(task, audio.size / SAMPLE_RATE)
    total = sum(seconds.values()) / 3600
    console.print(f"{total:.2f} h of negatives: {len(events)} false alarms {events}")
    return {"hours": total, "seconds": seconds, "events": events}


def _recordings(data: Path) -> list[Audio]:
    """All recordings of sounds, and some of the talk."""
    try:
        found = read_manifest(data)
    except DataError as err:
        console.print(f"Negatives without recordings: {err}")
        return []
    talk = [one for one in found if not one.subset.startswith("esc50")][:_TALK]
    sounds = [one for one in found if one.subset.startswith("esc50")]
    return [load(one).samples for one in [*sounds, *talk]]


if __name__ == "__main__":
    typer.run(main)
