"""Write a folder for `evaluate wake`: every wake word by every voice of Debian.

`python -m benchmarks.wake_dataset FOLDER`, then `python -m model_server evaluate wake
FOLDER/wake.csv`. Talk, and clips that are no speech, are named where ../shared/data (or
EARSHOT_DATA) has them; they stay there.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import soundfile
import typer

from benchmarks.spoken import VOICES, say
from model_server.evaluation.datasets import read_dataset
from model_server.listen.wake import wake_words
from tests.server.recordings import DATA

TABLE = "wake.csv"


def main(
    folder: Annotated[Path, typer.Argument(help="Where to write; it is made.")],
) -> None:
    """Write the clips and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for word in wake_words().values():
        for voice in VOICES:
            file = f"{word.name}-{voice.replace(':', '-')}.flac"
            soundfile.write(folder / file, say(word.phrase.lower(), voice), 16_000)
            rows.append((file, word.name))
    if DATA.is_dir():
        rows += [(str(item.path.resolve()), item.label) for item in read_dataset(DATA)]
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file_:
        writer = csv.writer(file_)
        writer.writerow(["file", "label"])
        writer.writerows(rows)
    print(f"{len(rows)} clips in {folder / TABLE}")


if __name__ == "__main__":
    typer.run(main)
