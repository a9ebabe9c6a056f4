"""An optional teacher: what YAMNet (Apache-2.0) makes of an example is learnt along with its labels."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

EMBEDDING = 1024
_WINDOW = 15_600
_EMBEDDING_TENSOR = "tower0/network/layer28/reduce_mean"


class TeacherError(Exception):
    """The teacher cannot be used."""


class Yamnet:
    """YAMNet's embedding of a window; the file is the quantised TensorFlow Lite model."""

    def __init__(self, model: Path) -> None:
        """Load the model. Raises TeacherError with what to do."""
        try:
            runtime = import_module("ai_edge_litert.interpreter")
        except ImportError as err:
            raise TeacherError("a teacher needs the package ai-edge-litert") from err
        if not model.is_file():
            raise TeacherError(f"{model} is no file")
        self._net: Any = runtime.Interpreter(
            str(model), num_threads=1, experimental_preserve_all_tensors=True
        )
        self._net.allocate_tensors()
        details = self._net.get_tensor_details()
        found = [one for one in details if one["name"] == _EMBEDDING_TENSOR]
        if not found:
            raise TeacherError(f"{model} is not the YAMNet this was written for")
        self._tensor = found[0]["index"]
        self._scale, self._zero = found[0]["quantization"]

    def embed(self, audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
        """Mean embedding, (1024,), of a window of at least 0.975 s, at a level it likes."""
        peak = float(np.max(np.abs(audio)))
        level = audio * (0.5 / peak) if peak > 1e-4 else audio
        count = max(1, round(audio.size / _WINDOW))
        total = np.zeros(EMBEDDING)
        for start in np.linspace(0, audio.size - _WINDOW, count).astype(int):
            self._net.set_tensor(0, level[start : start + _WINDOW].astype(np.float32))
            self._net.invoke()
            raw = self._net.get_tensor(self._tensor).ravel().astype(np.float64)
            total += (raw - self._zero) * self._scale
        return np.asarray(total / count, dtype=np.float16)
