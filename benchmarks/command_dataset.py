"""Write a folder for `evaluate commands`: recordings and voices, in a home of 60 entities.

`python -m benchmarks.command_dataset FOLDER`, then `python -m model_server evaluate
commands FOLDER --snr 20 --snr 12`. What Home Assistant reads in a clip's words is what it
means; recordings are read from ../shared/data (or EARSHOT_DATA).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
import json
from pathlib import Path
from typing import Annotated, Any

import soundfile
import typer

from benchmarks.commands import Clip, recorded, synthesised
from benchmarks.spoken import VOICES, reading, say
from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Vocabulary
from model_server.evaluation.commands import CLIPS, HOME
from model_server.evaluation.reading import Reading
from tests.server.homes import family_home


def body(home: Vocabulary) -> dict[str, Any]:
    """Return a home as `PUT /v1/vocabulary` takes it."""
    places = {
        kind: [
            {"id": one.id, "names": one.names}
            | ({"floor": one.floor} if one.floor else {})
            for one in some
        ]
        for kind, some in (("areas", home.areas), ("floors", home.floors))
    }
    entities = [
        {"id": one.id, "domain": one.domain, "names": one.names, "area": one.area}
        for one in home.entities
    ]
    return {
        "language": home.language,
        "entities": entities,
        **places,
        "items": home.items,
        "media": home.media,
    }


def read_aloud(minutes: float) -> Iterator[Clip]:
    """Yield phrases of our pages, read aloud by one voice after the other."""
    left = round(minutes * 60 * SAMPLE_RATE)
    for phrase, voice in zip(reading(), cycle(VOICES), strict=False):
        if left <= 0:
            return
        pcm = say(phrase, voice)
        yield Clip("reading", voice, None, pcm)
        left -= len(pcm)


def main(
    folder: Annotated[Path, typer.Argument(help="Where to write; it is made.")],
    every: Annotated[
        int, typer.Option(help="Take one clip in so many, for a quick look.")
    ] = 1,
    minutes: Annotated[
        float, typer.Option("--reading", help="Minutes of pages read aloud, too.")
    ] = 0.0,
) -> None:
    """Write clips, their meanings and the home."""
    home = family_home()
    reading = Reading(home, area=None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HOME).write_text(json.dumps(body(home), indent=1), encoding="utf-8")
    rows = []
    clips = [*recorded(reading), *synthesised()][::every]
    clips += read_aloud(minutes)
    for number, clip in enumerate(clips):
        meaning = reading.read(clip.label) if clip.label else None
        if meaning is None and (clip.label or clip.subset == "not: commands-tts"):
            # It means something only where it is said: "turn on the lights".
            continue
        file = f"{number:04d}.flac"
        soundfile.write(folder / file, clip.pcm, 16_000)
        row: dict[str, Any] = {"file": file, "speaker": clip.subset}
        if meaning is not None:
            row |= {"text": clip.label, "intent": meaning[0], "slots": dict(meaning[1])}
        rows.append(row)
    (folder / CLIPS).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"{len(rows)} clips in {folder}")


if __name__ == "__main__":
    typer.run(main)
