"""CED: sounds by a classifier that was trained on AudioSet, once it was fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import load_catalogue
from model_server.engines.base import Classification, EngineError, EngineInfo
from model_server.engines.midashenglm.config import (
    CheckpointError,
    read_encoder_config,
    read_json,
)
from model_server.engines.midashenglm.encoder import Tagger
from model_server.engines.midashenglm.frontend import FrontEnd
from model_server.engines.midashenglm.weights import Tensors, fill
from model_server.fetch import locate
from model_server.fetched import check_sizes, version
from model_server.settings import CedSettings

# Of the embedded classifier, whose catalogue it shares: `k` of `n` windows are counted.
# CED takes any length up to 10 s; a longer window would thin out a short sound, since
# it averages over time, and tell of it later.
WINDOW_S: Final = 2.0
HOP_S: Final = 0.5

AT_ONCE: Final = 32
"""Windows in one forward pass; more are scored in turn."""


class CedClassifier:
    """Scores windows of 2 s, every 0.5 s, by the classes of AudioSet."""

    parallel = 1

    def __init__(self, settings: CedSettings, data_dir: Path) -> None:
        """Load a fetched checkpoint, or one in a folder. Raises EngineError."""
        device = choose_device(settings.device)
        folder = locate(settings.model, data_dir)
        self._tagger = load_tagger(folder, device)
        self._front_end = FrontEnd(self._tagger.encoder.config, device)
        self._device = device
        places = class_places(folder, self._tagger.encoder.config.outputdim)
        self._places = {
            slug: _mapped(folder, slug, label.audioset, places)
            for slug, label in load_catalogue().items()
            if label.source == "classifier" and label.audioset
        }
        self.labels = tuple(self._places)
        self.window = round(WINDOW_S * SAMPLE_RATE)
        self.hop = round(HOP_S * SAMPLE_RATE)
        self.info = EngineInfo("ced", version(folder))

    def classify(self, windows: npt.NDArray[np.float32]) -> Classification:
        """Score windows of float samples in -1 to 1, (batch, 32000)."""
        if windows.ndim != 2 or windows.shape[1] != self.window:
            raise ValueError(
                f"windows must be (batch, {self.window}), not {windows.shape}"
            )
        dim = self._tagger.encoder.config.embed_dim
        scores = np.zeros((len(windows), len(self.labels)), np.float32)
        embeddings = np.zeros((len(windows), dim), np.float32)
        for first in range(0, len(windows), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            classes, embeddings[part] = self._run(windows[part])
            for column, places in enumerate(self._places.values()):
                scores[part, column] = classes[:, places].max(axis=1)
        return Classification(scores, embeddings)

    def _run(
        self, windows: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Scores of every class, (batch, classes), and embeddings, (batch, dim)."""
        try:
            with torch.inference_mode():
                samples = torch.tensor(windows, device=self._device)
                mels = torch.stack([self._front_end(each) for each in samples])
                scores, embeddings = self._tagger(mels)
                return scores.cpu().numpy(), embeddings.cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise EngineError(
                "The GPU has no memory left for CED: set ced.device to cpu"
            ) from error


def choose_device(wanted: str) -> torch.device:
    """The device of a setting; auto is CUDA where there is one. Raises EngineError."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise EngineError(
            "ced.device is cuda, but torch finds no GPU: set it to auto or cpu"
        )
    return torch.device("cuda" if wanted != "cpu" and available else "cpu")


def load_tagger(folder: Path, device: torch.device) -> Tagger:
    """CED from a folder, in float32; the network is never used. Raises EngineError."""
    check_sizes(folder)
    config = read_encoder_config(folder)
    tensors = Tensors.open(folder)
    with torch.device("meta"):
        tagger = Tagger(config)
    fill(tagger, tensors, device, lambda _: torch.float32, rename=_official)
    return tagger


def _official(name: str) -> str:
    """The encoder's tensors have a prefix in some checkpoints, and none in others."""
    if name.startswith(("encoder.", "outputlayer.")):
        return name
    return f"encoder.{name}"


def class_places(folder: Path, classes: int) -> dict[str, int]:
    """Class names to their places among the scores, as config.json has them.

    Raises CheckpointError without them.
    """
    names: Any = read_json(folder / "config.json").get("id2label")
    if not isinstance(names, dict) or not all(
        isinstance(name, str) and place.isdecimal() for place, name in names.items()
    ):
        raise CheckpointError(
            f"{folder / 'config.json'}: id2label does not name the classes: "
            "take one of the published CED checkpoints"
        )
    if sorted(map(int, names)) != list(range(classes)):
        raise CheckpointError(
            f"{folder / 'config.json'}: id2label has {len(names)} classes, "
            f"and outputdim is {classes}"
        )
    return {name: int(place) for place, name in names.items()}


def _mapped(
    folder: Path, slug: str, wanted: tuple[str, ...], places: Mapping[str, int]
) -> list[int]:
    """Where the classes of a label are. Raises CheckpointError for one that is not.

    The published checkpoints have their names cut at the first comma.
    """
    found = []
    for name in wanted:
        place = places.get(name, places.get(name.partition(",")[0]))
        if place is None:
            raise CheckpointError(
                f"{folder / 'config.json'}: id2label has no class {name!r}, which the "
                f"label {slug} takes: this is no classifier of AudioSet"
            )
        found.append(place)
    return found
