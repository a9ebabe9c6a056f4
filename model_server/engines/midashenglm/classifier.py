"""Sound scores from the big model: the catalogue's labels, weighed and not written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model_server.catalogue import load_catalogue
from model_server.engines.base import Classification
from model_server.engines.prompts import LABELS

from .clips import Clip, Waveform
from .core import Core
from .hearing import Begin, Embed, Score
from .labels import HOP, WINDOW, scores
from .scheduler import Say, Work

_Heard: TypeAlias = tuple[list[float], npt.NDArray[np.float32]]
"""Mean log-probabilities of the labels' names, and the mean of the encoding."""


class MiDashengClassifier:
    """Scores the labels of `sounds.yaml` that a classifier scores."""

    window = WINDOW
    hop = HOP

    def __init__(self, core: Core) -> None:
        """Measure what silence makes of each label. Raises EngineError."""
        self._core = core
        self.info = core.info
        self.parallel = core.parallel
        self.load = core.load
        self.close = core.close
        named = {
            slug: label.name
            for slug, label in load_catalogue().items()
            if label.source == "classifier"
        }
        self.labels = tuple(named)
        self._prompt = core.prompts.instruction(LABELS)
        # With its end, "Dog" is not most of "Dog barking".
        self._names = [
            [*core.prompts.encode(name), core.ends[0]] for name in named.values()
        ]
        self._prior, _ = core.submit(
            "sounds", self._listen(np.zeros(WINDOW, np.float32))
        ).result()

    def classify(self, windows: npt.NDArray[np.float32]) -> Classification:
        """Score windows of float samples in -1 to 1, (batch, 64000). Raises EngineError."""
        if windows.ndim != 2 or windows.shape[1] != WINDOW:
            raise ValueError(f"windows must be (batch, {WINDOW}), not {windows.shape}")
        rows, means = [], []
        for first in range(0, len(windows), self.parallel):
            calls = [
                self._core.submit("sounds", self._listen(window))
                for window in windows[first : first + self.parallel]
            ]
            try:
                for call in calls:
                    found, mean = call.result()
                    rows.append(scores(found, self._prior))
                    means.append(mean)
            finally:
                for call in calls:
                    call.cancel()
        return Classification(np.stack(rows), np.stack(means))

    def _listen(self, window: Waveform) -> Callable[[int, Say], Work[_Heard]]:
        clip = Clip(np.ascontiguousarray(window, np.float32))

        def listen(row: int, say: Say) -> Work[_Heard]:
            yield Begin(row, clip, self._prompt, lasting=False)
            found = yield Score(row, self._names)
            mean = yield Embed(clip)
            return found, mean

        return listen
