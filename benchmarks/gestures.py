"""Sound gestures, measured: `python -m benchmarks.gestures [--data FOLDER] [--json FILE]`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
import json
from pathlib import Path
import time
from typing import Annotated, Any

import numpy as np
from rich.console import Console
from rich.table import Table
import typer

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import load_catalogue
from model_server.evaluation import gestures, synthesis
from model_server.evaluation.recordings import DataError, Recording, load, read_manifest
from model_server.evaluation.synthesis import Audio
from model_server.monitor.monitor import SoundMonitor

console = Console()
Report = dict[str, Any]

ROOMS = (0.0, 0.3, 0.6)
RATIOS = (20.0, 10.0)
RECORDED: dict[str, tuple[str, ...]] = {
    "speech": ("speech",),
    "keyboard, mouse": ("keyboard_typing", "mouse_click"),
    "dishes, water": (
        "can_opening", "glass_breaking", "pouring_water", "drinking_sipping",
        "water_drops",
    ),
    "footsteps": ("footsteps",),
    "dog, cat": ("dog", "cat"),
    "clock, creaking door": ("clock_tick", "door_wood_creaks"),
    "cough, laugh, sneeze, cry": (
        "coughing", "laughing", "sneezing", "crying_baby", "snoring", "breathing",
    ),
    "birds": ("chirping_birds", "crow", "rooster", "hen"),
    "rain, fire, thunder": ("rain", "crackling_fire", "thunderstorm", "wind"),
    "machines, sirens": (
        "vacuum_cleaner", "washing_machine", "engine", "train", "siren", "car_horn",
        "clock_alarm", "church_bells",
    ),
    "fireworks": ("fireworks",),
    "applause": ("clapping",),
    "real knocking": ("door_knock",),
}  # fmt: skip


def main(
    data: Annotated[Path, typer.Option(envvar="EARSHOT_DATA")] = Path("../shared/data"),
    takes: Annotated[int, typer.Option(min=1, help="of each gesture and room")] = 50,
    minutes: Annotated[int, typer.Option(help="of each generated nuisance")] = 60,
    to: Annotated[
        Path | None, typer.Option("--json", help="also write figures here")
    ] = None,
) -> None:
    """Measure how many gestures are found, and what else is taken for one."""
    report: Report = {
        "cost_ms_per_s": cost(),
        "found": found(takes),
        "false": {"generated": generated(minutes)},
    }
    try:
        recordings = read_manifest(data)
    except DataError as err:
        console.print(f"Without recordings there is nothing more to measure: {err}")
    else:
        report["false"]["recorded"] = recorded(recordings)
    if to is not None:
        to.write_text(json.dumps(report, indent=2), encoding="utf-8")


def heard(pieces: Iterable[Audio]) -> tuple[float, Counter[str]]:
    """Hours of one stream, and the gestures in it, with every label on."""
    labels = [one for one in load_catalogue().values() if one.source == "gesture"]
    monitor = SoundMonitor(None, labels)
    counts: Counter[str] = Counter()
    samples = 0
    for piece in pieces:
        samples += piece.size
        changes = monitor.push(synthesis.pcm(piece))
        counts.update(one.label for one in changes if one.state == "start")
    return samples / SAMPLE_RATE / 3600, counts


def cost() -> float:
    """CPU milliseconds for a second of audio, on music, which is full of impulses."""
    audio = synthesis.music(60.0)
    began = time.process_time()
    heard(_chunks(audio))
    spent = (time.process_time() - began) / 60 * 1000
    console.print(f"Cost: {spent:.1f} ms of one core for a second of audio")
    return spent


def found(takes: int) -> Report:
    """Gestures of other hands, doors and lips in each room: how many are told, and right."""
    rooms = [(ratio, rt60) for ratio in RATIOS for rt60 in ROOMS]
    table = Table(
        "gesture",
        *(f"{ratio:.0f} dB, {rt60} s" for ratio, rt60 in rooms),
        "taken for another",
        title=f"Found of {takes}",
    )
    report: Report = {}
    for label in gestures.GESTURES:
        cells, wrong = [], 0
        for number, (ratio, rt60) in enumerate(rooms):
            rng = np.random.default_rng(1000 + number)
            right = 0
            for _ in range(takes):
                dry = gestures.gesture(label, rng)
                audio = gestures.heard(dry, rng, snr_db=ratio, rt60=rt60)
                _, counts = heard([audio])
                right += counts == {label: 1}
                wrong += any(other != label for other in counts)
            report[f"{label} {ratio:.0f} dB {rt60} s"] = right
            cells.append(str(right))
        report[f"{label} wrong"] = wrong
        table.add_row(label, *cells, str(wrong))
    console.print(table)
    return report


def generated(minutes: int) -> Report:
    """What is impulsive at home, music, and single claps, snaps and knocks."""
    kinds: dict[str, Iterator[Audio]] = {
        kind: gestures.nuisance(kind, minutes, seed=7000) for kind in gestures.NUISANCES
    }
    kinds["music"] = (synthesis.music(60.0, seed=7000 + n) for n in range(minutes))
    kinds["single claps, snaps, knocks"] = _singles(minutes)
    return _false("Generated", kinds)


def recorded(recordings: Sequence[Recording]) -> Report:
    """Every recording, at some level, after some pause."""
    kinds = {
        kind: _stream([one for one in recordings if one.name in names])
        for kind, names in RECORDED.items()
    }
    return _false("Recorded", kinds)


def _false(title: str, kinds: dict[str, Iterator[Audio]]) -> Report:
    table = Table("what", "hours", "gestures", title=f"{title}: taken for a gesture")
    report: Report = {}
    for kind, pieces in kinds.items():
        with console.status(kind):
            hours, counts = heard(pieces)
        table.add_row(kind, f"{hours:.2f}", str(dict(counts) or 0))
        report[kind] = {"hours": hours, "gestures": dict(counts)}
    console.print(table)
    return report


def _singles(minutes: int) -> Iterator[Audio]:
    rng = np.random.default_rng(7000)
    for number in range(12 * minutes):
        label = ("double_clap", "finger_snaps", "double_knock")[number % 3]
        rt60 = float(rng.uniform(0, 0.6))
        dry = gestures.single(label, rng)
        yield gestures.heard(dry, rng, snr_db=float(rng.uniform(8, 40)), rt60=rt60)


def _stream(recordings: Sequence[Recording]) -> Iterator[Audio]:
    rng = np.random.default_rng(7000)
    for recording in recordings:
        samples = load(recording).samples
        peak = max(float(np.max(np.abs(samples))), 1e-9)
        loud = samples * np.float32(10 ** (rng.uniform(-30, -3) / 20) / peak)
        pause = synthesis.silence(float(rng.uniform(0.3, 2.0)))
        piece = np.concatenate([loud, pause])
        floor = 10 ** (rng.uniform(-80, -60) / 20)
        hiss = synthesis.noise(piece.size / SAMPLE_RATE, rms=floor)
        yield piece + np.resize(hiss, piece.size)


def _chunks(audio: Audio) -> Iterator[Audio]:
    for first in range(0, audio.size, 1600):
        yield audio[first : first + 1600]


if __name__ == "__main__":
    typer.run(main)
