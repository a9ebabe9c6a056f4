"""Wake words: microWakeWord's bundled models listen to one stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
import json

import numpy as np
import numpy.typing as npt
from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import EngineInfo

ENGINE = EngineInfo("microwakeword", version("pymicro-wakeword"))
STEP = SAMPLE_RATE // 100
"""Samples from one feature to the next."""
REFRACTORY = 2 * SAMPLE_RATE
"""Samples in which a wake word is not found again: its score stays high for a while."""


@dataclass(frozen=True)
class WakeWord:
    """A model that can be listened for: what wakes it, and where it comes from."""

    name: str
    phrase: str
    languages: tuple[str, ...]
    author: str
    website: str
    version: str


@dataclass(frozen=True)
class Wake:
    """A wake word was heard: its model was sure at sample `at`."""

    name: str
    at: int


@cache
def wake_words() -> dict[str, WakeWord]:
    """The bundled models by name, as their own descriptions have it."""
    found = {}
    for model in Model:
        path = files("pymicro_wakeword") / "models" / f"{model.value}.json"
        described = json.loads(path.read_text("utf-8"))
        found[model.value] = WakeWord(
            name=model.value,
            phrase=described["wake_word"],
            languages=tuple(described["trained_languages"]),
            author=described["author"],
            website=described["website"],
            version=str(described["version"]),
        )
    return found


class WakeDetector:
    """Listens for some of `wake_words` in one stream; what it holds never grows.

    It may be used from any thread, but from one at a time. There is no `close`: the
    models go with the last reference, which a thread that still listens has.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Load the models of these names, about a millisecond each."""
        self._features = MicroWakeWordFeatures()
        self._models = [MicroWakeWord.from_builtin(Model(name)) for name in names]
        self._deaf_until: dict[str, int] = {}
        self._position = 0

    def push(self, pcm: Pcm) -> list[Wake]:
        """Take samples, (samples,); return the wake words that they complete."""
        heard = []
        for first in range(0, pcm.size, STEP):
            step = pcm[first : first + STEP]
            self._position += step.size
            for features in self._features.process_streaming(_bytes(step)):
                heard += self._score(features)
        return heard

    def _score(self, features: npt.NDArray[np.float64]) -> list[Wake]:
        """The models that are sure with one more step, (1, 1, bands)."""
        heard = []
        for model in self._models:
            sure = model.process_streaming(features)
            if sure and self._position >= self._deaf_until.get(model.id, 0):
                self._deaf_until[model.id] = self._position + REFRACTORY
                heard.append(Wake(model.id, self._position))
        return heard


def _bytes(pcm: Pcm) -> bytes:
    return pcm.astype("<i2").tobytes()
