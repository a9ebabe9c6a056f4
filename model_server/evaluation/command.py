"""The command line: `python -m model_server evaluate`, and of it `sounds`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
import typer

from model_server.build import Builder
from model_server.catalogue import SoundLabel, load_catalogue
from model_server.engines.base import EngineError, SoundClassifier
from model_server.evaluation import plots
from model_server.evaluation.command_output import fail, progress, publish
from model_server.evaluation.command_spoken import commands
from model_server.evaluation.command_wake import wake
from model_server.evaluation.datasets import Sample, choose, load, read_dataset
from model_server.evaluation.negatives import stream
from model_server.evaluation.recordings import DataError
from model_server.evaluation.report import (
    SERIOUS,
    Figures,
    Heard,
    Home,
    confusion,
    figures,
    hear,
    listen,
    macro_recall,
    tune,
)
from model_server.monitor.detector import Rule
from model_server.monitor.rules import catalogue_rule
from model_server.settings import SettingsError, load_settings

app = typer.Typer(
    no_args_is_help=True, help="Measure the engines on recordings of your own."
)
# Rules that a tuned threshold is tried with, beside the label's own.
_COUNTS = ((1, 1), (2, 3), (3, 4))


app.command()(commands)
app.command()(wake)


@app.callback()
def main() -> None:
    """Measure the engines on recordings of your own."""


@dataclass(frozen=True)
class Measured:
    """What was scored, once: clips and hours; `columns` are label, place and rule."""

    labels: list[SoundLabel]
    columns: list[tuple[str, int, Rule]]
    heard: list[Heard]
    home: Home


@app.command()
def sounds(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="A folder as ESC-50's, one with MANIFEST.csv, or a CSV file."
        ),
    ],
    fold: Annotated[
        list[str] | None, typer.Option(help="Only clips of this fold; repeatable.")
    ] = None,
    side: Annotated[
        str | None, typer.Option("--split", help="Only clips of this split.")
    ] = None,
    negatives: Annotated[
        Path | None,
        typer.Option(help="Another dataset, of which only the negatives are made."),
    ] = None,
    hours: Annotated[
        float, typer.Option("--negative-hours", min=0.0, help="Hours of negatives.")
    ] = 2.0,
    snr: Annotated[
        float, typer.Option(help="dB of a clip over its household's background.")
    ] = 15.0,
    seed: Annotated[int, typer.Option(help="Of everything that is random.")] = 0,
    tuned: Annotated[
        bool,
        typer.Option(
            "--tune", help="Also find the lowest thresholds that keep the limit."
        ),
    ] = False,
    limit: Annotated[
        float, typer.Option(min=0.0, help="False alarms per 24 h that --tune allows.")
    ] = 1.0,
    margin: Annotated[
        float, typer.Option(help="Log odds that --tune adds to what the limit takes.")
    ] = 0.0,
    to: Annotated[
        Path | None,
        typer.Option("--json", help="Also write figures to this file; - prints them."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--plots", help="Also draw PNG files in this folder.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where fetched models are kept.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file.")] = None,
) -> None:
    """Per label: clips found, precision, delay, and false alarms over hours of a home."""
    try:
        if pictures is not None:
            plots.figure(1, 1)
            pictures.mkdir(parents=True, exist_ok=True)
        clips = [load(one) for one in choose(read_dataset(dataset), fold or (), side)]
        others = (
            [load(one) for one in read_dataset(negatives)]
            if negatives is not None
            else clips
        )
        classifier = Builder(load_settings(config, data_dir=data_dir)).classifier()
        measured = measure(clips, others, classifier, hours, snr, seed)
    except (DataError, EngineError, SettingsError, plots.PlotsMissingError) as err:
        fail(f"{err}.")
    except OSError as err:
        fail(f"{err.filename}: {err.strerror}.")
    rows = [
        figures(label, place, measured.heard, measured.home, rule)
        for label, (_, place, rule) in zip(
            measured.labels, measured.columns, strict=True
        )
    ]
    best = _tuned(measured, limit, margin) if tuned else None
    report = _report(classifier, measured, rows, best)
    report |= {"snr_db": snr, "seed": seed}
    publish(report, to, lambda: _show(measured.labels, rows, best, report))
    if pictures is not None:
        plots.draw_confusion(pictures, *confusion(measured.heard, measured.columns))
        plots.draw_curves(pictures, measured.heard, measured.columns)


def measure(
    clips: list[Sample],
    negatives: list[Sample],
    classifier: SoundClassifier,
    hours: float,
    snr: float,
    seed: int,
) -> Measured:
    """Score every clip and the hours of negatives, each window once."""
    labels = [
        label
        for label in load_catalogue().values()
        if label.source == "classifier" and label.slug in classifier.labels
    ]
    columns = [
        (label.slug, classifier.labels.index(label.slug), catalogue_rule(label))
        for label in labels
    ]
    with progress() as bar:
        first = bar.add_task("clips", total=len(clips))
        then = bar.add_task("negatives", total=hours * 3600)
        heard = list(
            hear(clips, classifier, snr, lambda step: bar.advance(first, step))
        )
        home = listen(
            stream(negatives, hours, seed),
            classifier,
            lambda seconds: bar.advance(then, seconds),
        )
    return Measured(labels, columns, heard, home)


def _tuned(
    measured: Measured, limit: float, margin: float
) -> dict[str, Figures | None]:
    """Per label the rule of a few that finds the most within the limit."""
    found: dict[str, Figures | None] = {}
    for label, (slug, place, own) in zip(
        measured.labels, measured.columns, strict=True
    ):
        rules = [own, *(Rule(own.on, own.off, k, n, own.hold) for k, n in _COUNTS)]
        tried = [
            tune(label, place, measured.heard, measured.home, rule, limit, margin)
            for rule in rules
        ]
        kept = [one for one in tried if one is not None]
        found[slug] = max(kept, key=lambda one: (one.found, -one.wrong), default=None)
    return found


def _report(
    classifier: SoundClassifier,
    measured: Measured,
    rows: list[Figures],
    best: dict[str, Figures | None] | None,
) -> dict[str, Any]:
    serious = [
        row
        for label, row in zip(measured.labels, rows, strict=True)
        if label.group in SERIOUS
    ]
    names, columns, counts = confusion(measured.heard, measured.columns)
    report: dict[str, Any] = {
        "engine": {"name": classifier.info.name, "version": classifier.info.version},
        "clips": len(measured.heard),
        "negative_hours": measured.home.track.samples / 16_000 / 3600,
        "macro_recall": macro_recall(rows),
        "macro_recall_security_and_people": macro_recall(serious),
        "labels": {row.label: row.as_json() for row in rows},
        "confusion": {"rows": names, "columns": columns, "counts": counts.tolist()},
    }
    if best is not None:
        report["tuned"] = {
            slug: None if one is None else one.as_json() for slug, one in best.items()
        }
        report["tuned_macro_recall_security_and_people"] = macro_recall(
            one for row in serious if (one := best[row.label]) is not None
        )
    return report


def _show(
    labels: list[SoundLabel],
    rows: list[Figures],
    best: dict[str, Figures | None] | None,
    report: dict[str, Any],
) -> None:
    table = Table(
        "label", "default", "on", "found", "recall", "precision", "AP", "delay p50",
        "p95", "false/24 h", "of which",
        title=f"{report['engine']['name']} {report['engine']['version']}",
    )  # fmt: skip
    for label, row in zip(labels, rows, strict=True):
        table.add_row(
            label.slug,
            "on" if label.default else "",
            f"{row.rule.on:.2f}, {row.rule.k} of {row.rule.n}",
            f"{row.found} of {row.clips}",
            _share(row.recall),
            _share(row.precision),
            _share(row.average_precision),
            _number(row.delay_p50_s, " s"),
            _number(row.delay_p95_s, " s"),
            _number(row.per_day),
            ", ".join(f"{count} {kind}" for kind, count in row.false_alarms.items()),
        )
    console = Console(width=150)
    console.print(table)
    console.print(
        f"{report['clips']} clips; {report['negative_hours']:.1f} h of negatives; "
        "macro recall of security and people "
        f"{_share(report['macro_recall_security_and_people'])}, "
        f"of all {_share(report['macro_recall'])}"
    )
    if best is None:
        return
    tuned = Table("label", "on", "found", "others", "false/24 h", title="Tuned")
    for slug, one in best.items():
        if one is None:
            tuned.add_row(slug, "none keeps the limit")
        else:
            tuned.add_row(
                slug,
                f"{one.rule.on:.2f}, {one.rule.k} of {one.rule.n}",
                f"{one.found} of {one.clips}",
                f"{one.wrong} of {one.others}",
                _number(one.per_day),
            )
    console.print(tuned)
    console.print(
        "Tuned macro recall of security and people "
        f"{_share(report['tuned_macro_recall_security_and_people'])}"
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.1f}{unit}"
