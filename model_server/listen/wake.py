"""Wake words: microWakeWord's bundled models listen to one stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files
import json

import numpy as np
import numpy.typing as npt
from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.ring import Ring
from model_server.engines.base import EngineInfo
from model_server.engines.embedded.phrases import PhraseSpotter

ENGINE = EngineInfo("microwakeword", version("pymicro-wakeword"))
STEP = SAMPLE_RATE // 100
"""Samples from one feature to the next."""
REFRACTORY = 2 * SAMPLE_RATE
"""Samples in which a wake word is not found again: its score stays high for a while."""
CHECK_AFTER = SAMPLE_RATE // 5
"""Samples after a model is sure until its phrase is looked for: it may not be over yet."""
CHECKED = 9 * SAMPLE_RATE // 5
"""Samples in which it is looked for."""
LATEST = 9 * SAMPLE_RATE // 20
"""Samples before a model is sure in which its phrase may be over."""
RING = CHECKED + SAMPLE_RATE
"""Samples that are kept for that."""


@dataclass(frozen=True)
class WakeWord:
    """A model that can be listened for: what wakes it, and where it comes from.

    `cutoff` is the score above which it is sure, by its own description.
    """

    name: str
    phrase: str
    languages: tuple[str, ...]
    author: str
    website: str
    version: str
    cutoff: float


@dataclass(frozen=True)
class Wake:
    """A wake word was heard: known at sample `at`, its phrase was over at sample `end`."""

    name: str
    at: int
    score: float
    end: int


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
            cutoff=described["micro"]["probability_cutoff"],
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
        self._carry: Pcm = np.zeros(0, np.int16)

    def push(self, pcm: Pcm) -> Iterator[WakeScore]:
        """Take samples, (samples,); score every whole step, each model in turn.

        All of it must be iterated over. How the samples are cut changes nothing.
        """
        samples = np.concatenate([self._carry, pcm])
        whole = samples.size - samples.size % STEP
        self._carry = samples[whole:].copy()
        for first in range(0, whole, STEP):
            self._position += STEP
            step = samples[first : first + STEP]
            for features in self._features.process_streaming(_bytes(step)):
                yield from self._score(features)

    def _score(self, features: npt.NDArray[np.float64]) -> Iterator[WakeScore]:
        """What the models make of one more step, (1, 1, bands)."""
        for model in self._models:
            score = model.process_streaming_prob(features)
            if score is not None:
                yield WakeScore(model.id, self._position, score)


class WakeDecision:
    """Tells which scores of a word wake, by its cutoff alone."""

    def __init__(self, cutoff: float) -> None:
        """It wakes with a score above the cutoff."""
        self.cutoff = cutoff
        self._deaf_until = 0

    def wakes(self, one: WakeScore) -> bool:
        """Take the word's next score in a stream."""
        if one.score <= self.cutoff or one.at < self._deaf_until:
            return False
        self._deaf_until = one.at + REFRACTORY
        return True

    def retry(self, at: int) -> None:
        """Let it wake again from this sample on: it had not been said yet."""
        self._deaf_until = at


class WakeCheck:
    """Decides by a word's cutoff, and looks for its phrase a moment later.

    That is done by the recogniser's acoustic model, which also tells where it ends.
    """

    def __init__(self, cutoff: float, ring: Ring) -> None:
        """Look in a ring that has the stream up to the last score, at least."""
        self.decision = WakeDecision(cutoff)
        self._ring = ring
        self._sure: WakeScore | None = None

    def take(self, one: WakeScore) -> Wake | None:
        """Take the word's next score; return the wake that it completes."""
        if self.decision.wakes(one):
            self._sure = one
        sure = self._sure
        if sure is None or one.at < sure.at + CHECK_AFTER:
            return None
        self._sure = None
        since = max(self._ring.oldest, one.at - CHECKED)
        phrase = wake_words()[one.name].phrase
        spotted = _spotter().spot(phrase, self._ring.read(since, one.at))
        if spotted is None or spotted.fit < 0:
            self.decision.retry(one.at)
            return None
        # A bad fit in noise may end anywhere; the models are late by so much at most.
        end = max(since + spotted.end, sure.at - LATEST)
        return Wake(one.name, one.at, sure.score, end)


class WakeDetector:
    """Listens for some of `wake_words` in one stream, from one thread at a time."""

    def __init__(self, cutoffs: Mapping[str, float | None], position: int = 0) -> None:
        """Load the models of these words, about a millisecond each.

        A word wakes with a score above its cutoff, or else above its model's own.
        `position` is that of the first sample.
        """
        self._position = position
        self._scores = WakeScores(list(cutoffs))
        self._ring = Ring(RING)
        self._checks = {
            name: WakeCheck(_cutoff(name, cutoff), self._ring)
            for name, cutoff in cutoffs.items()
        }

    def change(self, cutoffs: Mapping[str, float | None]) -> None:
        """Use other cutoffs for the same words from now on."""
        for name, check in self._checks.items():
            check.decision.cutoff = _cutoff(name, cutoffs[name])

    def push(self, pcm: Pcm) -> list[Wake]:
        """Take samples, (samples,); return the wake words that they complete."""
        position = self._position
        return [
            replace(wake, at=wake.at + position, end=wake.end + position)
            for wake in self._found(pcm)
        ]

    def _found(self, pcm: Pcm) -> Iterator[Wake]:
        # In pieces that the ring can hold beside what is looked at again.
        for first in range(0, pcm.size, SAMPLE_RATE):
            piece = pcm[first : first + SAMPLE_RATE]
            self._ring.write(piece)
            for one in self._scores.push(piece):
                if (wake := self._checks[one.name].take(one)) is not None:
                    yield wake


def _cutoff(name: str, cutoff: float | None) -> float:
    return wake_words()[name].cutoff if cutoff is None else cutoff


@cache
def _spotter() -> PhraseSpotter:
    return PhraseSpotter(word.phrase for word in wake_words().values())


def _bytes(pcm: Pcm) -> bytes:
    return pcm.astype("<i2").tobytes()
