"""The whole engine over a tiny checkpoint, and what its model was made to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.midashenglm.checkpoint import Loaded, load
from model_server.engines.midashenglm.core import Core
from model_server.engines.midashenglm.engine import MiDasheng
from model_server.settings import MiDashengSettings
from tests.server.checkpoints import write_midashenglm
from tests.server.voices import say

CHUNK_FRAMES = 1008
"""Spectrum frames of a finished chunk of 10.08 s."""


@cache
def loaded(kind: Any = "7b", seed: int = 0) -> Loaded:
    """A tiny model, written and loaded once: leave its weights as they are."""
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    return load(write_midashenglm(folder, kind, seed=seed), torch.device("cpu"))


@contextmanager
def serving(
    kind: Any = "7b", *, seed: int = 0, row_tokens: int = 3072, **settings: Any
) -> Iterator[MiDasheng]:
    """The engine, closed at the end."""
    engine = MiDasheng.over(
        loaded(kind, seed), MiDashengSettings(**settings), row_tokens
    )
    try:
        yield engine
    finally:
        engine.close()


def core(engine: MiDasheng) -> Core:
    """Its inside."""
    return engine._core


@dataclass
class Work:
    """What was computed: frames of each encoded chunk, tokens of each filled-in row."""

    chunks: list[int] = field(default_factory=list)
    passes: int = 0
    prefilled: list[int] = field(default_factory=list)


@contextmanager
def watched(engine: MiDasheng) -> Iterator[Work]:
    """Count what the real model does."""
    work = Work()
    decoder = core(engine).ears.decoder
    prefill = decoder.prefill

    def encoded(_: Any, args: Sequence[Tensor]) -> None:
        work.passes += 1
        work.chunks += [args[0].shape[-1]] * args[0].shape[0]

    def prefilled(rows: Sequence[int], embeddings: Sequence[Tensor]) -> Tensor:
        work.prefilled += [len(each) for each in embeddings]
        return prefill(rows, embeddings)

    encoder = core(engine).model.audio_encoder
    hook = encoder.register_forward_pre_hook(encoded)
    decoder.prefill = prefilled
    try:
        yield work
    finally:
        hook.remove()
        decoder.prefill = prefill


def hum(seconds: float, seed: int = 0, level: float = 900) -> Pcm:
    """Noise that is not quite white: never digital silence."""
    noise = np.random.default_rng(seed).normal(0, level, round(seconds * SAMPLE_RATE))
    return np.asarray(np.convolve(noise, np.ones(4) / 4, "same"), np.int16)


def talk(seconds: float) -> Pcm:
    """Speech of a length, over the noise of a room."""
    sentence = np.concatenate(
        [say("turn on the kitchen lights and then close the garage door please")] * 20
    )
    pcm = sentence[: round(seconds * SAMPLE_RATE)]
    assert pcm.size == round(seconds * SAMPLE_RATE)
    room = hum(seconds, level=30)
    return np.asarray(np.clip(pcm.astype(int) + room, -32768, 32767), np.int16)
