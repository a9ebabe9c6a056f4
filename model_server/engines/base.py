"""The engine protocols and the plain data that crosses them.

Audio is always 16 kHz mono. Engines are synchronous and are called from at most
`parallel` threads at a time, which the server keeps for them: 1 for an engine that
works alone, more for one that batches calls or waits for another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Pcm: TypeAlias = npt.NDArray[np.int16]
"""Samples of 16-bit signed audio, (samples,), 16 kHz mono."""

Rejection = Literal["silence", "no_command", "too_long", "unavailable"]
"""Why an utterance gave no text. `unavailable`: the engine could not be asked."""


class EngineError(Exception):
    """An engine cannot do what was asked, now; the message says what a person can do.

    It never holds audio, text that was heard, or a secret: it is logged and sent.
    """


class EngineBusyError(EngineError):
    """Too much waits already: this call was dropped before any work was done."""


class UnusableRequestError(EngineError):
    """What was asked cannot be done by this engine, now or later: ask differently."""


CUT: Final = "length"
"""What a describer's generator returns if its answer was cut."""


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
    """What may be said in one home.

    `items` are things that may be put on a list, `media` what may be played: names
    that are no entity's. `sentences` are the home's own, as hassil's templates, and
    `lists` what may stand for `{name}` in them.
    """

    language: str = "en"
    entities: tuple[VocabularyEntity, ...] = ()
    areas: tuple[VocabularyPlace, ...] = ()
    floors: tuple[VocabularyPlace, ...] = ()
    items: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class VocabularyReport:
    """What became of a vocabulary.

    `version` is a hash of its content and of the compiler; `guessed` lists the
    words whose pronunciation is a guess because no dictionary has them; `unheard`
    those of the home's own sentences that cannot be heard.
    """

    version: str
    sentences: int
    words: int
    guessed: tuple[str, ...]
    seconds: float
    unheard: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hypothesis:
    """A text that may have been said; confidence 0 to 1."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Intent:
    """What a model understood: an intent of Home Assistant and its slots.

    It is data from audio, never an order: who acts on it checks it first.
    """

    name: str
    slots: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Recognition:
    """What was said. `text` is empty exactly when `rejected` gives a reason.

    `alternatives` of what was rejected may still have been meant, by somebody who asked
    to be heard. What is `final` means the same whatever may still be said.

    `engine` is set where another engine heard it than the recogniser's own.
    """

    text: str
    confidence: float
    alternatives: tuple[Hypothesis, ...] = ()
    rejected: Rejection | None = None
    intent: Intent | None = None
    engine: EngineInfo | None = None
    final: bool = False


@dataclass(frozen=True)
class LaneLoad:
    """Calls that wait in a lane now, and calls that were dropped since the start."""

    waiting: int
    dropped: int


@runtime_checkable
class Queueing(Protocol):
    """An engine that queues its calls in lanes, and tells how full they are."""

    info: EngineInfo

    def load(self) -> Mapping[str, LaneLoad]:
        """Each lane's load; engines that share a model tell the same. Any thread."""


class SpeechRecognizer(Protocol):
    """An utterance and what may be said become text with confidence."""

    info: EngineInfo
    languages: tuple[str, ...]
    parallel: int

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Compile and swap in a vocabulary; the old one serves until then.

        May be called from another thread than `recognize`, which never waits
        for it. Raises ValueError for a language the engine does not speak.
        """

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise one utterance, (samples,) with up to 0.65 s of margin around it.

        Raises EngineError.
        """

    def foresee(self, pcm: Pcm) -> Recognition | None:
        """Work ahead on an utterance that still goes on, (samples,) from its start.

        Called again with more of the same utterance, also when its speaker pauses,
        then with all that it is if it ends there; and never after its `recognize`.
        What is not used in time is forgotten. Optional work: it does
        nothing where an engine has none, and raises nothing. An engine that knows at
        once what was said tells it: an utterance that is a command ends sooner.
        """


@runtime_checkable
class Overhearing(Protocol):
    """A recogniser that can tell words while somebody still speaks."""

    def overhear(self, pcm: Pcm, language: str) -> str:
        """Tell how an utterance begins that still goes on, (samples,) from its start.

        Empty if that is unsure. It may read otherwise once more was said. Raises EngineError.
        """


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
    parallel: int

    def classify(self, windows: npt.NDArray[np.float32]) -> Classification:
        """Score windows of float samples in -1 to 1, (batch, window).

        Raises EngineError.
        """


class AudioDescriber(Protocol):
    """Audio and an instruction become text: a caption, an answer, JSON."""

    info: EngineInfo
    max_seconds: float
    parallel: int

    def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
    ) -> Iterator[str]:
        """Stream the answer about a clip, (samples,), up to `max_seconds` long.

        With a JSON schema the joined text is JSON that is valid by it. Raises
        UnusableRequestError for a clip that is too long, a schema that it cannot
        follow or an empty instruction, else EngineError; both may come from the
        iteration. Closing the iterator frees what the answer held. A generator may
        return CUT where `max_tokens` ended the answer, not the model.
        """


@dataclass(frozen=True)
class Engines:
    """What a server is composed of; one model may stand in several places."""

    recognizer: SpeechRecognizer | None = None
    classifier: SoundClassifier | None = None
    describer: AudioDescriber | None = None

    def close(self) -> None:
        """End the calls under way, for engines that have threads of their own."""
        for engine in (self.recognizer, self.classifier, self.describer):
            close: Callable[[], None] | None = getattr(engine, "close", None)
            if close is not None:
                close()
