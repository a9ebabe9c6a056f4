"""Real people, glass, a baby and a dog: what was recorded leads to what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.scenes import RECORDINGS, recorded
from tests.e2e.conftest import Stage


@pytest.mark.parametrize(
    "number",
    range(len(RECORDINGS)),
    ids=[recording.title for recording in RECORDINGS],
)
async def test_a_recording_leads_to_exactly_what_it_should(
    stage: Stage, recordings: Path, number: int
) -> None:
    played = await stage(recorded(recordings)[number])
    assert played.observed == played.scene.expected
    assert not played.missing
