"""The guard's sounds, measured: `python -m benchmarks.guard [--data FOLDER] [--json FILE]`.

Scratching, blows and starters are generated, by seeds that training never had; what is
done to real paint may sound otherwise. Glass and footsteps are recordings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.console import Console
from rich.table import Table
import typer

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import load_catalogue
from model_server.engines.embedded.sounds import EmbeddedClassifier
from model_server.evaluation import guard_sounds, synthesis
from model_server.evaluation.recordings import (
    HELD_OUT,
    DataError,
    Recording,
    load,
    read_manifest,
    split,
)
from model_server.evaluation.synthesis import Audio
from model_server.monitor.monitor import SoundMonitor

console = Console()
Report = dict[str, Any]

SEEDS = 3_000_000_000
"""Above what training draws from, which is below 2**31."""
RATIOS = (20.0, 10.0, 5.0)
GENERATED: dict[str, Callable[[int], Audio]] = {
    "scratch": guard_sounds.scratch,
    "impact": guard_sounds.impact,
    "engine_start": guard_sounds.engine_start,
}
RECORDED = {"glass_break": "glass_breaking", "footsteps": "footsteps"}
LABELS = (*GENERATED, *RECORDED)
AROUND: dict[str, tuple[str, ...]] = {
    "footsteps": ("footsteps",),
    "rain, wind, thunder": ("rain", "wind", "thunderstorm"),
    "engines, trains, helicopters": ("engine", "train", "helicopter", "airplane"),
    "dogs, cats, birds": ("dog", "cat", "chirping_birds", "crow", "rooster"),
    "doors, knocking": ("door_wood_creaks", "door_knock"),
    "tools": ("hand_saw", "chainsaw"),
    "fireworks": ("fireworks",),
}


def main(
    data: Annotated[Path, typer.Option(envvar="EARSHOT_DATA")] = Path("../shared/data"),
    takes: Annotated[int, typer.Option(min=1, help="of each sound and ratio")] = 40,
    minutes: Annotated[int, typer.Option(min=1, help="of each kind of negative")] = 60,
    to: Annotated[
        Path | None, typer.Option("--json", help="also write figures here")
    ] = None,
) -> None:
    """Measure what a guard finds over a street's noise, and what it takes for it."""
    report: Report = {"found": found(takes)}
    street = (
        guard_sounds.traffic(60.0, SEEDS + number, rms=0.05)
        for number in range(minutes)
    )
    noise = (
        synthesis.household(60.0, seed=SEEDS + number) for number in range(minutes)
    )
    kinds: dict[str, Iterator[Audio]] = {"traffic": street, "household": noise}
    try:
        _, unseen = split(read_manifest(data))
    except DataError as err:
        console.print(f"Without recordings there is nothing more to measure: {err}")
    else:
        report["found"] |= recorded(unseen)
        kinds["talk"] = around(unseen, ("speech",), minutes)
        outside = [one for one in unseen if one.subset == HELD_OUT]
        for kind, names in AROUND.items():
            kinds[kind] = around(outside, names, minutes)
    report["false"] = false(kinds)
    if to is not None:
        to.write_text(json.dumps(report, indent=2), encoding="utf-8")


def heard(pieces: Iterable[Audio]) -> tuple[float, Counter[str]]:
    """Hours of one stream, and how often each of the guard's labels began in it."""
    catalogue = load_catalogue()
    monitor = SoundMonitor(EmbeddedClassifier(), [catalogue[one] for one in LABELS])
    counts: Counter[str] = Counter()
    samples = 0
    for piece in pieces:
        samples += piece.size
        changes = monitor.push(synthesis.pcm(piece))
        counts.update(one.label for one in changes if one.state == "start")
    return samples / SAMPLE_RATE / 3600, counts


def found(takes: int) -> Report:
    """Of the generated sounds: how many are told, and what others are told with them."""
    table = Table(
        "sound", *(f"{ratio:.0f} dB" for ratio in RATIOS), "also", title="Found"
    )
    report: Report = {}
    for label, make in GENERATED.items():
        cells, others = [], Counter[str]()
        for ratio in RATIOS:
            right = 0
            for number in range(takes):
                seed = SEEDS + number
                _, counts = heard([_on_the_street(make(seed), ratio, seed)])
                right += counts[label] > 0
                others.update(one for one in counts if one != label)
            report[f"{label} {ratio:.0f} dB"] = [right, takes]
            cells.append(f"{right} of {takes}")
        report[f"{label} also"] = dict(others)
        table.add_row(label, *cells, str(dict(others) or ""))
    console.print(table)
    return report


def recorded(unseen: Sequence[Recording]) -> Report:
    """The same of recordings that training never had."""
    table = Table("sound", *(f"{ratio:.0f} dB" for ratio in RATIOS), title="Recorded")
    report: Report = {}
    for label, name in RECORDED.items():
        clips = [load(one).samples for one in unseen if one.name == name]
        cells = []
        for ratio in RATIOS:
            right = 0
            for number, clip in enumerate(clips):
                _, counts = heard([_on_the_street(clip, ratio, SEEDS + number)])
                right += counts[label] > 0
            report[f"{label} {ratio:.0f} dB"] = [right, len(clips)]
            cells.append(f"{right} of {len(clips)}")
        table.add_row(label, *cells)
    console.print(table)
    return report


def false(kinds: dict[str, Iterator[Audio]]) -> Report:
    """What is around a parked car all day: how often each label began in it."""
    table = Table("what", "hours", "told", title="Nothing to be told")
    report: Report = {}
    for kind, pieces in kinds.items():
        with console.status(kind):
            hours, counts = heard(pieces)
        for label in RECORDED:
            # Footsteps are footsteps.
            if kind == label:
                del counts[label]
        table.add_row(kind, f"{hours:.2f}", str(dict(counts) or 0))
        report[kind] = {"hours": hours, "told": dict(counts)}
    console.print(table)
    return report


def around(
    recordings: Sequence[Recording], names: tuple[str, ...], minutes: int
) -> Iterator[Audio]:
    """Recordings one after the other, as often as it takes, each at another level."""
    rng = np.random.default_rng(SEEDS)
    clips = [load(one).samples for one in recordings if one.name in names]
    left = minutes * 60 * SAMPLE_RATE if clips else 0
    while left > 0:
        for place in rng.permutation(len(clips)):
            clip = clips[place]
            loudness = max(synthesis.loudness(clip), 1e-6)
            level = 10 ** (rng.uniform(-45, -15) / 20)
            loud = np.clip(clip * np.float32(level / loudness), -1, 1)
            fade = np.minimum(1, np.arange(loud.size) / 800, dtype=np.float32)
            piece = np.concatenate(
                [loud * fade * fade[::-1], synthesis.silence(rng.uniform(0.5, 3.0))]
            )
            seconds = piece.size / SAMPLE_RATE
            street = guard_sounds.traffic(seconds + 0.1, int(rng.integers(2**40)))
            left -= piece.size
            yield piece + street[: piece.size] * np.float32(rng.uniform(0.01, 0.3))


def _on_the_street(sound: Audio, ratio: float, seed: int) -> Audio:
    # Anywhere between two windows.
    lead = 4 * SAMPLE_RATE + int(np.random.default_rng(seed).integers(SAMPLE_RATE // 2))
    whole = np.pad(sound, (lead, 3 * SAMPLE_RATE))
    street = guard_sounds.traffic(whole.size / SAMPLE_RATE + 0.1, seed)
    return synthesis.mix(whole, street[: whole.size], ratio)


if __name__ == "__main__":
    typer.run(main)
