"""The command line: `python -m model_server evaluate wake DATASET`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Table
import typer

from model_server.evaluation.command_output import fail, progress, publish
from model_server.evaluation.datasets import load, read_dataset
from model_server.evaluation.negatives import stream
from model_server.evaluation.recordings import DataError
from model_server.evaluation.wake import Point, measure
from model_server.listen.wake import ENGINE, wake_words


def wake(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="As for `sounds`; clips with a wake word's name as label are to wake, "
            "all others become hours of a home."
        ),
    ],
    hours: Annotated[
        float, typer.Option("--negative-hours", min=0.0, help="Hours of negatives.")
    ] = 1.0,
    snr: Annotated[
        float, typer.Option(help="dB of a clip over its household's background.")
    ] = 20.0,
    seed: Annotated[int, typer.Option(help="Of the negatives.")] = 0,
    to: Annotated[
        Path | None,
        typer.Option("--json", help="Also write figures to this file; - prints them."),
    ] = None,
) -> None:
    """Per wake word and cutoff: misses, and false accepts per hour of a home."""
    words = list(wake_words())
    try:
        samples = [load(item) for item in read_dataset(dataset)]
        clips = [one for one in samples if one.item.label in words]
        others = [one for one in samples if one.item.label not in words]
        with progress() as bar:
            task = bar.add_task("Listening", total=hours * 3600)
            rows = measure(
                words,
                clips,
                stream(others, hours, seed),
                snr,
                lambda seconds: bar.advance(task, seconds),
            )
        report = {
            "engine": {"name": ENGINE.name, "version": ENGINE.version},
            "snr_db": snr,
            "seed": seed,
            "points": [row.as_json() for row in rows],
        }
        publish(report, to, lambda: _show(rows))
    except DataError as err:
        fail(f"{err}.")
    except OSError as err:
        fail(f"{err.filename}: {err.strerror}.")


def _show(rows: list[Point]) -> None:
    table = Table(
        "wake word", "cutoff", "heard", "missed", "unchecked", "false/h", "of which",
        "unchecked",
        title=f"{ENGINE.name} {ENGINE.version}",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.word,
            f"{row.cutoff:.2f}{' (its own)' if row.own else ''}",
            f"{row.heard} of {row.clips}",
            "" if row.miss_rate is None else f"{row.miss_rate:.0%}",
            str(row.unchecked),
            "" if row.per_hour is None else f"{row.per_hour:.2f}",
            ", ".join(f"{count} {kind}" for kind, count in row.false.items()),
            str(row.unchecked_false),
        )
    console = Console(width=110)
    console.print(table)
    console.print(f"{rows[0].hours:.2f} h of negatives")
