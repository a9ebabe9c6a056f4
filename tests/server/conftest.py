"""Real engines, loaded once, and a real server around them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from hypothesis import settings
import pytest

from model_server.engines.base import SoundClassifier, SpeechRecognizer
from model_server.engines.embedded.sounds import EmbeddedClassifier
from model_server.engines.embedded.speech import EmbeddedRecognizer
from tests.server.client import House, running
from tests.server.scripted_chat import ScriptedChat, scripted_chat

# No test may fail because the machine is busy; and half of the usual examples, since
# every run looks at others.
settings.register_profile("busy", deadline=None, max_examples=50)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> SpeechRecognizer:
    """The embedded speech engine."""
    return EmbeddedRecognizer(tmp_path_factory.mktemp("grammars"))


@pytest.fixture(scope="session")
def classifier() -> SoundClassifier:
    """The embedded sound engine."""
    return EmbeddedClassifier()


@pytest.fixture(scope="session")
def chat() -> Generator[ScriptedChat]:
    """A server of OpenAI's chat API that does what it is told."""
    with scripted_chat() as started:
        yield started


@pytest.fixture
def serve(
    tmp_path: Path, recognizer: SpeechRecognizer, classifier: SoundClassifier
) -> Callable[..., AbstractAsyncContextManager[House]]:
    """Start a server with the real engines unless others are given."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncGenerator[House]:
        engines = {"recognizer": recognizer, "classifier": classifier}
        async with running(tmp_path / "data", **(engines | options)) as house:
            yield house

    return start


@pytest.fixture
async def house(
    serve: Callable[..., AbstractAsyncContextManager[House]],
) -> AsyncGenerator[House]:
    """A running server that knows a kitchen and an office."""
    async with serve() as started:
        await started.furnish()
        yield started
