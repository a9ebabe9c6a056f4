"""A function of tensors, run over fixed memory: as one CUDA graph where there is a GPU.

A decoder's step is some 500 kernels of a few microseconds: launching them one by one
takes longer than they do. A graph launches them at once, at the price of shapes and
addresses that never change.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
Pool: TypeAlias = Any
"""A handle of `torch.cuda.graph_pool_handle`, whose type differs by version."""

_WARM_UPS = 2  # cuBLAS and the allocator settle before the capture, as torch advises


class Replay(Generic[Result]):
    """One function over inputs of fixed shapes.

    The function must do the same when it runs twice over the same inputs, and ask
    the host nothing. Without a GPU it is called, over the same fixed inputs.
    """

    def __init__(
        self,
        function: Callable[..., Result],
        inputs: tuple[Tensor, ...],
        device: torch.device,
        pool: Pool | None = None,
    ) -> None:
        """Take memory of the inputs' shapes; on a GPU run the function and capture it."""
        self._function = function
        self._inputs = tuple(torch.empty_like(each, device=device) for each in inputs)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Result | None = None
        if device.type == "cuda":
            with torch.cuda.device(device):
                self._capture(inputs, pool)

    def _capture(self, inputs: tuple[Tensor, ...], pool: Pool | None) -> None:
        current = torch.cuda.current_stream()
        # torch leaves its streams without annotations.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._fill(inputs)
                self._function(*self._inputs)
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads (the encoder's) may allocate meanwhile: that is none of ours.
        with torch.cuda.graph(
            self._graph, pool=pool, capture_error_mode="thread_local"
        ):
            self._result = self._function(*self._inputs)

    def _fill(self, inputs: tuple[Tensor, ...]) -> None:
        for fixed, given in zip(self._inputs, inputs, strict=True):
            fixed.copy_(given, non_blocking=True)

    def __call__(self, *inputs: Tensor) -> Result:
        """Run over inputs of the first ones' shapes, on any device.

        What is returned is overwritten by the next call of any replay of its pool.
        """
        self._fill(inputs)
        if self._graph is None or self._result is None:
            return self._function(*self._inputs)
        self._graph.replay()
        return self._result


class Replays:
    """Replays by key, made when first asked for; they share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        """Start with none."""
        self._device = device
        self._made: dict[Hashable, Replay[Tensor]] = {}
        self._pool: Pool | None = None

    def __len__(self) -> int:
        """Count the replays made so far."""
        return len(self._made)

    def __call__(
        self, key: Hashable, function: Callable[..., Tensor], *inputs: Tensor
    ) -> Tensor:
        """Run the key's function over inputs; the key fixes function and shapes."""
        replay = self._made.get(key)
        if replay is None:
            if self._pool is None and self._device.type == "cuda":
                self._pool = torch.cuda.graph_pool_handle()
            replay = self._made[key] = Replay(
                function, inputs, self._device, self._pool
            )
        return replay(*inputs)
