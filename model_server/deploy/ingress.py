"""An ingress replica: the server's application over engines that are elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
import logging
from pathlib import Path
import shutil
import tempfile
from typing import Final

from fastapi import FastAPI
from prometheus_client import Counter
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_server.api.app import create_app
from model_server.api.refusals import EngineFailedError
from model_server.api.service import Service
from model_server.api.vocabulary import VocabularyBody
from model_server.deploy.messages import Facts, State
from model_server.deploy.proxies import (
    Adopting,
    Caller,
    ClassifierProxy,
    DescriberProxy,
    Handle,
    RecognizerProxy,
)
from model_server.engines.base import EngineError, Engines, Vocabulary
from model_server.settings import ClipSettings, Settings
from model_server.store import write_private

REPLICA_HEADER: Final = "X-Earshot-Replica"
AGAIN_S: Final = 1.0
"""Before the ledger is asked again after a failure."""
CLOSE_TOO_BIG: Final = 1009

_LOGGER = logging.getLogger(__name__)


def ingress_app(
    settings: Settings,
    facts: Facts,
    state: State,
    models: Handle,
    ledger: Handle,
    replica: str,
) -> FastAPI:
    """The application of `python -m model_server serve`, as one replica of several.

    Its data folder is a private copy of what the ledger told, made anew by each
    replica and removed at its end: nothing has to be shared between machines.
    """
    retried = Counter(
        "earshot_retried_calls",
        "Calls that were repeated because a replica died with them.",
        ["method"],
        registry=None,
    )
    to_models = Caller(models, lambda method: retried.labels(method).inc())
    to_ledger = Caller(ledger, lambda method: retried.labels(method).inc())
    recognizer = classifier = describer = None
    if facts.speech is not None:
        recognizer = RecognizerProxy(facts.speech, to_models, to_ledger)
    if facts.sounds is not None:
        classifier = ClassifierProxy(facts.sounds, to_models)
    if facts.describer is not None:
        describer = DescriberProxy(facts.describer, to_models)
    folder = Path(tempfile.mkdtemp(prefix="earshot-ingress-"))
    _copy(state, folder)
    app = create_app(
        # A clip would lie in this replica's folder, where no other finds it; a score log
        # would know of one replica's streams only, and vanish with it.
        settings.model_copy(
            update={
                "data_dir": folder,
                "clips": ClipSettings(),
                "score_log_days": 0.0,
            }
        ),
        Engines(recognizer, classifier, describer),
    )
    service: Service = app.state.service
    service.metrics.registry.register(retried)
    serve = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with serve(app):
            follower = Follower(service, recognizer, to_ledger, folder, state)
            await follower.adopt(state)
            following = asyncio.create_task(follower.run())
            yield
            following.cancel()
            # Awaited by itself, its end would hide that this is to end, too.
            await asyncio.wait([following])
        shutil.rmtree(folder, ignore_errors=True)

    app.router.lifespan_context = lifespan
    app.add_middleware(Bounded, max_message_bytes=settings.max_message_bytes)
    app.add_middleware(Named, replica=replica)
    return app


def _copy(state: State, folder: Path) -> None:
    """Keep what the server reads from its data folder."""
    write_private(folder / "token", f"{state.token}\n".encode())
    write_private(folder / "id", f"{state.installation}\n".encode())


class Follower:
    """Brings what other replicas and `token rotate` changed to this replica."""

    def __init__(
        self,
        service: Service,
        recognizer: RecognizerProxy | None,
        ledger: Caller,
        folder: Path,
        state: State,
    ) -> None:
        """Begin with the state that the replica was made with."""
        self._service = service
        self._recognizer = recognizer
        self._ledger = ledger
        self._folder = folder
        self._token = state.token
        self._number = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                state = await asyncio.to_thread(
                    self._ledger.ask, "news", self._number, self._token
                )
            except EngineError:
                _LOGGER.warning("The ledger does not answer: what changed comes late")
                await asyncio.sleep(AGAIN_S)
            else:
                await self.adopt(state)

    async def adopt(self, state: State) -> None:
        """Take a state over."""
        if state.token != self._token:
            _copy(state, self._folder)
            self._token = state.token
        if self._recognizer is None or state.vocabulary is None:
            self._number = state.number
        elif state.number <= self._recognizer.number:
            # It was sent to this very replica.
            self._number = state.number
        else:
            await self._compile(self._recognizer, state.number, state.vocabulary)

    async def _compile(
        self, recognizer: RecognizerProxy, number: int, vocabulary: Vocabulary
    ) -> None:
        body = VocabularyBody.model_validate(asdict(vocabulary))
        adopting = Adopting(recognizer, number)
        try:
            await self._service.set_vocabulary(adopting, body)
        except (ValueError, EngineFailedError):
            _LOGGER.warning("The speech engine refuses the vocabulary of the home")
        except EngineError:
            _LOGGER.warning("No model replica takes the vocabulary: trying again")
            await asyncio.sleep(AGAIN_S)
            return
        self._number = number


class Named:
    """ASGI middleware: every answer tells which replica gave it."""

    def __init__(self, app: ASGIApp, replica: str) -> None:
        """Name the answers of `app`."""
        self._app = app
        self._replica = replica

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the header."""

        async def named(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.accept"}:
                MutableHeaders(scope=message)[REPLICA_HEADER] = self._replica
            await send(message)

        await self._app(scope, receive, named)


class Bounded:
    """ASGI middleware: close a WebSocket that sends too much at once.

    Ray Serve's proxy takes up to 16 MiB; the protocol's limit is smaller.
    """

    def __init__(self, app: ASGIApp, max_message_bytes: int) -> None:
        """Guard `app`."""
        self._app = app
        self._limit = max_message_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass messages on that are small enough."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return

        async def bounded() -> Message:
            message = await receive()
            frame = message.get("bytes") or (message.get("text") or "").encode()
            if len(frame) <= self._limit:
                return message
            await send({"type": "websocket.close", "code": CLOSE_TOO_BIG})
            return {"type": "websocket.disconnect", "code": CLOSE_TOO_BIG}

        await self._app(scope, bounded, send)
