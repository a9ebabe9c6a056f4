"""The peer: YAMNet behind Frigate's logic, on the same audio as ours."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from model_server.engines.embedded.sounds import SLUGS
from model_server.evaluation.recordings import Clip
from model_server.evaluation.sounds import embed
from model_server.evaluation.synthesis import Audio, pcm

_WINDOW = 15_600
_LOUD = 500
# The display names of AudioSet that mean our label.
CLASSES = {
    "glass_break": ("Shatter", "Glass"),
    "siren": (
        "Siren",
        "Civil defense siren",
        "Police car (siren)",
        "Ambulance (siren)",
        "Fire engine, fire truck (siren)",
    ),
    "baby_cry": ("Baby cry, infant cry",),
    "bark": ("Bark", "Dog"),
    "meow": ("Meow", "Cat"),
    "car_horn": ("Vehicle horn, car horn, honking",),
    "knock": ("Knock",),
    "footsteps": ("Walk, footsteps",),
    "cough": ("Cough",),
    "laugh": ("Laughter", "Belly laugh", "Giggle", "Chuckle, chortle", "Baby laughter"),
    "sneeze": ("Sneeze",),
    "snore": ("Snoring",),
    "clapping": ("Clapping",),
    "alarm_clock": ("Alarm clock",),
}


class PeerMissingError(Exception):
    """The peer's package or model is not here."""


class Peer:
    """Windows of 0.975 s without overlap, loud enough, any one of which fires."""

    def __init__(self, folder: Path) -> None:
        """Load `yamnet.tflite`. Raises PeerMissingError."""
        model = folder / "yamnet.tflite"
        names = folder / "yamnet_class_map.csv"
        try:
            runtime = import_module("ai_edge_litert.interpreter")
        except ImportError as err:
            raise PeerMissingError(
                "the package ai-edge-litert is not installed"
            ) from err
        if not model.is_file() or not names.is_file():
            raise PeerMissingError(
                f"{folder} has no yamnet.tflite and yamnet_class_map.csv"
            )
        self._net: Any = runtime.Interpreter(str(model), num_threads=1)
        self._net.allocate_tensors()
        self._output = self._net.get_output_details()[0]["index"]
        displayed = [
            line.split(",", 2)[2].strip('"')
            for line in names.read_text(encoding="utf-8").splitlines()[1:]
        ]
        self._places = {
            slug: [displayed.index(name) for name in wanted]
            for slug, wanted in CLASSES.items()
        }
        self.labels = tuple(self._places)
        self._kept: dict[tuple[str, float], dict[str, float]] = {}

    def best(self, audio: Audio) -> dict[str, float]:
        """The highest score of each label in any window that is loud enough."""
        best = dict.fromkeys(self._places, 0.0)
        loud = pcm(audio).astype(np.float64)
        for start in range(0, audio.size - _WINDOW + 1, _WINDOW):
            if np.sqrt(np.mean(loud[start : start + _WINDOW] ** 2)) < _LOUD:
                continue
            self._net.set_tensor(0, audio[start : start + _WINDOW])
            self._net.invoke()
            scores = self._net.get_tensor(self._output)[0]
            for slug, places in self._places.items():
                best[slug] = max(best[slug], float(scores[places].max()))
        return best

    def found(
        self, slug: str, clips: list[Clip], snr_db: float, threshold: float
    ) -> dict[str, int]:
        """Clips of a label that fired, and others that did, as our own are counted."""
        counts = {"clips": 0, "found": 0, "others": 0, "wrong": 0}
        for seed, clip in enumerate(clips):
            key = (str(clip.recording.path), snr_db)
            if key not in self._kept:
                self._kept[key] = self.best(embed(clip.samples, snr_db, seed))
            fired = self._kept[key][slug] >= threshold
            mine = SLUGS.get(clip.recording.name or "") == slug
            counts["clips" if mine else "others"] += 1
            counts["found" if mine else "wrong"] += fired
        return counts

    def events(self, audio: Audio, threshold: float) -> dict[str, int]:
        """Seconds-long stretches of negatives that fired, by label, a minute at a time."""
        counts: dict[str, int] = {}
        for start in range(0, audio.size, 60 * 16_000):
            best = self.best(audio[start : start + 60 * 16_000])
            for slug, score in best.items():
                if score >= threshold:
                    counts[slug] = counts.get(slug, 0) + 1
        return counts
