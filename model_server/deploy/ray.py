"""Ray Serve: `serve run model_server.deploy.ray:app`, or `serve run model_server/deploy/ray.yaml`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from ray import serve
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)

from model_server.build import build_engines
from model_server.deploy.ingress import ingress_app
from model_server.deploy.ledger import Ledger
from model_server.deploy.messages import Facts, Failed, Lacking, State
from model_server.deploy.proxies import ReplicaLostError
from model_server.deploy.worker import Worker
from model_server.engines.base import (
    Classification,
    EngineBusyError,
    Pcm,
    Recognition,
    Vocabulary,
    VocabularyReport,
)
from model_server.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

SERVES_OTHERWISE: Final = {"host", "port", "tls_cert", "tls_key", "zeroconf", "wyoming"}
"""Settings of the process that listens, which is Ray Serve's proxy here."""

USAGE_STATS: Final = "RAY_USAGE_STATS_ENABLED"

MAX_BATCH: Final = 16
BATCH_WAIT_S: Final = 0.005
"""A hundredth of the hop between two windows: nobody notices it."""

_LOST: Final = (
    RayActorError,
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,
    TaskCancelledError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)


class RayHandle:
    """A deployment as `proxies.Handle`; called from threads without an event loop."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        """Call through this handle."""
        self._handle = handle

    def call(self, method: str, *args: object, timeout_s: float) -> object:
        """One answer. Raises ReplicaLostError, TimeoutError, EngineBusyError."""
        with _translated():
            response = getattr(self._handle, method).remote(*args)
            try:
                return response.result(timeout_s=timeout_s)
            except TimeoutError:
                response.cancel()
                raise

    def stream(self, method: str, *args: object) -> Generator[object]:
        """Answers in pieces. Raises as `call`; closing the generator ends the call."""
        streaming = self._handle.options(stream=True)
        with _translated():
            pieces: DeploymentResponseGenerator[object] = getattr(
                streaming, method
            ).remote(*args)
            try:
                yield from pieces
            finally:
                # It does nothing to an answer that is complete.
                pieces.cancel()  # type: ignore[no-untyped-call] # Ray's gap


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BackPressureError:
        raise EngineBusyError("Too many calls wait for the model replicas.") from None
    except _LOST as error:
        raise ReplicaLostError(type(error).__name__) from None


class Ledgers:
    """The one ledger; Ray Serve starts it again should it die."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Open the data folder."""
        self._ledger = Ledger(Settings(**settings).data_dir)

    def state(self) -> State:
        """See `Ledger.state`."""
        return self._ledger.state()

    def reserve(self) -> int:
        """See `Ledger.reserve`."""
        return self._ledger.reserve()

    def publish(self, number: int, vocabulary: Vocabulary) -> None:
        """See `Ledger.publish`."""
        self._ledger.publish(number, vocabulary)

    async def news(self, number: int, token: str) -> State:
        """See `Ledger.news`."""
        return await self._ledger.news(number, token)


class Models:
    """The engines; any number of replicas, all alike."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Load every engine that the settings name. Raises EngineError."""
        self._worker = Worker(build_engines(Settings(**settings)))

    def facts(self) -> Facts:
        """See `Worker.facts`."""
        return self._worker.facts()

    async def learn(
        self, number: int, vocabulary: Vocabulary
    ) -> VocabularyReport | Failed:
        """See `Worker.learn`."""
        return await self._worker.learn(number, vocabulary)

    async def recognize(
        self, pcm: Pcm, language: str, number: int, vocabulary: Vocabulary | None
    ) -> Recognition | Lacking | Failed:
        """See `Worker.recognize`."""
        return await self._worker.recognize(pcm, language, number, vocabulary)

    # Ray types the decorator for functions; that it serves methods it says in words.
    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_S)  # type: ignore[arg-type]
    async def classify(  # type: ignore[misc]
        self, calls: list[npt.NDArray[np.float32]]
    ) -> Sequence[Classification | Failed]:
        """See `Worker.classify`; the calls of all ingress replicas meet here."""
        return await self._worker.classify(calls)

    async def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None,
        max_tokens: int,
    ) -> AsyncGenerator[str | Failed]:
        """See `Worker.describe`."""
        async for piece in self._worker.describe(pcm, instruction, schema, max_tokens):
            yield piece


@serve.ingress()
class Ingress:
    """Streams and doors; any number of replicas behind Ray Serve's proxy."""

    async def __init__(  # type: ignore[misc] # what Ray Serve awaits
        self,
        settings: Mapping[str, Any],
        models: DeploymentHandle[Any],
        ledger: DeploymentHandle[Any],
    ) -> None:
        """Wait for a model replica and the ledger."""
        self._settings = Settings(**settings)
        self._handles = models, ledger
        self._facts: Facts = await models.facts.remote()
        self._state: State = await ledger.state.remote()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application that Ray Serve runs."""
        models, ledger = (RayHandle(handle) for handle in self._handles)
        replica = serve.get_replica_context().replica_id.unique_id
        return ingress_app(
            self._settings, self._facts, self._state, models, ledger, replica
        )


LEDGER: Final[serve.Deployment] = serve.deployment(
    name="ledger",
    # Its calls are questions for news that stay open.
    max_ongoing_requests=1000,
    ray_actor_options={"num_cpus": 0},
)(Ledgers)

MODELS: Final[serve.Deployment] = serve.deployment(
    name="models",
    max_ongoing_requests=64,
    health_check_period_s=2,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=10,
    ray_actor_options={"num_cpus": 1},
)(Models)

INGRESS: Final[serve.Deployment] = serve.deployment(
    name="ingress",
    health_check_period_s=2,
    health_check_timeout_s=10,
    # Streams never end by themselves: their clients connect to another replica.
    graceful_shutdown_timeout_s=5,
    ray_actor_options={"num_cpus": 0.5},
)(Ingress)


def app(args: dict[str, Any]) -> serve.Application:
    """Build the application from settings, named as in a TOML file.

    How many replicas there are and on what is Ray Serve's own configuration, as in
    ray.yaml. Raises SettingsError for a setting that does not belong here, and where
    Ray would report to its maker.
    """
    if os.environ.get(USAGE_STATS) != "0":
        raise SettingsError(
            f"Ray reports how it is used unless it is started with {USAGE_STATS}=0 "
            "in its environment: start it again with it, on every machine."
        )
    if wrong := sorted(SERVES_OTHERWISE & set(args)):
        raise SettingsError(
            f"Setting {wrong[0]}: on Ray set it under http_options, or leave it out."
        )
    settings = load_settings(**args)
    told = settings.model_dump()
    ingress = INGRESS.options(
        # A stream is a request that lasts; beyond max_streams the door itself answers.
        max_ongoing_requests=settings.max_streams + 64
    )
    return ingress.bind(told, MODELS.bind(told), LEDGER.bind(told))
