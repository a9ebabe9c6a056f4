"""Confusion table, precision-recall curves and commands over noise as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_server.evaluation.commands import QUIET_DB, Figures
from model_server.evaluation.report import Heard, precision_recall
from model_server.evaluation.scoring import firing
from model_server.monitor.detector import Rule

CONFUSION = "confusion.png"
CURVES = "precision-recall.png"
NOISE = "commands-over-noise.png"


class PlotsMissingError(Exception):
    """Nothing here can draw; the message says what to run."""


def figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches, that needs no screen. Raises PlotsMissingError."""
    try:
        module = import_module("matplotlib.figure")
    except ImportError as err:
        raise PlotsMissingError(
            "plots take the package matplotlib: run `scripts/setup --training`"
        ) from err
    return module.Figure(figsize=(width, height), layout="constrained")


def draw_confusion(
    folder: Path, rows: list[str], columns: list[str], counts: npt.NDArray[np.int64]
) -> Path:
    """Shares of each row's clips that gave each column's event."""
    drawn = figure(2 + 0.3 * len(columns), 2 + 0.22 * len(rows))
    axes = drawn.add_subplot()
    axes.imshow(counts / np.maximum(1, counts.max(axis=1, keepdims=True)), cmap="Blues")
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("event")
    axes.set_ylabel("clip")
    for row, column in np.argwhere(counts):
        axes.text(
            column, row, str(counts[row, column]), ha="center", va="center", fontsize=7
        )
    path = folder / CONFUSION
    drawn.savefig(path, dpi=120)
    return path


def draw_curves(
    folder: Path, heard: Sequence[Heard], columns: Sequence[tuple[str, int, Rule]]
) -> Path:
    """Precision over recall of each label that has clips, a small plot each."""
    known = {one.label for one in heard}
    shown = [one for one in columns if one[0] in known]
    wide = 4
    tall = max(1, -(-len(shown) // wide))
    drawn = figure(3 * wide, 2.6 * tall)
    for number, (label, place, rule) in enumerate(shown):
        best = np.array(
            [firing(one.track.scores[:, place], rule.k, rule.n) for one in heard]
        )
        mine = np.array([one.label == label for one in heard])
        precision, recall = precision_recall(best, mine)
        axes = drawn.add_subplot(tall, wide, number + 1)
        axes.step(recall, precision, where="post")
        axes.set_title(label)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.05)
    path = folder / CURVES
    drawn.savefig(path, dpi=120)
    return path


def draw_noise(folder: Path, rows: Sequence[Figures]) -> Path:
    """Shares of commands understood rightly and wrongly over the signal-to-noise ratio."""
    ordered = sorted(rows, key=_db)
    drawn = figure(5, 3.5)
    axes = drawn.add_subplot()
    decibels = [_db(row) for row in ordered]
    axes.plot(decibels, [row.acceptance for row in ordered], "o-", label="right")
    wrong = [row.wrong / row.clips for row in ordered]
    axes.plot(decibels, wrong, "s--", label="wrong")
    axes.set_xlabel(f"dB over the household ({QUIET_DB:g}: quiet)")
    axes.set_ylabel("share of commands")
    axes.set_ylim(0, 1.02)
    axes.legend()
    path = folder / NOISE
    drawn.savefig(path, dpi=120)
    return path


def _db(row: Figures) -> float:
    return QUIET_DB if row.snr is None else row.snr
