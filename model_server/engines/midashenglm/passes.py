"""What a decoder computes over its rows: each forward a function of tensors alone.

None asks the host anything or has a shape that depends on a value, so that a graph can
record it. Which rows, how long they are and what to compute next is decoding.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model_server.engines.midashenglm.blocks import (
    Blocks,
    additive,
    attend_fresh,
    attend_masked,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = 64
"""Lengths are rounded up to this: what attention's kernels divide keys into."""


class Passes:
    """Forwards over rows of keys and values, which are here."""

    def __init__(self, model: PreTrainedModel, rows: int, length: int) -> None:
        """Take memory for `rows` rows of `length` tokens. Raises as `Blocks` does."""
        self.capacity = -(-(length + 1) // BLOCK) * BLOCK
        self.blocks = Blocks(model, length)
        self.rows, self.length = rows, length
        shape = self.blocks.shape
        self.device, self.dtype = self.blocks.device, self.blocks.dtype
        # Keys and, beside them, values. The last position of each row takes what is to
        # be written nowhere (padding): it is past `length`, so nothing ever sees it.
        self.cache = torch.zeros(
            (shape.layers, rows, self.capacity, 2 * shape.key_heads, shape.dim),
            dtype=self.dtype,
            device=self.device,
        )
        # Each row's finished hidden state after its last token: the first token of
        # a continuation is scored with it. One more row takes the idle rows' states.
        self.states = torch.zeros(
            (rows + 1, shape.hidden), dtype=self.dtype, device=self.device
        )
        self.ascending = torch.arange(max(rows, self.capacity), device=self.device)

    def append(self, past: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Make the forward that appends to rows, of which `past` tokens are seen."""

        def forward(hidden: Tensor, plan: Tensor) -> Tensor:
            rows, last, positions = plan[:, 0], plan[:, 1], plan[:, 2:]
            places = (rows[:, None] * self.capacity + positions).flatten()
            mask = self._append_mask(positions, past) if past else None

            def attend(layer: int, query: Tensor, key_value: Tensor) -> Tensor:
                self._write(layer, places, key_value)
                if mask is None:
                    return attend_fresh(query, key_value)
                seen = self.cache[layer, :, :past].index_select(0, rows)
                return attend_masked(query, torch.cat((seen, key_value), 1), mask)

            hidden = self.blocks(hidden, positions.clamp_max(self.length - 1), attend)
            states = self.blocks.finish(hidden[self.ascending[: len(rows)], last])
            self.states.index_copy_(0, rows, states)
            return states

        return forward

    def _append_mask(self, positions: Tensor, past: int) -> Tensor:
        """Mask (rows, 1, tokens, past + tokens) for tokens at positions (rows, tokens)."""
        rows, tokens = positions.shape
        seen = self.ascending[:past] < positions[:, :1]
        order = torch.arange(tokens, device=self.device)
        keep = torch.cat(
            (
                seen[:, None].expand(rows, tokens, past),
                (order[:, None] >= order).expand(rows, tokens, tokens),
            ),
            -1,
        )
        return additive(keep[:, None], self.dtype)

    def _write(self, layer: int, places: Tensor, key_value: Tensor) -> None:
        """Put keys and values of (rows, tokens) where places, (rows * tokens,), say."""
        self.cache[layer].flatten(0, 1).index_copy_(0, places, key_value.flatten(0, 1))

    def step(
        self, count: int, seen: int, *, gather: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Make the forward of one token for each of `count` rows, which see `seen` places.

        Without `gather` they are the first rows, whose keys are read where they lie.
        """

        def forward(plan: Tensor) -> Tensor:
            tokens, positions, rows = plan
            places = rows * self.capacity + positions
            mask = additive(
                (self.ascending[:seen] <= positions[:, None])[:, None, None],
                self.dtype,
            )

            def attend(layer: int, query: Tensor, key_value: Tensor) -> Tensor:
                self._write(layer, places, key_value)
                if gather:
                    seen_here = self.cache[layer, :, :seen].index_select(0, rows)
                else:
                    seen_here = self.cache[layer, :count, :seen]
                return attend_masked(query, seen_here, mask)

            hidden = self.blocks(
                self.blocks.embed(tokens)[:, None],
                positions.clamp_max(self.length - 1)[:, None],
                attend,
            )
            states = self.blocks.finish(hidden[:, 0])
            active = positions < self.length
            self.states.index_copy_(0, rows.where(active, self.rows), states)
            return self.blocks.logits(states)

        return forward

    def greedy(self, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Make the forward that turns a step's plan into the next step's."""

        def advance(plan: Tensor) -> Tensor:
            chosen = forward(plan).argmax(-1)
            active = plan[1] < self.length
            return torch.stack((chosen.where(active, 0), plan[1] + active, plan[2]))

        return advance

    def beside(
        self, row: int, filled: int, tokens: Tensor, positions: Tensor, owners: Tensor
    ) -> Tensor:
        """States of tokens, (tokens, hidden), that see a row and their own kind.

        The row's first `filled` places, and those tokens of the same owner that come
        before; nothing is stored.
        """
        keep = (owners[:, None] == owners) & (positions[:, None] >= positions)
        keep = torch.cat((keep.new_ones(len(tokens), filled), keep), -1)
        mask = additive(keep[None, None], self.dtype)

        def attend(layer: int, query: Tensor, key_value: Tensor) -> Tensor:
            prefix = self.cache[layer, row : row + 1, :filled]
            return attend_masked(query, torch.cat((prefix, key_value), 1), mask)

        hidden = self.blocks(self.blocks.embed(tokens)[None], positions[None], attend)
        return self.blocks.finish(hidden[0])
