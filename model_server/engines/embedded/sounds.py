"""The embedded sound engine: a small network, run by onnxruntime on one core."""

from __future__ import annotations

from importlib import resources
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from model_server.audio import SAMPLE_RATE
from model_server.audio.mel import log_mel
from model_server.engines.base import Classification, EngineInfo

VERSION = "2"

# The classes that the network learnt and the catalogue has; it scores some fifty
# others, so that they are not taken for these.
SLUGS = {
    "glass_breaking": "glass_break",
    "siren": "siren",
    "crackling_fire": "fire_crackling",
    "door_knock": "knock",
    "footsteps": "footsteps",
    "crying_baby": "baby_cry",
    "speech": "speaking",
    "laughing": "laugh",
    "coughing": "cough",
    "sneezing": "sneeze",
    "snoring": "snore",
    "clapping": "clapping",
    "dog": "bark",
    "cat": "meow",
    "clock_alarm": "alarm_clock",
    "toilet_flush": "toilet_flush",
    "vacuum_cleaner": "vacuum_cleaner",
    "washing_machine": "washing_machine",
    "pouring_water": "running_water",
    "car_horn": "car_horn",
    "thunderstorm": "thunder",
    "fireworks": "fireworks",
    "rain": "rain",
    "scratch": "scratch",
    "impact": "impact",
    "engine_start": "engine_start",
}


class WeightsError(Exception):
    """The weights are not what this engine can run."""


class EmbeddedClassifier:
    """Scores windows of 2 s, every 0.5 s."""

    parallel = 1

    def __init__(self, weights: Path | None = None) -> None:
        """Load the packaged weights, or others. Raises WeightsError."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        source = (
            weights or resources.files("model_server.engines.embedded") / "sounds.onnx"
        )
        try:
            self._net = onnxruntime.InferenceSession(
                source.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            told = self._net.get_modelmeta().custom_metadata_map
            classes: list[str] = json.loads(told["classes"])
            self.window = int(told["window"])
            rate = int(told["sample_rate"])
        except Exception as err:
            # onnxruntime raises a class of its own for every way to be broken.
            raise WeightsError(f"{source} is not this engine's weights") from err
        if rate != SAMPLE_RATE:
            raise WeightsError(f"{source} is for {rate} Hz, not {SAMPLE_RATE}")
        self.classes = tuple(classes)
        self._places = [place for place, name in enumerate(classes) if name in SLUGS]
        self.labels = tuple(SLUGS[classes[place]] for place in self._places)
        self.hop = SAMPLE_RATE // 2
        self.info = EngineInfo("earshot-embedded-sounds", VERSION)

    def classify(self, windows: npt.NDArray[np.float32]) -> Classification:
        """Score windows of float samples in -1 to 1, (batch, 32000)."""
        scores, embeddings = self._run(windows)
        return Classification(np.ascontiguousarray(scores[:, self._places]), embeddings)

    def classify_all(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Scores of every class that the network knows, (batch, classes)."""
        return self._run(windows)[0]

    def _run(
        self, windows: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if windows.ndim != 2 or windows.shape[1] != self.window:
            raise ValueError(
                f"windows must be (batch, {self.window}), not {windows.shape}"
            )
        scores, embeddings = self._net.run(
            ["scores", "embeddings"], {"log_mel": log_mel(windows)}
        )
        return scores, embeddings
