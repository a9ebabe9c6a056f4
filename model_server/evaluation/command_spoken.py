"""The command line: `python -m model_server evaluate commands DATASET`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.progress import track
from rich.table import Table
import typer

from model_server.build import Builder
from model_server.engines.base import EngineError, SpeechRecognizer
from model_server.evaluation import plots
from model_server.evaluation.command_output import fail, publish
from model_server.evaluation.commands import (
    Ear,
    FalseAccepts,
    Figures,
    Heard,
    false_accepts,
    figures,
    hear_all,
    read_clips,
    read_home,
)
from model_server.evaluation.recordings import DataError
from model_server.listen.attention import Words
from model_server.listen.wake import wake_words
from model_server.settings import SettingsError, load_settings


def commands(
    dataset: Annotated[
        Path,
        typer.Argument(help="A folder with commands.json, home.json and audio files."),
    ],
    speakers: Annotated[
        list[str] | None,
        typer.Option("--speaker", help="Only clips of this speaker; repeatable."),
    ] = None,
    snrs: Annotated[
        list[float] | None,
        typer.Option(
            "--snr", help="Also with a household so many dB below; repeatable."
        ),
    ] = None,
    asked: Annotated[
        bool, typer.Option(help="As if every speaker had pressed a button to be heard.")
    ] = False,
    wake: Annotated[
        list[str] | None,
        typer.Option(
            help="Listen to what is no command after this wake word only; repeatable."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    to: Annotated[
        Path | None,
        typer.Option("--json", help="Also write figures to this file; - prints them."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option("--plots", help="Also draw a PNG file in this folder."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where fetched models are kept.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file.")] = None,
) -> None:
    """Commands understood, false accepts, speed and latency, in quiet and in noise."""
    levels: list[float | None] = [None, *(snrs or [])]
    console = Console(stderr=True)
    try:
        if pictures is not None:
            plots.figure(1, 1)
            pictures.mkdir(parents=True, exist_ok=True)
        home = read_home(dataset)
        clips = read_clips(dataset, home, speakers or ())
        recognizer = Builder(load_settings(config, data_dir=data_dir)).recognizer()
        ear = Ear(recognizer, home, asked, _wake(wake))
        spoken = sum(one.meant is not None for one in clips)
        total = len(clips) + spoken * (len(levels) - 1)
        hearing = hear_all(ear, clips, levels, seed)
        heard = list(track(hearing, "Listening", total, console=console))
    except (DataError, EngineError, SettingsError, plots.PlotsMissingError) as err:
        fail(f"{err}.")
    except ValueError as err:
        fail(f"The home cannot be used: {err}.")
    except OSError as err:
        fail(f"{err.filename}: {err.strerror}.")
    rows = [row for level in levels if (row := figures(heard, level)) is not None]
    accepted = false_accepts(heard)
    report = _report(recognizer, heard, rows, accepted) | {"asked": asked, "wake": wake}
    publish(report, to, lambda: _show(report, rows, accepted))
    if pictures is not None and rows:
        plots.draw_noise(pictures, rows)


def _wake(words: list[str] | None) -> Words | None:
    """Wake words with their own cutoffs. Raises DataError for one that there is not."""
    known = wake_words()
    if unknown := set(words or ()) - known.keys():
        raise DataError(f"{', '.join(unknown)}: wake words are {', '.join(known)}")
    return dict.fromkeys(words) if words else None


def _report(
    recognizer: SpeechRecognizer,
    heard: list[Heard],
    rows: list[Figures],
    accepted: FalseAccepts | None,
) -> dict[str, Any]:
    info = recognizer.info
    return {
        "engine": {"name": info.name, "version": info.version},
        "commands": [row.as_json() for row in rows],
        "false_accepts": None
        if accepted is None
        else {
            "hours": accepted.seconds / 3600,
            "per_hour": accepted.per_hour,
            "texts": accepted.texts,
        },
        # To look at: what was not understood as it was meant.
        "misses": [
            {
                "file": one.spoken.row.file,
                "snr": one.snr,
                "text": one.spoken.row.text,
                "understood": [text for text, _ in one.understood],
            }
            for one in heard
            if one.spoken.meant is not None and not one.right
        ],
    }


def _show(
    report: dict[str, Any], rows: list[Figures], accepted: FalseAccepts | None
) -> None:
    engine = report["engine"]
    table = Table(
        "noise", "commands", "right", "wrong", "slots", "work p50", "p95",
        "end of speech → intent p50", "p95", "× real time",
        title=f"{engine['name']} {engine['version']}",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            "quiet" if row.snr is None else f"{row.snr:g} dB",
            str(row.clips),
            f"{row.right} ({row.acceptance:.0%})",
            str(row.wrong),
            "" if row.slot_accuracy is None else f"{row.slot_accuracy:.0%}",
            _ms(row.work_p50_s),
            _ms(row.work_p95_s),
            _ms(row.latency_p50_s),
            _ms(row.latency_p95_s),
            f"{row.real_time:.2f}",
        )
    console = Console(width=120)
    if rows:
        console.print(table)
    if accepted is not None:
        console.print(
            f"False accepts: {len(accepted.texts)} in {accepted.seconds / 60:.1f} min of "
            f"what is no command, {accepted.per_hour:.1f} per hour"
        )
        for text, times in Counter(accepted.texts).most_common():
            console.print(f"{times} × {text}", markup=False, highlight=False)


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f} ms"
