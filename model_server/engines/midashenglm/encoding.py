"""Chunks of mel to patches at the GPU's speed: whatever their lengths, in one graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model_server.engines.midashenglm.graphs import Replays
from model_server.engines.midashenglm.model import MiDashengLM

_GRAPHED = 8
"""Chunks up to which a forward is a graph; above, launches cost little beside it."""

_TOGETHER = 48
"""Chunks in one forward: 12,096 patches keep a GPU busy, with 0.5 GB of activations."""


class ChunkEncoder:
    """Encode chunks as `MiDashengLM.encode_chunks` does, with few shapes.

    Few chunks are padded to full ones and masked: one forward instead of one per
    length, recorded once for each number of chunks. Not safe to call from two threads
    at a time.
    """

    def __init__(self, model: MiDashengLM, *, static: bool | None = None) -> None:
        """Serve a model; `static` pads and records, by default on a GPU."""
        self._model = model
        self._encoder = model.audio_encoder
        device = self._encoder.time_pos_embed.device
        self._static = device.type == "cuda" if static is None else static
        self._replays = Replays(device)

    def prepare(self, chunks: int) -> None:
        """Record now what 1 to `chunks` chunks need; nothing without fixed shapes."""
        if self._static:
            config = self._model.config.encoder
            device = self._encoder.time_pos_embed.device
            silence = torch.zeros((config.n_mels, config.chunk_frames), device=device)
            for count in range(1, chunks + 1):
                self([silence] * count)

    @property
    def graphs(self) -> int:
        """How many shapes have been prepared so far."""
        return len(self._replays)

    @torch.inference_mode()
    def __call__(
        self, chunks: Sequence[Tensor], ends: Sequence[bool] | None = None
    ) -> list[Tensor]:
        """Chunks, (n_mels, frames), to the patches of each, (patches, dim).

        `ends` says which are the last of their clip, as for `encode_chunks`.
        """
        frames = self._model.config.encoder.chunk_frames
        if ends is None:
            ends = [chunk.shape[-1] < frames for chunk in chunks]
        found: list[Tensor] = []
        for start in range(0, len(chunks), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            if self._static and len(chunks[part]) <= _GRAPHED:
                found += self._padded(chunks[part], ends[part])
            else:
                found += self._model.encode_chunks(chunks[part], ends[part])
        return found

    def _padded(self, chunks: Sequence[Tensor], ends: Sequence[bool]) -> list[Tensor]:
        """Encode a few chunks of any lengths in one forward."""
        config = self._model.config.encoder
        stride = config.patch_stride[1]
        mels = chunks[0].new_zeros((len(chunks), config.n_mels, config.chunk_frames))
        heard: list[int] = []
        for place, chunk, end in zip(mels, chunks, ends, strict=True):
            count = chunk.shape[-1]
            place[:, :count] = chunk
            # A last chunk's last patch may reach past the last sample.
            heard.append(max(1, (count - end) // stride))
        columns = torch.arange(config.grid[1]).repeat(config.grid[0])
        keep = columns < torch.tensor(heard)[:, None]
        if mels.device.type == "cuda":
            keep = keep.pin_memory()
        patches = self._replays(len(chunks), self._encoder.transform, mels, keep)
        return [
            each.unflatten(0, config.grid)[:, : chunk.shape[-1] // stride]
            .flatten(0, 1)
            .clone()
            for each, chunk in zip(patches, chunks, strict=True)
        ]
