"""Batched decoding of one Qwen decoder over a cache with one row per sequence.

Rows have different lengths and come and go one by one. All memory is taken at the
start; on a GPU the steps and the prefill of one row are CUDA graphs, per bucket of
rows and of length, so that their time is the GPU's and not the launching's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor
import torch.nn.functional as F

from model_server.engines.base import EngineError
from model_server.engines.midashenglm.graphs import Replays
from model_server.engines.midashenglm.passes import BLOCK, Passes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOGETHER = 8192
"""Tokens in one forward of a prefill: a GPU is busy with them, and they need about
1 GB of activations at 7B."""

_GRAPHED = 1024
"""Tokens up to which the prefill of one row is a graph; above, launches cost little."""

_SCORED = 256
"""Logits in float32 at a time: 152,064 words of each are 156 MB."""


class RowFullError(EngineError):
    """A sequence would outgrow its row."""

    def __init__(self, needed: int, length: int) -> None:
        """Say how much is missing."""
        super().__init__(
            f"{needed} tokens are needed where a row holds {length}: "
            "use shorter audio or a shorter answer, or allow longer rows"
        )


def bucket(count: int, limit: int, block: int) -> int:
    """Round up so that few sizes occur: to a multiple of block, or by up to a quarter.

    Never above `limit`, which itself is always a size.
    """
    step = block
    while step * 8 < count:
        step *= 2
    return min(limit, -(-count // step) * step)


def row_bucket(count: int, limit: int) -> int:
    """Round a number of rows up: 1, 2, 4, 8 and on as `bucket`."""
    if count <= 8:
        return min(limit, 1 << (count - 1).bit_length())
    return bucket(count, limit, 8)


class Decoder:
    """Decode many sequences at once; not safe to call from two threads at a time.

    On a GPU a step computes all rows up to the highest one it is asked for: take low
    rows first. All methods return tensors on the model's device that were made in
    inference mode; only reading them waits for the GPU.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: int,
        length: int,
        *,
        static: bool | None = None,
    ) -> None:
        """Take memory for `rows` sequences of up to `length` tokens.

        `static` uses fixed shapes, which graphs need: by default on a GPU. Raises
        ValueError for a decoder that cannot be served or sizes below 1.
        """
        if rows < 1 or length < 1:
            raise ValueError(f"{rows} rows of {length} tokens: both must be at least 1")
        self._passes = Passes(model, rows, length)
        self.rows, self.length = rows, length
        self.device, self.dtype = self._passes.device, self._passes.dtype
        self._static = self.device.type == "cuda" if static is None else static
        self._filled = [0] * rows
        self._fresh = [False] * rows  # whether the state is that of the last token
        self._replays = Replays(self.device)

    @property
    def graphs(self) -> int:
        """How many shapes have been prepared so far."""
        return len(self._replays)

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values."""
        return self._passes.cache.nbytes

    def prepare(self, prompts: Sequence[tuple[int, int]], rows: int = 1) -> None:
        """Record now what prompts need, and steps of up to `rows` rows after them.

        A prompt is how many tokens its row has already and how many come. On a GPU the
        first use of a shape takes some tenths of a second; without fixed shapes this
        does nothing. Prompts that leave no place for a step are passed over. Raises
        ValueError where a row is in use.
        """
        if not self._static:
            return
        if any(self._filled):
            raise ValueError("rows are in use: prepare before the first prompt")
        slots = sorted({row_bucket(each, self.rows) for each in range(1, rows + 1)})
        silence = torch.zeros(
            (self.length, self._passes.blocks.shape.hidden),
            dtype=self.dtype,
            device=self.device,
        )
        for past, count in prompts:
            if past + count >= self.length:
                continue
            for row in (each - 1 for each in slots):
                for part in filter(None, (past, count)):
                    self.prefill([row], [silence[:part]])
                self.step([row], [0])
                self.truncate(row, 0)

    def filled(self, row: int) -> int:
        """Tokens in a row."""
        return self._filled[row]

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Embeddings of tokens, (tokens, hidden), in the model's type."""
        with torch.inference_mode():
            ids = self._send(list(tokens)).to(self.device, non_blocking=True)
            embeddings: Tensor = self._passes.blocks.embed(ids)
            return embeddings

    @torch.inference_mode()
    def prefill(self, rows: Sequence[int], embeddings: Sequence[Tensor]) -> Tensor:
        """Append embeddings, (tokens, hidden) each, to rows; float32 logits after them.

        Returns (rows, vocabulary): what follows each row's last token. Raises
        RowFullError, before anything is written, and ValueError for an unknown or
        repeated row, for none, or for embeddings of another shape.
        """
        return self._passes.blocks.logits(self._append(rows, embeddings)).float()

    def _append(self, rows: Sequence[int], embeddings: Sequence[Tensor]) -> Tensor:
        """Append to rows in as few forwards as fit; the finished states after each."""
        self._check(rows, [len(each) for each in embeddings])
        hidden = self._passes.blocks.shape.hidden
        for each in embeddings:
            if each.dim() != 2 or each.shape[1] != hidden:
                raise ValueError(
                    f"embeddings of shape {tuple(each.shape)}: "
                    f"(tokens, {hidden}) is needed"
                )
        self._begin(rows)
        order = sorted(range(len(rows)), key=lambda i: len(embeddings[i]))
        found = torch.cat(
            [
                self._prefill([rows[i] for i in part], [embeddings[i] for i in part])
                for part in _portions(order, [len(each) for each in embeddings])
            ]
        )
        for row, each in zip(rows, embeddings, strict=True):
            self._end(row, len(each))
        if order == list(range(len(rows))):
            return found
        back = sorted(range(len(rows)), key=order.__getitem__)
        return found[self._send(back).to(self.device, non_blocking=True)]

    def _prefill(self, rows: list[int], embeddings: list[Tensor]) -> Tensor:
        """Compute one forward; returns the finished states after each row, (rows, hidden)."""
        counts = [len(each) for each in embeddings]
        longest, past = max(counts), max(self._filled[row] for row in rows)
        graphed = self._static and len(rows) == 1 and longest <= _GRAPHED
        if graphed:
            longest = bucket(longest, _GRAPHED, BLOCK)
            past = bucket(past, self._passes.capacity, BLOCK) if past else 0
        if len(rows) == 1 and longest == counts[0]:
            hidden = embeddings[0][None].to(self.device, self.dtype)
        else:
            hidden = torch.zeros(
                (len(rows), longest, self._passes.blocks.shape.hidden),
                dtype=self.dtype,
                device=self.device,
            )
            for place, each in zip(hidden, embeddings, strict=True):
                place[: len(each)] = each
        spare = self._passes.capacity - 1
        plan = self._send(
            [
                [
                    row,
                    count - 1,
                    *range(self._filled[row], self._filled[row] + count),
                    *[spare] * (longest - count),
                ]
                for row, count in zip(rows, counts, strict=True)
            ]
        )
        forward = self._passes.append(past)
        if graphed:
            # What a replay returns is overwritten by its next call.
            key = ("prefill", longest, past)
            return self._replays(key, forward, hidden, plan).clone()
        return forward(hidden, plan.to(self.device, non_blocking=True))

    @torch.inference_mode()
    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Append one token to each of rows; float32 logits after it, (rows, vocabulary).

        Raises RowFullError, before anything is written, and ValueError for an unknown
        or repeated row, or for none.
        """
        if len(tokens) != len(rows):
            raise ValueError(f"{len(tokens)} tokens for {len(rows)} rows")
        self._check(rows, [1] * len(rows))
        self._begin(rows)
        logits, order = self._advance(rows, tokens)
        for row in rows:
            self._end(row, 1)
        return (logits if order is None else logits[order]).float()

    def _advance(
        self, rows: Sequence[int], tokens: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        """Compute one step: logits, and where in them each of rows is, if reordered."""
        positions = [self._filled[row] for row in rows]
        if not self._static:
            plan = self._send([list(tokens), positions, list(rows)]).to(self.device)
            ordered = list(rows) == list(range(len(rows)))
            seen = max(positions) + 1
            return self._passes.step(len(rows), seen, gather=not ordered)(plan), None
        slots, plan = self._slots(rows, tokens, positions)
        seen = bucket(max(positions) + 1, self._passes.capacity, BLOCK)
        logits = self._replays(
            ("step", slots, seen), self._passes.step(slots, seen), plan
        )
        return logits, self._send(list(rows)).to(self.device, non_blocking=True)

    def _slots(
        self, rows: Sequence[int], tokens: Sequence[int], positions: Sequence[int]
    ) -> tuple[int, Tensor]:
        """Lay a step out over all rows up to a bucket; idle ones write to no place."""
        slots = row_bucket(max(rows) + 1, self.rows)
        given, places = [0] * slots, [self._passes.capacity - 1] * slots
        for row, token, position in zip(rows, tokens, positions, strict=True):
            given[row], places[row] = token, position
        return slots, self._send([given, places, list(range(slots))])

    @torch.inference_mode()
    def generate(
        self, rows: Sequence[int], embeddings: Sequence[Tensor], new_tokens: int
    ) -> Tensor:
        """Append embeddings and then the likeliest token, `new_tokens` times.

        Returns the tokens, (rows, new_tokens); the last one is not appended. Nothing
        ends a sequence early, and no token leaves the device on the way. Errors as
        `prefill`'s.
        """
        if new_tokens < 1:
            raise ValueError(f"{new_tokens} new tokens: at least 1 is needed")
        self._check(rows, [len(each) + new_tokens - 1 for each in embeddings])
        chosen = self._passes.blocks.logits(self._append(rows, embeddings)).argmax(-1)
        found = torch.empty(
            (new_tokens, len(rows)), dtype=torch.int64, device=self.device
        )
        found[0] = chosen
        positions = [self._filled[row] for row in rows]
        if self._static:
            slots, plan = self._slots(rows, [0] * len(rows), positions)
        else:
            slots, plan = len(rows), self._send([positions, positions, list(rows)])
        plan = plan.to(self.device, non_blocking=True)
        places = (
            self._send(list(rows)).to(self.device, non_blocking=True)
            if self._static
            else self._passes.ascending[: len(rows)]
        )
        plan[0, places] = chosen
        self._begin(rows)
        for turn in range(1, new_tokens):
            seen = max(positions) + turn
            if self._static:
                seen = bucket(seen, self._passes.capacity, BLOCK)
                forward = self._passes.greedy(self._passes.step(slots, seen))
                plan = self._replays(("greedy", slots, seen), forward, plan)
            else:
                plan = self._passes.greedy(self._passes.step(slots, seen, gather=True))(
                    plan
                )
            found[turn] = plan[0, places]
        for row in rows:
            self._end(row, new_tokens - 1)
        return found.T

    @torch.inference_mode()
    def score(self, row: int, continuations: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities of each token of each continuation of a row, float32.

        Returns (continuations, longest), padded with 0; the row stays as it is. All
        continuations lie side by side in one forward, each seeing the row and itself.
        Raises RowFullError for a continuation that would outgrow the row, and
        ValueError for a row without tokens, or one truncated since its last token.
        """
        if not self._filled[self._known(row)] or not self._fresh[row]:
            raise ValueError(
                f"row {row} must have had a token appended since it was last cut"
            )
        longest = max((len(each) for each in continuations), default=0)
        if self._filled[row] + longest > self.length:
            raise RowFullError(self._filled[row] + longest, self.length)
        result = torch.zeros((len(continuations), longest), device=self.device)
        starts = [i for i, each in enumerate(continuations) if each]
        if not starts:
            return result
        first = (
            self._passes.blocks.logits(self._passes.states[row : row + 1])
            .float()
            .log_softmax(-1)
        )
        result[starts, 0] = first[0, [continuations[i][0] for i in starts]]
        for part in _portions(
            [i for i in starts if len(continuations[i]) > 1],
            [max(len(each) - 1, 0) for each in continuations],
            padded=False,
        ):
            self._score(row, [continuations[i] for i in part], part, result)
        return result

    def _score(
        self,
        row: int,
        continuations: list[Sequence[int]],
        indices: list[int],
        result: Tensor,
    ) -> None:
        """Fill in what follows each continuation's first token, in one forward."""
        filled = self._filled[row]
        packed = [
            (token, filled + place, owner, target, index, place + 1)
            for owner, (index, tokens) in enumerate(
                zip(indices, continuations, strict=True)
            )
            for place, (token, target) in enumerate(pairwise(tokens))
        ]
        plan = self._send([list(column) for column in zip(*packed, strict=True)]).to(
            self.device, non_blocking=True
        )
        tokens, positions, owners, targets, index, place = plan
        states = self._passes.beside(row, filled, tokens, positions, owners)
        for start in range(0, len(tokens), _SCORED):
            part = slice(start, start + _SCORED)
            logits = self._passes.blocks.logits(states[part]).float()
            chances = -F.cross_entropy(logits, targets[part], reduction="none")
            result[index[part], place[part]] = chances

    @torch.inference_mode()
    def fork(self, source: int, rows: Sequence[int]) -> None:
        """Copy a row into empty rows. Raises ValueError where one is in use."""
        self._known(source)
        for row in rows:
            if self._filled[self._known(row)]:
                raise ValueError(f"row {row} is in use: truncate it to 0 first")
        filled = self._filled[source]
        for row in rows:
            self._passes.cache[:, row, :filled] = self._passes.cache[:, source, :filled]
            self._passes.states[row] = self._passes.states[source]
            self._filled[row] = filled
            self._fresh[row] = self._fresh[source]

    def truncate(self, row: int, length: int) -> None:
        """Forget all but the first `length` tokens of a row; 0 frees it.

        Raises ValueError where the row is not that long.
        """
        if not 0 <= length <= self._filled[self._known(row)]:
            raise ValueError(
                f"row {row} has {self._filled[row]} tokens: cannot cut it to {length}"
            )
        self._fresh[row] &= length == self._filled[row]
        self._filled[row] = length

    def _known(self, row: int) -> int:
        if not 0 <= row < self.rows:
            raise ValueError(f"there is no row {row}: rows are 0 to {self.rows - 1}")
        return row

    def _check(self, rows: Sequence[int], counts: Sequence[int]) -> None:
        """Raise unless each row exists, occurs once and has place for its tokens."""
        if not rows or len(counts) != len(rows) or not all(counts):
            raise ValueError(
                "at least one row is needed, and at least one token for each"
            )
        if len(set(rows)) != len(rows):
            raise ValueError("the same row is named twice")
        for row, count in zip(rows, counts, strict=True):
            needed = self._filled[self._known(row)] + count
            if needed > self.length:
                raise RowFullError(needed, self.length)

    def _begin(self, rows: Sequence[int]) -> None:
        """Until a pass has ended, a row's state may be that of any token."""
        for row in rows:
            self._fresh[row] = False

    def _end(self, row: int, count: int) -> None:
        self._filled[row] += count
        self._fresh[row] = True

    def _send(self, numbers: list[int] | list[list[int]]) -> Tensor:
        """Integers as a tensor whose way to the device waits for nothing."""
        sent = torch.tensor(numbers, dtype=torch.int64)
        return sent.pin_memory() if self.device.type == "cuda" else sent


def _portions(
    order: Sequence[int], sizes: Sequence[int], *, padded: bool = True
) -> Iterator[list[int]]:
    """Divide indices into portions of at most `_TOGETHER` tokens, padding counted.

    One that is larger goes alone.
    """
    portion: list[int] = []
    longest = total = 0
    for index in order:
        longest, total = max(longest, sizes[index]), total + sizes[index]
        work = longest * (len(portion) + 1) if padded else total
        if portion and work > _TOGETHER:
            yield portion
            portion, longest, total = [], sizes[index], sizes[index]
        portion.append(index)
    if portion:
        yield portion
