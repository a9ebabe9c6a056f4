"""What `replay` prints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from rich.table import Table

from model_server.api.replay import ReplayNearMiss, ReplayResult
from model_server.catalogue import SoundLabel

MISSED: Final = {
    "on_threshold": "under the threshold",
    "k_of_n": "too few windows",
    "cooldown": "cooling down",
}


def event_table(result: ReplayResult, names: Mapping[str, SoundLabel]) -> Table:
    """What was reported, or would have been."""
    table = Table(
        "start", "end", "microphone", "sound", "score", "threshold", title="Events"
    )
    for column in table.columns[4:]:
        column.justify = "right"
    for event in result.events:
        table.add_row(
            clock(event.start),
            "?" if event.end is None else clock(event.end),
            event.microphone,
            _sound(event.label, names, watched=event.watched)
            + (f", sustained at {clock(event.sustained)}" if event.sustained else ""),
            f"{event.score:.2f}",
            f"{event.threshold:.2f}",
        )
    return table


def near_table(result: ReplayResult, names: Mapping[str, SoundLabel]) -> Table:
    """What came close."""
    table = Table(
        "time",
        "microphone",
        "sound",
        "best",
        "threshold",
        "windows",
        "why not",
        title="Near misses",
    )
    for near in result.near_misses:
        table.add_row(
            clock(near.time),
            near.microphone,
            _sound(near.label, names, watched=near.watched),
            f"{near.score:.2f}",
            f"{near.threshold:.2f}",
            " ".join(f"{score:.2f}" for score in near.windows),
            _why(near),
        )
    return table


def clock(time: datetime) -> str:
    """A time as this machine's clock shows it."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _sound(slug: str, names: Mapping[str, SoundLabel], *, watched: bool) -> str:
    name = names[slug].name if slug in names else slug
    return name if watched else f"{name} (not listened for)"


def _why(near: ReplayNearMiss) -> str:
    why = MISSED[near.missed]
    return f"{why}: {near.over}, needs {near.k} of {near.n}" if near.over else why
