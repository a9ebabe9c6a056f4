"""Engines that are elsewhere: the three protocols over calls to model replicas."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
import time
from typing import Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt

from model_server.deploy.messages import (
    DescriberFacts,
    Failed,
    Lacking,
    SoundFacts,
    SpeechFacts,
)
from model_server.engines.base import (
    Classification,
    EngineError,
    Pcm,
    Recognition,
    Vocabulary,
    VocabularyReport,
)

PARALLEL: Final = 16
"""Calls that one ingress replica has under way per kind: they become batches."""

DEADLINE_S: Final = 30.0
"""How long a call may look for a replica that answers. Ray Serve replaces a replica
that died within seconds, and by its health check one that hangs."""

PAUSE_S: Final = 0.1
"""Between attempts: a replica that is being replaced refuses at once."""


class ReplicaLostError(Exception):
    """The replica died with the call, or none could take it: ask again."""


class Handle(Protocol):
    """A deployment, called from threads. Both raise ReplicaLostError or EngineBusyError."""

    def call(self, method: str, *args: object, timeout_s: float) -> object:
        """One answer; raises TimeoutError where it does not come in time."""

    def stream(self, method: str, *args: object) -> Generator[object]:
        """Answers in pieces. Closing the generator ends the call."""


class Caller:
    """Asks a deployment until a replica answers.

    Calls change nothing, or the same when they are repeated: so an answer that a
    dying replica took along is asked for again, and nothing is lost.
    """

    def __init__(
        self,
        handle: Handle,
        retried: Callable[[str], None],
        *,
        deadline_s: float = DEADLINE_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`retried` is told the method of every call that is repeated."""
        self._handle = handle
        self._retried = retried
        self._deadline_s = deadline_s
        self._pause = pause

    def ask(self, method: str, *args: object) -> Any:
        """One answer. Raises what the engine protocols promise."""
        end = time.monotonic() + self._deadline_s
        while True:
            try:
                answer = self._handle.call(
                    method, *args, timeout_s=max(0.0, end - time.monotonic())
                )
            except (ReplicaLostError, TimeoutError) as error:
                self._again(method, end, error)
                continue
            if isinstance(answer, Failed):
                raise answer.error()
            return answer

    def stream(self, method: str, *args: object) -> Generator[str]:
        """Pieces of text. An answer that is begun again must begin the same."""
        given = ""
        end = time.monotonic() + self._deadline_s
        while True:
            pieces = self._handle.stream(method, *args)
            try:
                with closing(pieces):
                    for more in _beyond(given, pieces):
                        given += more
                        # An answer may be long; only looking for a replica is limited.
                        end = time.monotonic() + self._deadline_s
                        yield more
            except ReplicaLostError as error:
                self._again(method, end, error)
            else:
                return

    def _again(self, method: str, end: float, error: Exception) -> None:
        """Prepare another attempt, or raise EngineError where time is up."""
        if isinstance(error, TimeoutError) or time.monotonic() + PAUSE_S >= end:
            raise EngineError(
                f"No model replica answered within {self._deadline_s:g} s: "
                "the log of `serve run` tells what became of them."
            ) from error
        self._retried(method)
        self._pause(PAUSE_S)


def _beyond(given: str, pieces: Iterator[object]) -> Iterator[str]:
    """What an answer has beyond `given`, which its caller has already."""
    heard = ""
    for piece in pieces:
        if isinstance(piece, Failed):
            raise piece.error()
        heard += cast("str", piece)
        shared = min(len(heard), len(given))
        if heard[:shared] != given[:shared]:
            raise EngineError(
                "The model replica died and another one answers differently: ask again."
            )
        if len(heard) > len(given):
            yield heard[len(given) :]
            given = heard


@dataclass(frozen=True)
class Numbered:
    """A vocabulary and its place in the order of all."""

    number: int = 0
    vocabulary: Vocabulary | None = None


class RecognizerProxy:
    """A SpeechRecognizer whose vocabulary is every ingress and model replica's.

    Each call carries the vocabulary's number. A model replica that lacks it (it
    has just started, or was asleep when it came) asks for the vocabulary itself.
    """

    parallel = PARALLEL

    def __init__(self, facts: SpeechFacts, models: Caller, ledger: Caller) -> None:
        """No vocabulary until one is set or adopted."""
        self.info = facts.info
        self.languages = facts.languages
        self._models = models
        self._ledger = ledger
        self._current = Numbered()

    @property
    def number(self) -> int:
        """The number of the vocabulary in use."""
        return self._current.number

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Have a replica compile it, then publish it to all.

        Raises ValueError for a language the engine does not speak, EngineError
        where no replica or no ledger answers; then the one before stays.
        """
        number: int = self._ledger.ask("reserve")
        report: VocabularyReport = self._models.ask("learn", number, vocabulary)
        self._ledger.ask("publish", number, vocabulary)
        self._use(Numbered(number, vocabulary))
        return report

    def adopt(self, number: int, vocabulary: Vocabulary) -> VocabularyReport:
        """Use what another ingress replica published. Raises as `set_vocabulary`."""
        report: VocabularyReport = self._models.ask("learn", number, vocabulary)
        self._use(Numbered(number, vocabulary))
        return report

    def _use(self, vocabulary: Numbered) -> None:
        if vocabulary.number > self._current.number:
            self._current = vocabulary

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise one utterance, (samples,), on any replica. Raises EngineError."""
        current = self._current
        ask = self._models.ask
        answer = ask("recognize", pcm, language, current.number, None)
        if isinstance(answer, Lacking):
            answer = ask("recognize", pcm, language, current.number, current.vocabulary)
        return cast("Recognition", answer)

    def foresee(self, pcm: Pcm) -> None:
        """The next call may go to another replica: working ahead gains nothing."""


class Adopting:
    """The same proxy, as a SpeechRecognizer that is given what others published."""

    parallel = PARALLEL

    def __init__(self, proxy: RecognizerProxy, number: int) -> None:
        """Adopt under this number instead of publishing under a new one."""
        self.info = proxy.info
        self.languages = proxy.languages
        self.recognize = proxy.recognize
        self.foresee = proxy.foresee
        self._proxy = proxy
        self._number = number

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Adopt it. Raises as `RecognizerProxy.adopt`."""
        return self._proxy.adopt(self._number, vocabulary)


class ClassifierProxy:
    """A SoundClassifier; concurrent calls of all streams become batches there."""

    parallel = PARALLEL

    def __init__(self, facts: SoundFacts, models: Caller) -> None:
        """Stand for the engine that `facts` are of."""
        self.info = facts.info
        self.labels = facts.labels
        self.window = facts.window
        self.hop = facts.hop
        self._models = models

    def classify(self, windows: npt.NDArray[np.float32]) -> Classification:
        """Score windows, (batch, window), on any replica. Raises EngineError."""
        return cast("Classification", self._models.ask("classify", windows))


class DescriberProxy:
    """An AudioDescriber that streams from a replica."""

    parallel = PARALLEL

    def __init__(self, facts: DescriberFacts, models: Caller) -> None:
        """Stand for the engine that `facts` are of."""
        self.info = facts.info
        self.max_seconds = facts.max_seconds
        self._models = models

    def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
    ) -> Iterator[str]:
        """Stream an answer about a clip, (samples,). Raises as the engine would."""
        return self._models.stream("describe", pcm, instruction, schema, max_tokens)
