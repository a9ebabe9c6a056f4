"""Talk, music and noise lead to nothing, real voices included."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.journal import Message
from demo.outcome import NOTHING
from demo.scenes import quiet, recorded
from tests.e2e.conftest import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("number", range(3), ids=["talk", "music", "noise"])
async def test_what_means_nothing_leads_to_nothing(stage: Stage, number: int) -> None:
    played = await stage(list(quiet())[number])
    assert played.observed == NOTHING
    published = [e.topic for e in played.entries if isinstance(e, Message)]
    assert published == []


async def test_every_recording_leads_to_exactly_what_it_should(
    stage: Stage, recordings: Path
) -> None:
    plays = [await stage(scene) for scene in recorded(recordings)]
    wrong = {
        played.scene.title: (str(played.observed), played.missing)
        for played in plays
        if not played.as_expected
    }
    assert wrong == {}
