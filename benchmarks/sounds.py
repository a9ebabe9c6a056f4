"""Sound events, measured: `python -m benchmarks.sounds [--data FOLDER] [--peers FOLDER] [--json FILE]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import json
import os
from pathlib import Path
import time
from typing import Annotated, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
import typer

from benchmarks.yamnet import Peer, PeerMissingError
from model_server.audio import SAMPLE_RATE
from model_server.catalogue import SoundLabel, load_catalogue
from model_server.engines.embedded.sounds import EmbeddedClassifier
from model_server.evaluation import beeping as beepers, sounds as evaluation, synthesis
from model_server.evaluation.recordings import (
    ESC50,
    HELD_OUT,
    Clip,
    DataError,
    load,
    read_manifest,
    split,
)
from model_server.monitor.monitor import SoundMonitor

console = Console()
Report = dict[str, Any]


def main(
    data: Annotated[Path, typer.Option(envvar="EARSHOT_DATA")] = Path("../shared/data"),
    peers: Annotated[Path, typer.Option(help="with yamnet.tflite")] = Path(
        "../shared/peers"
    ),
    snr: Annotated[float, typer.Option(help="dB of a clip over its background")] = 15.0,
    minutes: Annotated[int, typer.Option(help="of music, and of noise")] = 30,
    beeping: Annotated[float, typer.Option(help="seconds of each look-alike")] = 130.0,
    to: Annotated[
        Path | None, typer.Option("--json", help="also write figures here")
    ] = None,
) -> None:
    """Measure on recordings that training never saw and on negatives."""
    labels = list(load_catalogue().values())
    classifier = EmbeddedClassifier()
    report: Report = {"cores": os.cpu_count()}
    report["cost_ms_per_s"] = cost(classifier, labels)
    try:
        unseen = [load(one) for one in split(read_manifest(data))[1]]
    except DataError as err:
        console.print(f"Without recordings there is nothing more to measure: {err}")
    else:
        clips = [clip for clip in unseen if clip.recording.subset == HELD_OUT]
        speech = [clip for clip in unseen if clip.recording.name == "speech"]
        report["accuracy"] = accuracy(classifier, clips)
        report["recall"] = recall(classifier, labels, clips, snr)
        report["false_alarms"] = negatives(classifier, labels, speech, minutes, beeping)
        report["yamnet"] = peer(peers, labels, clips, speech, snr)
    if to is not None:
        to.write_text(json.dumps(report, indent=2), encoding="utf-8")


def cost(classifier: EmbeddedClassifier, labels: list[SoundLabel]) -> float:
    """CPU milliseconds for a second of a household's audio, everything on."""
    audio = synthesis.pcm(synthesis.household(60.0))
    monitor = SoundMonitor(classifier, labels)
    began = time.process_time()
    for first in range(0, audio.size, 1600):
        monitor.push(audio[first : first + 1600])
    spent = (time.process_time() - began) / 60 * 1000
    console.print(f"Cost: {spent:.1f} ms of one core for a second of audio")
    return spent


def accuracy(classifier: EmbeddedClassifier, clips: list[Clip]) -> float:
    """Share of clips whose own label of ESC-50's 50 scores highest on average."""
    places = [classifier.classes.index(name) for name in ESC50]
    right = 0
    for clip in clips:
        scores = classifier.classify_all(
            evaluation.windows(clip.samples, classifier.window)
        )[:, places]
        odds = np.log(scores + 1e-7) - np.log(1 - scores + 1e-7)
        right += ESC50[int(odds.mean(axis=0).argmax())] == clip.recording.name
    share = right / len(clips)
    console.print(
        f"ESC-50's 50 labels, {len(clips)} clips of the unseen fold: {share:.1%}"
    )
    return share


def recall(
    classifier: EmbeddedClassifier,
    labels: list[SoundLabel],
    clips: list[Clip],
    snr: float,
) -> Report:
    """Per label, clips found and other clips that gave it."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("unseen clips", total=len(clips))
        rows = evaluation.recall(
            clips,
            classifier,
            labels,
            snr_db=snr,
            progress=lambda: progress.advance(task),
        )
    table = Table(
        "label", "default", "found", "of other clips", title=f"At {snr:.0f} dB SNR"
    )
    for label in labels:
        row = rows.get(label.slug)
        if row is not None:
            table.add_row(
                label.slug,
                "on" if label.default else "",
                f"{row.found} of {row.clips}",
                f"{row.wrong} of {row.others}",
            )
    on = [rows[label.slug] for label in labels if label.default and label.slug in rows]
    found, total = sum(row.found for row in on), sum(row.clips for row in on)
    table.add_row(
        "those on by default", "", f"{found} of {total}", str(sum(r.wrong for r in on))
    )
    console.print(table)
    return {slug: vars(row) for slug, row in rows.items()}


def negatives(
    classifier: EmbeddedClassifier,
    labels: list[SoundLabel],
    speech: list[Clip],
    minutes: int,
    beeping: float,
) -> Report:
    """False alarms an hour, for the default labels and for all."""
    table = Table("what", "hours", "default labels", "all labels", title="False alarms")
    kinds: dict[str, Callable[[], Iterable[synthesis.Audio]]] = {
        "talk": lambda: evaluation.talk(speech),
        "music": lambda: evaluation.songs(minutes),
        "noise": lambda: evaluation.noises(minutes),
        "beeps": lambda: beepers.look_alikes(beeping).values(),
    }
    report: Report = {}
    default = {label.slug for label in labels if label.default}
    for kind, make in kinds.items():
        with console.status(kind):
            hours, counts = evaluation.false_alarms(make(), classifier, labels)
        ours = {slug: count for slug, count in counts.items() if slug in default}
        table.add_row(kind, f"{hours:.2f}", str(ours or 0), str(counts or 0))
        report[kind] = {"hours": hours, "events": counts}
    console.print(table)
    return report


def peer(
    folder: Path,
    labels: list[SoundLabel],
    clips: list[Clip],
    speech: list[Clip],
    snr: float,
) -> Report | None:
    """YAMNet as Frigate runs it, on the same clips; None where it cannot be run."""
    try:
        yamnet = Peer(folder)
    except PeerMissingError as err:
        console.print(f"No peer beside ours: {err}")
        return None
    report: Report = {}
    table = Table(
        "label", "0.8", "0.5", title="YAMNet, as Frigate runs it: clips found"
    )
    talked = np.concatenate(list(evaluation.talk(speech)))
    for label in labels:
        if not label.default or label.slug not in yamnet.labels:
            continue
        cells = []
        for threshold in (0.8, 0.5):
            found = yamnet.found(label.slug, clips, snr, threshold)
            report[f"{label.slug} {threshold}"] = found
            cells.append(
                f"{found['found']} of {found['clips']}, {found['wrong']} others"
            )
        table.add_row(label.slug, *cells)
    console.print(table)
    hours = talked.size / SAMPLE_RATE / 3600
    report["talk"] = yamnet.events(talked, 0.8)
    console.print(f"YAMNet at 0.8 on {hours:.2f} hours of talk: {report['talk'] or 0}")
    return report


if __name__ == "__main__":
    typer.run(main)
