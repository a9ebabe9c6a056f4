"""The engine protocols and the plain data that crosses them.

Audio is always 16 kHz mono. Engines are synchronous and are called from one
thread at a time: the server gives every engine an executor of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Pcm: TypeAlias = npt.NDArray[np.int16]
"""Samples of 16-bit signed audio, (samples,), 16 kHz mono."""

Rejection = Literal["silence", "no_command", "too_long"]
"""Why an utterance gave no text."""


@dataclass(frozen=True)
class EngineInfo:
    """What a result names as its author."""

    name: str
    version: str


@dataclass(frozen=True)
class VocabularyEntity:
    """An exposed entity: what it may be called and where it is."""

    id: str
    domain: str
    names: tuple[str, ...]
    area: str | None = None


@dataclass(frozen=True)
class VocabularyPlace:
    """An area or a floor: its names, and an area's floor."""

    id: str
    names: tuple[str, ...]
    floor: str | None = None


@dataclass(frozen=True)
class Vocabulary:
    """What may be said in one home."""

    language: str = "en"
    entities: tuple[VocabularyEntity, ...] = ()
    areas: tuple[VocabularyPlace, ...] = ()
    floors: tuple[VocabularyPlace, ...] = ()


@dataclass(frozen=True)
class VocabularyReport:
    """What became of a vocabulary.

    `version` is a hash of its content and of the compiler; `guessed` lists the
    words whose pronunciation is a guess because no dictionary has them.
    """

    version: str
    sentences: int
    words: int
    guessed: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Hypothesis:
    """A text that may have been said; confidence 0 to 1."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Recognition:
    """What was said. `text` is empty exactly when `rejected` gives a reason."""

    text: str
    confidence: float
    alternatives: tuple[Hypothesis, ...] = ()
    rejected: Rejection | None = None


class SpeechRecognizer(Protocol):
    """An utterance and what may be said become text with confidence."""

    info: EngineInfo
    languages: tuple[str, ...]

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Compile and swap in a vocabulary; the old one serves until then.

        May be called from another thread than `recognize`, which never waits
        for it. Raises ValueError for a language the engine does not speak.
        """

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise one utterance, (samples,) with up to 0.65 s of margin around it."""


@dataclass(frozen=True)
class Classification:
    """Scores 0 to 1, (batch, labels), and embeddings, (batch, dim)."""

    scores: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32]


class SoundClassifier(Protocol):
    """Windows of audio become scores per label.

    `window` and `hop` are in samples; `labels` are slugs of `sounds.yaml`.
    """

    info: EngineInfo
    labels: tuple[str, ...]
    window: int
    hop: int

    def classify(self, windows: npt.NDArray[np.float32]) -> Classification:
        """Score windows of float samples in -1 to 1, (batch, window)."""
