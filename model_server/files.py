"""Trying the engines on files: what `transcribe`, `classify`, `describe` do and print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json
from rich.json import JSON
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.decode import read_audio
from model_server.catalogue import SoundLabel
from model_server.engines.base import AudioDescriber, EngineError, SoundClassifier
from model_server.fetch import KnownModel
from model_server.listen.listener import Transcription
from model_server.monitor.monitor import SoundChange, SoundMonitor

BLOCK = SAMPLE_RATE


@dataclass(frozen=True)
class SoundEvent:
    """A sound in a file; times in seconds. `end` is None if it outlasts the file."""

    label: str
    start: float
    end: float | None
    score: float
    threshold: float

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "label": self.label,
            "start": round(self.start, 3),
            "end": None if self.end is None else round(self.end, 3),
            "score": round(self.score, 3),
            "threshold": round(self.threshold, 3),
        }


def find_sounds(
    blocks: Iterable[Pcm],
    classifier: SoundClassifier | None,
    labels: list[SoundLabel],
    progress: Callable[[float], None],
) -> list[SoundEvent]:
    """Events of a whole file, by onset; `progress` gets the seconds done.

    Memory grows with the events, not with the file.
    """
    monitor = SoundMonitor(classifier, labels)
    changes: list[SoundChange] = []
    samples = 0
    for block in blocks:
        for first in range(0, block.size, BLOCK):
            piece = block[first : first + BLOCK]
            changes += monitor.push(piece)
            samples += piece.size
        progress(samples / SAMPLE_RATE)
    # Silence lets the last windows be decided; what they release, the file's end cut.
    changes += monitor.push(np.zeros(10 * SAMPLE_RATE, np.int16))
    return list(_events(changes, samples))


def _events(changes: list[SoundChange], samples: int) -> Iterator[SoundEvent]:
    """Starts joined with their ends."""
    ends = {change.event: change for change in changes if change.state == "end"}
    starts = [change for change in changes if change.state == "start"]
    for start in sorted(starts, key=lambda change: change.onset):
        end = ends.get(start.event)
        release = None if end is None else end.release
        inside = release is not None and release < samples
        yield SoundEvent(
            label=start.label,
            start=start.onset / SAMPLE_RATE,
            end=release / SAMPLE_RATE if release is not None and inside else None,
            score=max(start.score, end.score if end else 0.0),
            threshold=start.threshold,
        )


def clock_time(seconds: float) -> str:
    """Seconds as h:mm:ss.t, hours where there are any."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def sound_table(
    path: Path, events: list[SoundEvent], names: dict[str, SoundLabel]
) -> Table:
    """Events with times and scores."""
    table = Table("start", "end", "sound", "score", "threshold", title=path.name)
    for column in table.columns[3:]:
        column.justify = "right"
    for event in events:
        table.add_row(
            clock_time(event.start),
            "end of file" if event.end is None else clock_time(event.end),
            names[event.label].name,
            f"{event.score:.2f}",
            f"{event.threshold:.2f}",
        )
    return table


def transcription_json(said: Transcription) -> dict[str, Any]:
    """For `--json`."""
    recognition = said.recognition
    return {
        "text": recognition.text,
        "confidence": round(recognition.confidence, 3),
        "rejected": recognition.rejected,
        "start": round(said.start / SAMPLE_RATE, 3),
        "end": round(said.end / SAMPLE_RATE, 3),
        "alternatives": [
            {"text": each.text, "confidence": round(each.confidence, 3)}
            for each in recognition.alternatives
        ],
    }


def transcription_table(path: Path, said: Transcription) -> Table:
    """The text, its confidence and what else it may have been."""
    recognition = said.recognition
    table = Table("text", "confidence", title=path.name)
    table.columns[1].justify = "right"
    if recognition.rejected:
        table.add_row(f"({recognition.rejected})", f"{recognition.confidence:.2f}")
    else:
        table.add_row(f"[bold]{recognition.text}", f"{recognition.confidence:.2f}")
    for each in recognition.alternatives:
        table.add_row(each.text, f"{each.confidence:.2f}")
    return table


def model_table(models: dict[str, KnownModel]) -> Table:
    """What can be fetched."""
    table = Table("model", "size", "licence", "for", "from")
    table.columns[1].justify = "right"
    for name, model in models.items():
        size = f"{model.bytes / 1e9:.2g} GB" if model.bytes >= 1e9 else None
        table.add_row(
            name,
            size or f"{model.bytes / 1e6:.0f} MB",
            model.licence,
            model.about,
            model.repo,
        )
    return table


def describe_file(
    describer: AudioDescriber,
    path: Path,
    instruction: str,
    schema: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What an engine says of a clip, as `POST /v1/describe` answers.

    Raises DecodeError and EngineError.
    """
    pcm = read_audio(path, round(describer.max_seconds * SAMPLE_RATE))
    text = "".join(describer.describe(pcm, instruction, schema))
    said: dict[str, Any] = {"text": text}
    if schema is not None:
        try:
            said = {"json": from_json(text, allow_inf_nan=False)}
        except ValueError:
            raise EngineError(
                "The engine's answer is not JSON: it cannot follow this schema."
            ) from None
    engine = asdict(describer.info)
    return {**said, "engine": engine, "seconds": round(pcm.size / SAMPLE_RATE, 3)}


def description_panel(path: Path, said: dict[str, Any]) -> Panel:
    """The answer, with the engine that gave it."""
    engine = said["engine"]
    answer = (
        JSON.from_data(said["json"])
        if "json" in said
        else Text(said["text"] or "(no answer)")
    )
    by = f"{engine['name']} {engine['version']}"
    return Panel(answer, title=Text(path.name), subtitle=Text(by))
