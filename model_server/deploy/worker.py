"""A model replica: the engines, and the vocabulary that it was last told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from model_server.deploy.messages import (
    DescriberFacts,
    Facts,
    Failed,
    Lacking,
    SoundFacts,
    SpeechFacts,
    attempt,
)
from model_server.engines.base import (
    AudioDescriber,
    Classification,
    Engines,
    Pcm,
    Recognition,
    SoundClassifier,
    SpeechRecognizer,
    Vocabulary,
    VocabularyReport,
)

T = TypeVar("T")

_END: Final = object()


class Worker:
    """Runs engines for callers elsewhere, on as many threads as each engine allows.

    Every answer is a value, `Failed` included: calls may be repeated on another
    replica, and none changes anything but the vocabulary, whose numbers only grow.
    """

    def __init__(self, engines: Engines) -> None:
        """Take engines that are loaded."""
        self._engines = engines
        self._number = 0
        self._report: VocabularyReport | None = None
        self._learning = asyncio.Lock()
        each = (engines.recognizer, engines.classifier, engines.describer)
        self._speech, self._sounds, self._describe = (
            ThreadPoolExecutor(engine.parallel if engine else 1) for engine in each
        )
        self._vocabulary = ThreadPoolExecutor(1)

    def facts(self) -> Facts:
        """What the proxies of these engines tell about them."""
        speech, sounds, describer = (
            self._engines.recognizer,
            self._engines.classifier,
            self._engines.describer,
        )
        return Facts(
            None
            if speech is None
            else SpeechFacts(speech.info, tuple(speech.languages)),
            None
            if sounds is None
            else SoundFacts(
                sounds.info, tuple(sounds.labels), sounds.window, sounds.hop
            ),
            None
            if describer is None
            else DescriberFacts(describer.info, describer.max_seconds),
        )

    async def learn(
        self, number: int, vocabulary: Vocabulary
    ) -> VocabularyReport | Failed:
        """Use a vocabulary from now on, unless a newer one is in use already."""
        recognizer = _present(self._engines.recognizer)
        async with self._learning:
            if self._report is None or number > self._number:
                report = await self._on(
                    self._vocabulary, recognizer.set_vocabulary, vocabulary
                )
                if isinstance(report, Failed):
                    return report
                self._number, self._report = number, report
            return self._report

    async def recognize(
        self, pcm: Pcm, language: str, number: int, vocabulary: Vocabulary | None
    ) -> Recognition | Lacking | Failed:
        """Recognise by vocabulary `number` or a newer one; `Lacking` if it is unknown."""
        if number > self._number:
            if vocabulary is None:
                return Lacking()
            report = await self.learn(number, vocabulary)
            if isinstance(report, Failed):
                return report
        recognizer = _present(self._engines.recognizer)
        # What Ray hands over cannot be written to, and an engine may.
        return await self._on(self._speech, recognizer.recognize, pcm.copy(), language)

    async def classify(
        self, calls: Sequence[npt.NDArray[np.float32]]
    ) -> Sequence[Classification | Failed]:
        """Score the windows of several callers, each (batch, window), in one forward."""
        classifier = _present(self._engines.classifier)
        scored = await self._on(
            self._sounds, classifier.classify, np.concatenate(calls)
        )
        if isinstance(scored, Failed):
            return [scored] * len(calls)
        return split(scored, [len(windows) for windows in calls])

    async def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None,
        max_tokens: int,
    ) -> AsyncGenerator[str | Failed]:
        """Stream an answer; a failure is its last piece."""
        describer = _present(self._engines.describer)
        call = partial(describer.describe, pcm.copy(), instruction, schema, max_tokens)
        pieces = await self._on(self._describe, call)
        if isinstance(pieces, Failed):
            yield pieces
            return
        try:
            while (piece := await self._on(self._describe, next, pieces, _END)) != _END:
                yield piece
                if isinstance(piece, Failed):
                    return
        finally:
            await self._on(self._describe, _close, pieces)

    async def _on(
        self, pool: ThreadPoolExecutor, call: Callable[..., T], *args: object
    ) -> T | Failed:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, attempt, call, *args)


def split(scored: Classification, sizes: Sequence[int]) -> list[Classification]:
    """Give each caller the rows of its own windows."""
    stops = np.cumsum(sizes)
    return [
        Classification(
            scored.scores[stop - size : stop], scored.embeddings[stop - size : stop]
        )
        for size, stop in zip(sizes, stops, strict=True)
    ]


Engine = TypeVar("Engine", SpeechRecognizer, SoundClassifier, AudioDescriber)


def _present(engine: Engine | None) -> Engine:
    """An engine that `facts` told of: only then is it called."""
    if engine is None:
        raise LookupError("This deployment has no such engine")
    return engine


def _close(pieces: Iterator[str]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()
