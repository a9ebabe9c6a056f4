"""What the score log takes on the disk, and how long a replay of a week takes.

python -m benchmarks.score_log
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
import tempfile
import time
from typing import Annotated

import numpy as np
from rich.console import Console
from rich.table import Table
import typer

from model_server.catalogue import load_catalogue
from model_server.engines.embedded.sounds import EmbeddedClassifier
from model_server.evaluation import sounds as evaluation, synthesis
from model_server.monitor.decider import Decider, quantise
from model_server.monitor.journal import Facts
from model_server.monitor.replay import Question, replay
from model_server.monitor.rules import Tuning
from model_server.monitor.score_file import open_score_file
from model_server.monitor.score_log import FILE, ScoreLog
from model_server.monitor.timeline import Timeline

WEEK_WINDOWS = 7 * 24 * 3600 * 2
T0 = datetime(2026, 11, 22, tzinfo=UTC)


def main(
    minutes: Annotated[int, typer.Option(help="Of each kind of audio.")] = 4,
) -> None:
    """Score music, noise and a household, and write a week of that over and over."""
    classifier = EmbeddedClassifier()
    made = [
        *evaluation.songs(minutes),
        *evaluation.noises(minutes),
        synthesis.household(minutes * 60.0, seed=1),
    ]
    audio = np.concatenate(made)
    hop = classifier.hop
    windows = np.lib.stride_tricks.sliding_window_view(audio, classifier.window)[::hop]
    rows = [quantise(classifier.classify(one[None]).scores[0]) for one in windows]
    catalogue = load_catalogue()
    rules = {
        label.slug: Tuning().rule(label)
        for label in catalogue.values()
        if label.source == "classifier"
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = ScoreLog(folder, days=30, max_bytes=1 << 32)
        facts = Facts(
            "one", "hall", classifier.info, classifier.labels, classifier.window
        )
        journal = log.journal(facts, lambda: Timeline(T0))
        decider = Decider(classifier.labels, rules)
        began = time.perf_counter()
        for number in range(WEEK_WINDOWS):
            row = rows[number % len(rows)]
            journal.scored((number + 1) * hop, row, decider, Tuning())
            # Nobody waits for the disk, and a week comes faster than it writes.
            if number % 3600 == 0:
                log.flush(600)
        log.close(600)
        written = time.perf_counter() - began
        size = sum(each.stat().st_size for each in folder.glob(f"{FILE}*"))
        table = Table("what", "figure", title="Score log, one microphone, one week")
        table.add_row("labels, windows", f"{len(rules)}, {WEEK_WINDOWS}")
        table.add_row("MB on the disk", f"{size / 1e6:.1f}")
        table.add_row("bytes per window", f"{size / WEEK_WINDOWS:.1f}")
        table.add_row("µs per window to write", f"{written / WEEK_WINDOWS * 1e6:.0f}")
        for label in (None, "glass_break"):
            since = T0 - timedelta(days=1)
            began = time.perf_counter()
            with open_score_file(folder) as file:
                told = replay(file, Question(since, label=label), catalogue)
            took = time.perf_counter() - began
            table.add_row(
                f"s to replay {label or 'all labels'}",
                f"{took:.1f} ({len(told.events)} events)",
            )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
