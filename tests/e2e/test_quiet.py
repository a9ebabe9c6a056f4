"""Talk, music and noise lead to nothing."""

from __future__ import annotations

import pytest

from demo.journal import Message
from demo.outcome import NOTHING
from demo.scenes import quiet
from tests.e2e.conftest import Stage


@pytest.mark.parametrize("number", range(3), ids=["talk", "music", "noise"])
async def test_what_means_nothing_leads_to_nothing(stage: Stage, number: int) -> None:
    played = await stage(list(quiet())[number])
    assert played.observed == NOTHING
    published = [e.topic for e in played.entries if isinstance(e, Message)]
    assert published == []
