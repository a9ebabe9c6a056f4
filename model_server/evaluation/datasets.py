"""Labelled clips of any folder: ESC-50's layout, a MANIFEST.csv, or a CSV file of one's own."""

from __future__ import annotations

from collections.abc import Sequence
import csv
from dataclasses import dataclass, replace
from pathlib import Path
import re

import numpy as np

from model_server.audio import SAMPLE_RATE
from model_server.audio.decode import DecodeError, read_audio
from model_server.engines.embedded.sounds import SLUGS
from model_server.evaluation.recordings import DataError, read_manifest, split
from model_server.evaluation.synthesis import Audio

UNSEEN = "unseen"
SEEN = "seen"
_LONGEST_S = 600

_ESC50_NAME = re.compile(r"\d-(\d+)-[A-Z]-\d+")
_FREESOUND = re.compile(r"freesound\.org/.*?(\d+)/?$")


@dataclass(frozen=True)
class Item:
    """A clip on disk. `label` is the catalogue's slug where it has one, else the data's own word.

    `source` is the recording that it was cut from: clips of one source belong on one side.
    """

    path: Path
    label: str
    source: str
    fold: str = ""
    split: str = ""


@dataclass(frozen=True)
class Sample:
    """A clip in memory, (samples,), float in -1 to 1, 16 kHz mono."""

    item: Item
    audio: Audio


def read_dataset(path: Path) -> list[Item]:
    """The clips of a folder or a CSV file. Raises DataError with what to give instead."""
    if path.is_file():
        items = _table(path)
    elif (path / "meta" / "esc50.csv").is_file():
        items = _esc50(path)
    elif (path / "MANIFEST.csv").is_file():
        items = _manifest(path)
    else:
        raise DataError(
            f"{path} is no dataset: give a folder with meta/esc50.csv and audio/, a "
            "folder with MANIFEST.csv, or a CSV file with the columns file and label"
        )
    if not items:
        raise DataError(f"{path} lists no clips")
    return items


def choose(
    items: Sequence[Item], folds: Sequence[str] = (), side: str | None = None
) -> list[Item]:
    """The clips of these folds and of one side of the split; without either, all.

    Raises DataError if there are none, or if a source is also among those left out:
    then what is measured was not unseen.
    """
    chosen = [
        one
        for one in items
        if (not folds or one.fold in folds) and side in (None, one.split)
    ]
    if not chosen:
        known = sorted({one.fold for one in items} | {one.split for one in items})
        raise DataError(f"no clip is there; folds and splits are {', '.join(known)}")
    kept = {id(one) for one in chosen}
    inside = {one.source for one in chosen}
    both = sorted({one.source for one in items if id(one) not in kept} & inside)
    if both:
        raise DataError(
            f"{len(both)} sources are on both sides of the split, the first is {both[0]}"
        )
    return chosen


def load(item: Item) -> Sample:
    """Decode a clip. Raises DataError."""
    try:
        pcm = read_audio(item.path, _LONGEST_S * SAMPLE_RATE)
    except DecodeError as err:
        raise DataError(f"{item.path}: {err}") from err
    return Sample(item, pcm.astype(np.float32) / np.float32(32768))


def _esc50(folder: Path) -> list[Item]:
    rows = _rows(folder / "meta" / "esc50.csv", {"filename", "fold", "category"})
    return [
        Item(
            folder / "audio" / row["filename"],
            _slug(row["category"]),
            row.get("src_file") or _source(row["filename"]),
            row["fold"],
        )
        for row in rows
    ]


def _manifest(folder: Path) -> list[Item]:
    """Our own layout; its sides are what the shipped weights learnt from and what not."""
    recordings = read_manifest(folder)
    rows = _rows(folder / "MANIFEST.csv", {"file", "label"})
    learn, unseen = split(recordings)
    sides = {id(one): SEEN for one in learn} | {id(one): UNSEEN for one in unseen}
    return [
        Item(
            one.path,
            _slug(one.name or row["label"]),
            _source(one.path.name, one.attribution),
            one.subset.removeprefix("esc50-fold"),
            sides.get(id(one), ""),
        )
        for one, row in zip(recordings, rows, strict=True)
    ]


def _table(file: Path) -> list[Item]:
    rows = _rows(file, {"file", "label"})
    items = []
    for row in rows:
        item = Item(
            file.parent / row["file"],
            _slug(row["label"]),
            _source(Path(row["file"]).name),
            row.get("fold") or "",
            row.get("split") or "",
        )
        given = row.get("source")
        items.append(replace(item, source=given) if given else item)
    return items


def _rows(file: Path, wanted: set[str]) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{file} cannot be read as CSV") from err
    if rows and not wanted <= set(rows[0]):
        raise DataError(f"{file} needs the columns {', '.join(sorted(wanted))}")
    return rows


def _slug(label: str) -> str:
    return SLUGS.get(label, label)


def _source(name: str, attribution: str = "") -> str:
    """Freesound's number of the recording where it can be told, else the file itself."""
    found = _ESC50_NAME.match(name) or _FREESOUND.search(attribution)
    return found.group(1) if found else name
