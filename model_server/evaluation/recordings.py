"""Recordings with their labels, licences and attributions, read from a manifest."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from model_server.audio import SAMPLE_RATE

ESC50 = (
    "airplane", "breathing", "brushing_teeth", "can_opening", "car_horn", "cat",
    "chainsaw", "chirping_birds", "church_bells", "clapping", "clock_alarm",
    "clock_tick", "coughing", "cow", "crackling_fire", "crickets", "crow",
    "crying_baby", "dog", "door_knock", "door_wood_creaks", "drinking_sipping",
    "engine", "fireworks", "footsteps", "frog", "glass_breaking", "hand_saw",
    "helicopter", "hen", "insects_flying", "keyboard_typing", "laughing",
    "mouse_click", "pig", "pouring_water", "rain", "rooster", "sea_waves", "sheep",
    "siren", "sneezing", "snoring", "thunderstorm", "toilet_flush", "train",
    "vacuum_cleaner", "washing_machine", "water_drops", "wind",
)  # fmt: skip
GUARD = ("scratch", "impact", "engine_start")
"""What a guard listens for, of which there are no recordings: it is generated."""
CLASSES = (*ESC50, "speech", "scream", "music", "beep", *GUARD)
"""What the network tells apart; the catalogue's labels are some of these."""

HELD_OUT = "esc50-fold4"
_HELD_OUT_SPEECH = 4
"""Every so many-th clip of speech stays out of training."""


class DataError(Exception):
    """The recordings are not where or what they should be."""


@dataclass(frozen=True)
class Recording:
    """One row of the manifest. `name` is one of CLASSES or None for anything else."""

    path: Path
    subset: str
    name: str | None
    licence: str
    attribution: str


@dataclass(frozen=True)
class Clip:
    """A recording in memory: float samples in -1 to 1, (samples,), 16 kHz mono."""

    recording: Recording
    samples: npt.NDArray[np.float32]


def read_manifest(data: Path) -> list[Recording]:
    """All recordings of a folder. Raises DataError with what is wrong."""
    manifest = data / "MANIFEST.csv"
    try:
        text = manifest.read_text(encoding="utf-8")
    except OSError as err:
        raise DataError(f"{manifest} cannot be read: {err.strerror}") from err
    rows = list(csv.DictReader(text.splitlines()))
    wanted = {"file", "subset", "label", "licence", "attribution"}
    if not rows or not wanted <= set(rows[0]):
        raise DataError(
            f"{manifest} needs rows with the columns {', '.join(sorted(wanted))}"
        )
    return [
        Recording(
            data / row["file"],
            row["subset"],
            _class(row["subset"], row["label"]),
            row["licence"],
            row["attribution"],
        )
        for row in rows
    ]


def split(recordings: list[Recording]) -> tuple[list[Recording], list[Recording]]:
    """What to learn from, and what stays unseen: ESC-50's fold 4 and a quarter of the speech.

    Recordings of no known class are in neither.
    """
    known = [recording for recording in recordings if recording.name]
    speech = [recording for recording in known if recording.name == "speech"]
    unseen = {id(recording) for recording in speech[::_HELD_OUT_SPEECH]}
    unseen |= {id(recording) for recording in known if recording.subset == HELD_OUT}
    return (
        [recording for recording in known if id(recording) not in unseen],
        [recording for recording in known if id(recording) in unseen],
    )


def load(recording: Recording) -> Clip:
    """Decode one recording. Raises DataError."""
    try:
        samples, rate = soundfile.read(recording.path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as err:
        raise DataError(f"{recording.path} cannot be decoded") from err
    if rate != SAMPLE_RATE:
        raise DataError(f"{recording.path} has {rate} Hz, not {SAMPLE_RATE}")
    return Clip(recording, samples.mean(axis=1))


def _class(subset: str, label: str) -> str | None:
    if subset.startswith(("speech", "commands")):
        return "speech"
    return label if label in CLASSES else None
