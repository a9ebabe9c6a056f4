"""The parts of a server that is spread over machines, without Ray between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
import inspect
import logging
from pathlib import Path
import threading
from typing import Any

from fastapi import FastAPI
import httpx
import numpy as np
import pytest

from model_server.api.auth import TokenFile
from model_server.api.server import EarshotServer, bind
from model_server.api.vocabulary import VocabularyFile, parse_vocabulary, to_vocabulary
from model_server.deploy.ingress import REPLICA_HEADER, Bounded, ingress_app
from model_server.deploy.ledger import Ledger
from model_server.deploy.messages import Facts, Failed, Lacking, State, attempt
from model_server.deploy.proxies import (
    Caller,
    ClassifierProxy,
    DescriberProxy,
    RecognizerProxy,
    ReplicaLostError,
)
from model_server.deploy.worker import Worker, split
from model_server.engines.base import (
    Classification,
    EngineBusyError,
    EngineError,
    EngineInfo,
    Engines,
    Pcm,
    Recognition,
    SoundClassifier,
    SpeechRecognizer,
    UnusableRequestError,
    Vocabulary,
    VocabularyReport,
)
from model_server.settings import Settings
from tests.server.client import VOCABULARY, House, command, texts
from tests.server.homes import lamp_home
from tests.server.voices import silence

LAMP = lamp_home()


class Describer:
    """Answers in the pieces it was given, or fails at an exception among them."""

    info = EngineInfo("pieces", "1")
    max_seconds = 30.0
    parallel = 2

    def __init__(self, *pieces: str | Exception) -> None:
        """Nothing was asked yet."""
        self.pieces = pieces
        self.asked: list[tuple[object, ...]] = []
        self.closed = 0

    def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
    ) -> Iterator[str]:
        self.asked.append((pcm.size, instruction, schema, max_tokens))
        try:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed += 1


class Ears:
    """A recogniser that hears the names of the home it was told of."""

    info = EngineInfo("ears", "1")
    languages = ("en",)
    parallel = 1

    def __init__(self) -> None:
        """No home yet."""
        self.homes: list[Vocabulary] = []
        self.error: Exception | None = None

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        if self.error is not None:
            raise self.error
        self.homes.append(vocabulary)
        return VocabularyReport(f"v{len(vocabulary.entities)}", 1, 1, (), 0.0)

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        if self.error is not None:
            raise self.error
        pcm[:] = 0  # An engine may write to what it is given.
        return Recognition(self.homes[-1].entities[0].names[0], 1.0)

    def foresee(self, pcm: Pcm) -> None:
        raise AssertionError


@dataclass
class Replicas:
    """A deployment: calls go round its replicas, on the loop that they live on.

    `faults` are raised first: before the call, or after it as if a replica had died
    with its answer.
    """

    loop: asyncio.AbstractEventLoop
    replicas: list[Any]
    faults: list[Exception] = field(default_factory=list)
    late: list[Exception] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def _next(self, method: str) -> Callable[..., Any]:
        self.calls.append(method)
        if self.faults:
            raise self.faults.pop(0)
        self.replicas.append(self.replicas.pop(0))
        return getattr(self.replicas[-1], method)

    def call(self, method: str, *args: object, timeout_s: float) -> object:
        if method == "classify":
            return self._run(self._next(method)([*args]), timeout_s)[0]
        answer = self._next(method)(*args)
        if inspect.isawaitable(answer):
            answer = self._run(answer, timeout_s)
        if self.late:
            raise self.late.pop(0)
        return answer

    def stream(self, method: str, *args: object) -> Generator[object]:
        pieces = self._next(method)(*args)
        end = object()
        try:
            while (piece := self._run(anext(pieces, end), 60)) is not end:
                yield piece
                if self.late:
                    raise self.late.pop(0)
        finally:
            self._run(pieces.aclose(), 60)

    def _run(self, work: Any, timeout_s: float) -> Any:
        async def wait() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(timeout_s)


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """Another machine's event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def nothing(_: str) -> None:
    """A retry that nobody counts."""


def patient(handle: Replicas, retried: Callable[[str], None] = nothing) -> Caller:
    """A caller that does not pause."""
    return Caller(handle, retried, pause=lambda _: None)


# Calls and their repetition


@pytest.mark.parametrize("when", ["faults", "late"])
def test_an_answer_that_a_replica_took_along_is_asked_for_again(
    elsewhere: asyncio.AbstractEventLoop, when: str
) -> None:
    retried: list[str] = []
    models = Replicas(elsewhere, [Worker(Engines(Ears())), Worker(Engines(Ears()))])
    getattr(models, when).extend([ReplicaLostError(), ReplicaLostError()])

    report = patient(models, retried.append).ask("learn", 1, LAMP)

    assert report.version == "v1"
    assert retried == ["learn", "learn"]


def test_a_call_that_finds_no_replica_in_time_says_what_to_do(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    models = Replicas(elsewhere, [], faults=[ReplicaLostError()] * 2)
    with pytest.raises(EngineError, match="within 0 s: the log of `serve run`"):
        Caller(models, nothing, deadline_s=0).ask("facts")


def test_a_replica_that_does_not_answer_ends_the_call_at_its_deadline(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    retried: list[str] = []
    models = Replicas(elsewhere, [], faults=[TimeoutError()])
    with pytest.raises(EngineError, match="No model replica answered"):
        patient(models, retried.append).ask("facts")
    assert not retried


@pytest.mark.parametrize(
    "raised", [EngineBusyError, UnusableRequestError, EngineError, ValueError]
)
def test_an_engines_error_comes_through_as_itself(
    elsewhere: asyncio.AbstractEventLoop, raised: type[Exception]
) -> None:
    ears = Ears()
    ears.error = raised("the reason")
    caller = patient(Replicas(elsewhere, [Worker(Engines(ears))]))
    with pytest.raises(raised, match="^the reason$") as caught:
        caller.ask("learn", 1, LAMP)
    assert type(caught.value) is raised


def test_a_defect_of_an_engine_is_logged_without_what_was_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise RuntimeError("turn on the secret lamp")

    answer = attempt(fail)

    assert isinstance(answer, Failed)
    assert answer.kind == "engine"
    assert "test_deploy_parts.py" in caplog.text
    assert "secret" not in caplog.text + answer.message


# A model replica


async def test_a_replica_asks_for_a_vocabulary_that_it_lacks_and_never_goes_back() -> (
    None
):
    ears = Ears()
    worker = Worker(Engines(ears))
    pcm = silence(1)

    assert await worker.recognize(pcm, "en", 2, None) == Lacking()
    said = await worker.recognize(pcm, "en", 2, LAMP)
    assert isinstance(said, Recognition)
    assert said.text == "Kitchen Light"
    await worker.learn(1, Vocabulary())
    await worker.learn(2, LAMP)
    assert ears.homes == [LAMP]
    # Whoever has not heard of number 2 yet is served by it all the same.
    assert await worker.recognize(pcm, "en", 1, None) == said


async def test_a_vocabulary_that_the_engine_refuses_is_the_answer_to_the_utterance() -> (
    None
):
    ears = Ears()
    ears.error = ValueError("not this language")
    answer = await Worker(Engines(ears)).recognize(silence(1), "en", 1, LAMP)
    assert answer == Failed("value", "not this language")


async def test_what_a_caller_sent_is_never_written_to() -> None:
    worker = Worker(Engines(Ears()))
    pcm = np.ones(16_000, np.int16)
    pcm.setflags(write=False)
    await worker.recognize(pcm, "en", 1, LAMP)
    assert pcm.all()


def test_every_caller_of_a_batch_gets_the_rows_of_its_own_windows() -> None:
    rows = np.arange(6, dtype=np.float32)[:, None]
    parts = split(Classification(rows, rows * 10), [1, 3, 2])
    assert [part.scores[:, 0].tolist() for part in parts] == [[0], [1, 2, 3], [4, 5]]
    assert [part.embeddings[:, 0].tolist() for part in parts] == [
        [0],
        [10, 20, 30],
        [40, 50],
    ]


async def test_a_batch_scores_as_its_windows_would_alone(
    classifier: SoundClassifier,
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (3, classifier.window))
    windows = noise.astype(np.float32)
    batch = await Worker(Engines(None, classifier)).classify([windows[:1], windows[1:]])
    assert [each.scores.shape[0] for each in batch] == [1, 2]
    np.testing.assert_allclose(
        np.concatenate([each.scores for each in batch]),
        classifier.classify(windows).scores,
        atol=1e-4,
    )


async def test_a_batch_that_fails_fails_for_all_its_callers(
    classifier: SoundClassifier,
) -> None:
    wrong = np.zeros((1, 5), np.float32)
    answers = await Worker(Engines(None, classifier)).classify([wrong, wrong])
    assert [type(each) for each in answers] == [Failed, Failed]


def test_a_replica_tells_what_its_engines_are(classifier: SoundClassifier) -> None:
    facts = Worker(Engines(Ears(), classifier, Describer())).facts()
    assert facts.speech is not None
    assert facts.speech.languages == ("en",)
    assert facts.sounds is not None
    assert facts.sounds.labels == classifier.labels
    assert facts.describer is not None
    assert facts.describer.max_seconds == 30
    assert Worker(Engines()).facts() == Facts()


async def test_an_engine_that_is_not_there_is_a_defect_of_the_caller() -> None:
    with pytest.raises(LookupError):
        await Worker(Engines()).recognize(silence(1), "en", 0, None)


# Answers in pieces


def proxy_of(models: Replicas) -> DescriberProxy:
    facts = Worker(Engines(describer=Describer())).facts().describer
    assert facts is not None
    return DescriberProxy(facts, patient(models))


def test_an_answer_streams_through(elsewhere: asyncio.AbstractEventLoop) -> None:
    describer = Describer("a dog ", "barks")
    models = Replicas(elsewhere, [Worker(Engines(describer=describer))])
    pieces = list(proxy_of(models).describe(silence(1), "What?", {"type": "object"}, 9))
    assert pieces == ["a dog ", "barks"]
    assert describer.asked == [(16_000, "What?", {"type": "object"}, 9)]
    assert describer.closed == 1


def test_an_answer_goes_on_where_a_dead_replica_left_it(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    replicas = [
        Worker(Engines(describer=Describer("a dog ", "barks"))),
        Worker(Engines(describer=Describer("a ", "dog b", "arks"))),
    ]
    models = Replicas(elsewhere, replicas, late=[ReplicaLostError()])
    pieces = list(proxy_of(models).describe(silence(1), "What?"))
    assert "".join(pieces) == "a dog barks"
    assert pieces[0] == "a dog "


def test_an_answer_that_would_change_midway_is_an_error(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    replicas = [
        Worker(Engines(describer=Describer("a dog ", "barks"))),
        Worker(Engines(describer=Describer("a cat ", "mews"))),
    ]
    models = Replicas(elsewhere, replicas, late=[ReplicaLostError()])
    answer = proxy_of(models).describe(silence(1), "What?")
    assert next(answer) == "a dog "
    with pytest.raises(EngineError, match="answers differently"):
        next(answer)


@pytest.mark.parametrize("pieces", [[], ["a dog "]])
def test_an_error_of_an_answer_comes_where_it_arose(
    elsewhere: asyncio.AbstractEventLoop, pieces: list[str]
) -> None:
    describer = Describer(*pieces, UnusableRequestError("too long"))
    models = Replicas(elsewhere, [Worker(Engines(describer=describer))])
    answer = proxy_of(models).describe(silence(1), "What?")
    assert [next(answer) for _ in pieces] == pieces
    with pytest.raises(UnusableRequestError, match="too long"):
        next(answer)
    assert describer.closed == 1


def test_a_describer_that_refuses_at_once_is_an_answer_too(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    class Refusing(Describer):
        def describe(self, *_: Any, **__: Any) -> Iterator[str]:
            raise UnusableRequestError("empty")

    models = Replicas(elsewhere, [Worker(Engines(describer=Refusing()))])
    with pytest.raises(UnusableRequestError, match="empty"):
        next(proxy_of(models).describe(silence(1), ""))


# The ledger


def test_numbers_grow_over_restarts_and_the_home_stays(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0.2)
    assert ledger.state().number == 0
    assert ledger.state().token == TokenFile(tmp_path).read() != ""
    ledger.publish(ledger.reserve(), LAMP)
    first = ledger.state()
    assert (first.number, first.vocabulary) == (1, LAMP)

    again = Ledger(tmp_path, 0.2).state()
    assert again.number > first.number
    assert again.vocabulary == LAMP
    assert (again.token, again.installation) == (first.token, first.installation)


def test_the_ledger_takes_over_what_a_single_server_kept(tmp_path: Path) -> None:
    body = parse_vocabulary(b'{"areas": [{"id": "hall", "names": ["Hall"]}]}')
    VocabularyFile(tmp_path).save(body)
    assert Ledger(tmp_path, 0.2).state().vocabulary == to_vocabulary(body)


def test_of_two_vocabularies_the_one_reserved_later_stays(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0.2)
    early, late = ledger.reserve(), ledger.reserve()
    ledger.publish(late, LAMP)
    ledger.publish(early, Vocabulary())
    assert ledger.state().vocabulary == LAMP


async def test_news_are_told_when_they_arise(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0.2)
    known = ledger.state()
    asked = asyncio.create_task(ledger.news(known.number, known.token))
    await asyncio.sleep(0)
    ledger.publish(ledger.reserve(), LAMP)
    assert (await asked).vocabulary == LAMP
    # Without news, the question is answered in the end.
    assert await ledger.news(1, known.token) == ledger.state()


# Ingress replicas


@dataclass
class Cluster:
    """One ledger and model replicas, as a set of ingress replicas sees them."""

    data_dir: Path
    models: Replicas
    ledger: Replicas

    @asynccontextmanager
    async def ingress(self, name: str, **settings: Any) -> AsyncGenerator[House]:
        """An ingress replica, served."""
        worker: Worker = self.models.replicas[0]
        state: State = self.ledger.replicas[0].state()
        app = ingress_app(
            Settings(**({"data_dir": self.data_dir, "port": 0} | settings)),
            worker.facts(),
            state,
            self.models,
            self.ledger,
            name,
        )
        async with served(app, state.token) as house:
            yield house


@asynccontextmanager
async def served(app: FastAPI, token: str) -> AsyncGenerator[House]:
    """An application on a free port."""
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = EarshotServer(app, bind("127.0.0.1", 0), address.set_result)
    task = asyncio.create_task(server.serve())
    await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
    yield House(await address, token, app.state.service, server)
    server.should_exit = True
    await task


@pytest.fixture
def cluster(
    tmp_path: Path,
    elsewhere: asyncio.AbstractEventLoop,
    recognizer: SpeechRecognizer,
    classifier: SoundClassifier,
) -> Cluster:
    """One model replica with the real engines."""
    return Cluster(
        tmp_path,
        Replicas(elsewhere, [Worker(Engines(recognizer, classifier))]),
        Replicas(elsewhere, [Ledger(tmp_path, 0.2)]),
    )


async def vocabulary_of(house: House, version: str | None) -> None:
    """Wait until a replica has this version; pytest's timeout ends it otherwise."""
    while house.service.info().speech.vocabulary != version:
        await asyncio.sleep(0.01)


async def test_what_one_ingress_replica_was_told_all_understand(
    cluster: Cluster,
) -> None:
    async with cluster.ingress("one") as one, cluster.ingress("two") as two:
        async with one.http() as http:
            answer = await http.put("/v1/vocabulary", json=VOCABULARY)
        assert answer.headers[REPLICA_HEADER] == "one"
        version = answer.json()["version"]
        await vocabulary_of(two, version)
        async with two.stream("sounds", "commands") as stream:
            messages = await (await stream.play(command())).end()
        assert texts(messages) == ["turn on the kitchen lights"]
    assert "classify" in cluster.models.calls

    # A replica that starts now, and a single server after it, know it too.
    async with cluster.ingress("three") as three:
        await vocabulary_of(three, version)
    assert VocabularyFile(cluster.data_dir).load() is not None


async def test_a_dead_model_replica_costs_an_ingress_replica_nothing(
    cluster: Cluster,
) -> None:
    async with cluster.ingress("one") as one:
        await one.furnish()
        cluster.models.faults = [ReplicaLostError()]
        async with one.stream("commands") as stream:
            messages = await (await stream.play(command())).end()
        assert texts(messages) == ["turn on the kitchen lights"]
        async with one.http() as http:
            metrics = (await http.get("/metrics")).text
    assert 'earshot_retried_calls_total{method="recognize"} 1.0' in metrics


async def test_a_rotated_token_counts_at_every_replica(cluster: Cluster) -> None:
    async with cluster.ingress("one") as one:
        token = TokenFile(cluster.data_dir).rotate()
        headers = {"Authorization": f"Bearer {token}"}
        async with one.http(headers=headers) as http:
            while (await http.get("/v1/info")).status_code == 401:
                await asyncio.sleep(0.01)
        async with one.http() as http:
            assert (await http.get("/v1/info")).status_code == 401


async def test_a_private_folder_lasts_as_long_as_its_replica(
    cluster: Cluster,
) -> None:
    async with cluster.ingress("one") as one:
        folder = one.service.settings.data_dir
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
    assert not folder.exists()


async def test_an_ingress_replica_waits_for_model_replicas_that_are_away(
    tmp_path: Path, elsewhere: asyncio.AbstractEventLoop
) -> None:
    ledger = Ledger(tmp_path, 0.2)
    ledger.publish(ledger.reserve(), LAMP)
    models = Replicas(elsewhere, [Worker(Engines(Ears()))], faults=[TimeoutError()])
    cluster = Cluster(tmp_path, models, Replicas(elsewhere, [ledger]))
    async with cluster.ingress("one") as one:
        await vocabulary_of(one, "v1")


async def test_an_ingress_replica_outlives_its_ledger(
    tmp_path: Path, elsewhere: asyncio.AbstractEventLoop
) -> None:
    ledger = Replicas(elsewhere, [Ledger(tmp_path, 0.2)], faults=[TimeoutError()])
    models = Replicas(elsewhere, [Worker(Engines(Ears()))])
    async with Cluster(tmp_path, models, ledger).ingress("one") as one:
        while ledger.faults:
            await asyncio.sleep(0.01)
        state = ledger.replicas[0]
        number = await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(_publish(state), elsewhere)
        )
        assert number == 1
        await vocabulary_of(one, "v1")


async def _publish(ledger: Ledger) -> int:
    ledger.publish(number := ledger.reserve(), LAMP)
    return number


async def test_a_vocabulary_that_the_engine_refuses_stops_no_replica(
    tmp_path: Path,
    elsewhere: asyncio.AbstractEventLoop,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger = Ledger(tmp_path, 0.2)
    ledger.publish(ledger.reserve(), Vocabulary(language="fi"))
    models = Replicas(elsewhere, [Worker(Engines(Ears()))])
    cluster = Cluster(tmp_path, models, Replicas(elsewhere, [ledger]))
    with caplog.at_level(logging.WARNING):
        async with cluster.ingress("one") as one:
            assert one.service.info().speech is not None
    assert "refuses the vocabulary" in caplog.text


async def test_a_server_without_speech_ignores_vocabularies(
    tmp_path: Path, elsewhere: asyncio.AbstractEventLoop
) -> None:
    ledger = Ledger(tmp_path, 0.2)
    ledger.publish(ledger.reserve(), LAMP)
    models = Replicas(elsewhere, [Worker(Engines(describer=Describer("yes")))])
    cluster = Cluster(tmp_path, models, Replicas(elsewhere, [ledger]))
    async with cluster.ingress("one") as one, one.http() as http:
        told = (await http.get("/v1/info")).json()
    assert told["speech"] is None
    assert told["descriptions"]["max_seconds"] == 30


@pytest.mark.parametrize("frame", [{"bytes": b"12345"}, {"text": "12345"}])
async def test_a_message_over_the_limit_closes_the_stream_as_the_protocol_says(
    frame: dict[str, Any],
) -> None:
    arriving = [{"type": "websocket.connect"}, {"bytes": b"1234"}, frame]
    seen: list[Any] = []
    sent: list[Any] = []

    async def application(_: Any, receive: Any, __: Any) -> None:
        while not seen or seen[-1]["type"] != "websocket.disconnect":
            seen.append({"type": "websocket.receive"} | await receive())

    async def receive() -> Any:
        return arriving.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await Bounded(application, 4)({"type": "websocket"}, receive, send)

    assert seen[1]["bytes"] == b"1234"
    assert seen[2] == {"type": "websocket.disconnect", "code": 1009}
    assert sent == [{"type": "websocket.close", "code": 1009}]


async def test_every_answer_names_its_replica(cluster: Cluster) -> None:
    async with cluster.ingress("one") as one, httpx.AsyncClient() as http:
        for path in ("/health", "/v1/info"):
            answer = await http.get(one.url + path)
            assert answer.headers[REPLICA_HEADER] == "one"
        async with one.stream("sounds") as stream:
            response = stream.websocket.response
            assert response is not None
            assert response.headers[REPLICA_HEADER] == "one"


def test_proxies_work_ahead_of_nothing(
    tmp_path: Path, elsewhere: asyncio.AbstractEventLoop
) -> None:
    models = Replicas(elsewhere, [worker := Worker(Engines(Ears()))])
    facts = worker.facts().speech
    assert facts is not None
    caller = patient(models)
    proxy = RecognizerProxy(facts, caller, caller)
    proxy.foresee(silence(1))
    assert models.calls == []


async def test_a_proxy_brings_the_vocabulary_to_a_replica_that_started_later(
    tmp_path: Path, elsewhere: asyncio.AbstractEventLoop
) -> None:
    models = Replicas(elsewhere, [worker := Worker(Engines(Ears()))])
    ledger = Replicas(elsewhere, [Ledger(tmp_path, 0.2)])
    facts = worker.facts().speech
    assert facts is not None
    proxy = RecognizerProxy(facts, patient(models), patient(ledger))
    await asyncio.to_thread(proxy.set_vocabulary, LAMP)
    late = Ears()
    models.replicas = [Worker(Engines(late))]

    said = await asyncio.to_thread(proxy.recognize, silence(1), "en")

    assert said.text == "Kitchen Light"
    assert late.homes == [LAMP]
    assert models.calls == ["learn", "recognize", "recognize"]


def test_scores_of_a_proxy_are_those_of_the_engine(
    elsewhere: asyncio.AbstractEventLoop, classifier: SoundClassifier
) -> None:
    models = Replicas(elsewhere, [worker := Worker(Engines(None, classifier))])
    facts = worker.facts().sounds
    assert facts is not None
    proxy = ClassifierProxy(facts, patient(models))
    windows = np.zeros((2, proxy.window), np.float32)
    np.testing.assert_array_equal(
        proxy.classify(windows).scores, classifier.classify(windows).scores
    )
    assert proxy.hop == classifier.hop


async def test_a_replica_keeps_no_scores_that_would_vanish_with_it(
    cluster: Cluster,
) -> None:
    async with cluster.ingress("one") as house, house.http() as http:
        assert house.service.score_log is None
        assert (await http.get("/v1/replay")).status_code == 404
