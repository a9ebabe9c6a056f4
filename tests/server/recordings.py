"""Where the real recordings are, on machines that have them."""

from __future__ import annotations

from functools import cache
import os
from pathlib import Path

import pytest

from model_server.evaluation.recordings import (
    HELD_OUT,
    Clip,
    Recording,
    load,
    read_manifest,
    split,
)

DATA = Path(
    os.environ.get("EARSHOT_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")
)

needs_recordings = pytest.mark.skipif(
    not DATA.is_dir(), reason="the recordings are not here"
)


@cache
def unseen() -> tuple[Recording, ...]:
    """Every recording that training never used."""
    return tuple(split(read_manifest(DATA))[1])


def unseen_clips(name: str, count: int = 100) -> list[Clip]:
    """Clips of one class from the held-out fold, or of held-out speech."""
    chosen = [
        one
        for one in unseen()
        if one.name == name and (name == "speech" or one.subset == HELD_OUT)
    ]
    return [load(one) for one in chosen[:count]]
