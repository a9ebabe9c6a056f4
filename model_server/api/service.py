"""What all doors share: engines and their threads, the vocabulary, the open streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
import logging
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from model_server import __version__
from model_server.api.auth import TokenFile
from model_server.api.checkup import Checkups
from model_server.api.clip_store import ClipStore
from model_server.api.messages import (
    DescriptionCapability,
    Engine,
    Info,
    Label,
    Limits,
    SoundCapability,
    SpeechCapability,
    WakeWord,
)
from model_server.api.metrics import Metrics
from model_server.api.refusals import EngineFailedError
from model_server.api.uploads import Admission
from model_server.api.vocabulary import VocabularyBody, VocabularyFile, to_vocabulary
from model_server.audio.decode import DecodeError
from model_server.catalogue import SoundLabel, load_catalogue
from model_server.engines.base import (
    EngineError,
    EngineInfo,
    Engines,
    SpeechRecognizer,
    VocabularyReport,
)
from model_server.listen.wake import wake_words
from model_server.monitor import rhythm
from model_server.monitor.score_log import FILE, ScoreLog, forget
from model_server.settings import Settings
from model_server.store import installation_id

if TYPE_CHECKING:
    from model_server.api.answers import Answer
    from model_server.api.session import Session

FAREWELL_S = 5.0
"""How long a client may take to hear that the server stops."""

TIDY_S: Final = 3600.0
"""Between two looks at whether a clip is too old."""

Work: TypeAlias = Literal[
    "listen",
    "speech",
    "sounds",
    "vocabulary",
    "files",
    "describe",
    "clips",
    "replay",
]
"""Each kind of work has threads of its own, so that sounds never wait for commands."""

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clock:
    """Where time comes from: seconds that never jump, and the time of day."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def engine_message(info: EngineInfo) -> Engine:
    """The author of a result, as sent."""
    return Engine(name=info.name, version=info.version)


class Service:
    """The state of one running server; it lives on the event loop."""

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        clock: Clock | None = None,
    ) -> None:
        """Prepare; `start` must follow before streams are served."""
        self.settings = settings
        self.recognizer = engines.recognizer
        self.classifier = classifier = engines.classifier
        self.describer = engines.describer
        self.clock = clock or Clock()
        self.metrics = Metrics()
        self.checkups = Checkups()
        self.metrics.watch([self.recognizer, self.classifier, self.describer])
        self.token = TokenFile(settings.data_dir)
        scored = classifier.labels if classifier else ()
        self.catalogue: dict[str, SoundLabel] = {
            slug: label
            for slug, label in load_catalogue().items()
            if label.source != "classifier" or slug in scored
        }
        """The labels that this server can report; alarms and gestures need no classifier."""
        self.sessions: set[Session] = set()
        self.answers: set[Answer] = set()
        self.stopping = False
        self.began = int(self.clock.now().timestamp())
        self._id = installation_id(settings.data_dir)
        self._vocabulary_file = VocabularyFile(settings.data_dir)
        self._vocabulary: str | None = None
        self._compiling = asyncio.Lock()
        self._failures: set[str] = set()
        self.clips = ClipStore(
            settings.data_dir / "clips", settings.clips, self.clock.now
        )
        self._keeping: set[asyncio.Task[Any]] = set()
        self._tidying: asyncio.Task[None] | None = None
        self.score_log: ScoreLog | None = None
        """What microphones scored, unless nobody wants that to be kept."""
        if settings.score_log_days:
            self.score_log = ScoreLog(
                settings.data_dir,
                days=settings.score_log_days,
                max_bytes=settings.score_log_mb << 20,
                lost=self.metrics.dropped_scores.inc,
                now=lambda: self.clock.now().timestamp(),
            )
        self.requests = Admission(settings.max_requests)
        """Who may send a file and wait for what is said about it."""
        speakers = self.recognizer.parallel if self.recognizer else 1
        self.file_speech = asyncio.Semaphore(max(1, speakers // 2))
        """Threads of the speech engine that files may take; microphones have the rest."""
        threads: dict[Work, int] = {
            "listen": 1,
            "speech": self.recognizer.parallel if self.recognizer else 1,
            "sounds": classifier.parallel if classifier else 1,
            "vocabulary": 1,
            # One: a file is decoded step by step, and each step on the same thread.
            "files": 1,
            "describe": self.describer.parallel if self.describer else 1,
            # One: the store is not for two at a time.
            "clips": 1,
            "replay": 1,
        }
        self._threads = {
            work: ThreadPoolExecutor(count, thread_name_prefix=work)
            for work, count in threads.items()
        }

    @property
    def limits(self) -> Limits:
        """What one stream may do."""
        return Limits(
            max_streams=self.settings.max_streams,
            max_utterance_s=self.settings.max_utterance_s,
            max_ahead_s=self.settings.max_ahead_s,
            max_message_bytes=self.settings.max_message_bytes,
            idle_s=self.settings.idle_s,
        )

    def info(self) -> Info:
        """What this server is and can do now."""
        speech = None
        if self.recognizer is not None:
            speech = SpeechCapability(
                engine=engine_message(self.recognizer.info),
                languages=list(self.recognizer.languages),
                vocabulary=self._vocabulary,
            )
        author = self.classifier.info if self.classifier else rhythm.ENGINE
        sounds = SoundCapability(
            engine=engine_message(author),
            labels=[
                Label(
                    slug=label.slug,
                    name=label.name,
                    group=label.group,
                    device_class=label.device_class,
                    default=label.default,
                    sustain_s=label.sustain_s,
                    source=label.source,
                )
                for label in self.catalogue.values()
            ],
        )
        descriptions = None
        if self.describer is not None:
            descriptions = DescriptionCapability(
                engine=engine_message(self.describer.info),
                max_seconds=self.describer.max_seconds,
            )
        return Info(
            id=self._id,
            version=__version__,
            speech=speech,
            wake_words=[
                WakeWord(
                    name=word.name,
                    phrase=word.phrase,
                    languages=list(word.languages),
                    cutoff=word.cutoff,
                )
                for word in wake_words().values()
            ],
            sounds=sounds,
            descriptions=descriptions,
            clips=self.settings.clips.enabled,
            limits=self.limits,
            streams=len(self.sessions),
        )

    def spoken(self, language: str) -> str | None:
        """The recogniser's language for a tag such as en-GB; None if it has none."""
        known = self.recognizer.languages if self.recognizer else ()
        primary = language.replace("_", "-").split("-")[0].lower()
        return next((each for each in (language, primary) if each in known), None)

    async def start(self) -> None:
        """Hear the commands of the home that was known before; forget what is old."""
        self._tidying = asyncio.create_task(self._tidy())
        if self.score_log is not None:
            self.score_log.start()
        else:
            await asyncio.to_thread(self._forget_scores)
        if self.recognizer is None:
            return
        body = await asyncio.to_thread(self._vocabulary_file.load)
        if body is None:
            return
        try:
            await self._compile(self.recognizer, body)
        except (ValueError, EngineFailedError):
            _LOGGER.warning(
                "The stored vocabulary is not used: the speech engine refuses it; "
                "Home Assistant sends a new one when it connects"
            )

    def _forget_scores(self) -> None:
        """Scores that were kept before nobody wanted that any more."""
        try:
            forget(self.settings.data_dir)
        except OSError as error:
            _LOGGER.warning("The score log %s cannot be removed: %s", FILE, error)

    async def set_vocabulary(
        self, recognizer: SpeechRecognizer, body: VocabularyBody
    ) -> VocabularyReport:
        """Compile, use and keep a vocabulary; ValueError if no engine speaks it."""
        report = await self._compile(recognizer, body)
        await asyncio.to_thread(self._vocabulary_file.save, body)
        return report

    async def _compile(
        self, recognizer: SpeechRecognizer, body: VocabularyBody
    ) -> VocabularyReport:
        language = self.spoken(body.language)
        if language is None:
            spoken = ", ".join(recognizer.languages)
            raise ValueError(f"language {body.language!r} is not one of: {spoken}")
        vocabulary = replace(to_vocabulary(body), language=language)
        async with self._compiling:
            report = await self.work(
                "vocabulary", recognizer.set_vocabulary, vocabulary
            )
            self._vocabulary = report.version
        return report

    async def work(self, work: Work, call: Callable[..., T], *args: object) -> T:
        """Run a call on a thread of its kind.

        Raises EngineError if an engine does, DecodeError if a file is at fault,
        EngineFailedError for everything else.
        """
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        try:
            return await loop.run_in_executor(self._threads[work], call, *args)
        except EngineError:
            self.metrics.engine_errors.labels(work).inc()
            raise
        except DecodeError:
            raise
        except Exception as error:  # noqa: BLE001 - it must end one stream, not more
            self.report(f"{work} engine", error)
            raise EngineFailedError from None
        finally:
            spent = time.perf_counter() - began
            self.metrics.processing.labels(work).observe(spent)

    def keeping(self, clip: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Save a clip even if its stream ends meanwhile; the server waits for it."""
        task = asyncio.create_task(clip)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        return task

    async def _tidy(self) -> None:
        """Forget clips that are too old or too many, now and every hour."""
        while True:
            # What fails was reported, and is tried again.
            with suppress(EngineFailedError):
                await self.work("clips", self.clips.tidy)
            await asyncio.sleep(TIDY_S)

    def release(self, work: Work, call: Callable[[], object]) -> None:
        """Free something on the thread that used it, soon; nobody waits for it."""
        # After the end there is no thread, and nothing that could be freed.
        with suppress(RuntimeError):
            self._threads[work].submit(call)

    def report(self, what: str, error: Exception) -> None:
        """Log where something failed, once; its message could repeat what was heard."""
        places = [
            f"{frame.filename}:{frame.lineno} in {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-3:]
        ]
        failure = f"{type(error).__name__} at {', '.join(places)}"
        if failure not in self._failures:
            self._failures.add(failure)
            _LOGGER.error("The %s failed: %s", what, failure)

    async def stop_streams(self) -> None:
        """Tell every stream that the server stops, and wait until it has heard it."""
        self.stopping = True
        for answer in self.answers:
            answer.stop()
        ending = [session.stop() for session in self.sessions]
        if ending:
            await asyncio.wait(ending, timeout=FAREWELL_S)

    async def stop(self) -> None:
        """End the streams and the threads."""
        await self.stop_streams()
        if self._tidying is not None:
            self._tidying.cancel()
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=FAREWELL_S)
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)
        if self.score_log is not None:
            await asyncio.to_thread(self.score_log.close)
