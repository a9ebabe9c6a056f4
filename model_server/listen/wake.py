"""Wake words: microWakeWord's bundled models listen to one stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class WakeScore:
    """How likely a wake word ended at sample `at`, 0 to 1."""

    name: str
    at: int
    score: float


class WakeScores:
    """Scores some of `wake_words` in one stream; what it holds never grows.

    It may be used from any thread, but from one at a time. There is no `close`: the
    models go with the last reference, which a thread that still listens has.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Load the models of these names, about a millisecond each."""
        self._features = MicroWakeWordFeatures()
        self._models = [MicroWakeWord.from_builtin(Model(name)) for name in names]
        self._position = 0

    @property
    def cutoffs(self) -> dict[str, float]:
        """The score above which each model is sure, by its own description."""
        return {model.id: model.probability_cutoff for model in self._models}

    def push(self, pcm: Pcm) -> Iterator[WakeScore]:
        """Take samples, (samples,); score every step, each model in turn."""
        for first in range(0, pcm.size, STEP):
            step = pcm[first : first + STEP]
            self._position += step.size
            for features in self._features.process_streaming(_bytes(step)):
                yield from self._score(features)

    def _score(self, features: npt.NDArray[np.float64]) -> Iterator[WakeScore]:
        """What the models make of one more step, (1, 1, bands)."""
        for model in self._models:
            score = model.process_streaming_prob(features)
            if score is not None:
                yield WakeScore(model.id, self._position, score)


class WakeDecision:
    """Tells which scores wake, each word by its own cutoff."""

    def __init__(self, cutoffs: Mapping[str, float]) -> None:
        """A word wakes with a score above its cutoff."""
        self._cutoffs = cutoffs
        self._deaf_until: dict[str, int] = {}

    def wakes(self, one: WakeScore) -> bool:
        """Take the next score of a stream."""
        if one.score <= self._cutoffs[one.name]:
            return False
        if one.at < self._deaf_until.get(one.name, 0):
            return False
        self._deaf_until[one.name] = one.at + REFRACTORY
        return True


class WakeDetector:
    """Listens for some of `wake_words` in one stream, from one thread at a time."""

    def __init__(self, names: Sequence[str]) -> None:
        """Load the models of these names, about a millisecond each."""
        self._scores = WakeScores(names)
        self._decision = WakeDecision(self._scores.cutoffs)

    def push(self, pcm: Pcm) -> list[Wake]:
        """Take samples, (samples,); return the wake words that they complete."""
        return [
            Wake(one.name, one.at)
            for one in self._scores.push(pcm)
            if self._decision.wakes(one)
        ]


def _bytes(pcm: Pcm) -> bytes:
    return pcm.astype("<i2").tobytes()
