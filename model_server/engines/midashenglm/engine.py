"""MiDashengLM in this process: one model as recogniser, classifier and describer."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

import torch

from model_server.engines.base import EngineError
from model_server.fetch import locate
from model_server.settings import MiDashengSettings

from .checkpoint import Loaded, load
from .classifier import MiDashengClassifier
from .core import ROW_TOKENS, Core
from .describer import MiDashengDescriber
from .hearing import is_lack_of_memory
from .recognizer import MiDashengRecognizer


class MiDasheng:
    """A model that is loaded once, whichever of its three engines are used."""

    def __init__(self, settings: MiDashengSettings, data_dir: Path) -> None:
        """Load a fetched model or a folder. Raises EngineError."""
        folder = locate(settings.model, data_dir)
        device = _device(settings)
        try:
            self._core = Core(load(folder, device), settings)
        except RuntimeError as error:
            if not is_lack_of_memory(error):
                raise
            raise EngineError(
                f"The memory of {device} is too small for {settings.model}: take a "
                "smaller variant, or set a smaller midashenglm.max_batch."
            ) from None

    @classmethod
    def over(
        cls, loaded: Loaded, settings: MiDashengSettings, row_tokens: int = ROW_TOKENS
    ) -> Self:
        """Serve a model that is loaded already."""
        engine = cls.__new__(cls)
        engine._core = Core(loaded, settings, row_tokens)  # noqa: SLF001 - its own
        return engine

    @cached_property
    def recognizer(self) -> MiDashengRecognizer:
        """Speech in five languages."""
        return MiDashengRecognizer(self._core)

    @cached_property
    def classifier(self) -> MiDashengClassifier:
        """Sound scores; the first use measures silence. Raises EngineError."""
        return MiDashengClassifier(self._core)

    @cached_property
    def describer(self) -> MiDashengDescriber:
        """Captions, answers, JSON."""
        return MiDashengDescriber(self._core)

    def close(self) -> None:
        """End every call under way with an EngineError. May be called again."""
        self._core.close()


def _device(settings: MiDashengSettings) -> torch.device:
    """Where the model is to be. Raises EngineError where that is not."""
    present = torch.cuda.is_available()
    if settings.device == "cuda" and not present:
        raise EngineError(
            "There is no CUDA device: set midashenglm.device to auto or cpu, or "
            "install torch for your GPU."
        )
    wanted = settings.device
    if wanted == "auto":
        wanted = "cuda" if present else "cpu"
    return torch.device(wanted)
