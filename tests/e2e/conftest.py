"""One house for the whole session: real broker, server and Home Assistant, and real sound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
import os
from pathlib import Path
import shutil

import pytest
import pytest_asyncio
from pytest_asyncio import is_async_test

from demo.house import House, furnished_house, running_house
from demo.scenes import Scene
from demo.stack import ROOT
from demo.stage import Played, perform

Stage = Callable[[Scene], Awaitable[Played]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the browser test's pictures be kept."""
    parser.addoption(
        "--screenshots",
        default=os.environ.get("EARSHOT_SCREENSHOTS"),
        help="folder to save the browser test's pictures in",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all of these tests in one loop: it is what the house's sound comes from."""
    for item in items:
        if Path(__file__).parent in item.path.parents and is_async_test(item):
            marker = pytest.mark.asyncio(loop_scope="session")
            item.add_marker(marker, append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house() -> AsyncIterator[House]:
    """A house whose kitchen microphone listens."""
    jukebox = Path(__file__).parent / "jukebox"
    async with running_house(components=[jukebox]) as running:
        yield running
        _keep_logs(running, "house")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deaf_house() -> AsyncIterator[House]:
    """A furnished house in which Earshot is not set up yet."""
    async with furnished_house() as running:
        yield running
        _keep_logs(running, "deaf-house")


def _keep_logs(house: House, name: str) -> None:
    """Leave the parts' logs in .cache/e2e, to see why a test failed."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    folder = ROOT / ".cache" / "e2e" / f"{name}{worker}"
    folder.mkdir(parents=True, exist_ok=True)
    for part in (house.stack.broker, house.stack.server, house.stack.home_assistant):
        shutil.copy(part.log, folder)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(house: House) -> Stage:
    """Play a scene in the house and let its sounds end."""

    async def act(scene: Scene) -> Played:
        played = await perform(house, scene)
        assert not played.stuck, f"a sound of {scene.title} stays on"
        return played

    return act


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings; without it these tests do not apply."""
    folder = Path(os.environ.get("EARSHOT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no recordings here: EARSHOT_DATA names their folder")
    return folder
