"""Linear layers whose weights stay in 8 or 4 bits: compressed-tensors' formats.

They are turned back at every call, so memory is saved and the arithmetic is that of
plain weights. Which layers of a checkpoint are quantised is told by its tensors; its
`quantization_config` is checked for being of a kind that is understood here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_server.engines.midashenglm.config import CheckpointError
from model_server.engines.midashenglm.weights import Tensors

_PER_WORD: Final = 8
"""Weights of 4 bits in each packed int32, the first in the lowest bits."""
_ZERO: Final = 8
"""What is stored for a weight of 0: signed numbers of 4 bits, moved to 0..15."""

_UNDERSTOOD: Final = (
    "float8 with a scale per tensor",
    "float8 with a scale per channel",
    "int4 with a scale per group",
    "int4 with a scale per channel",
)


class Fp8Linear(nn.Module):
    """A linear layer with weights of float8 (e4m3) and a scale per row or one for all.

    y = x · weight^T · scale + bias, computed in the type of x.
    """

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, linear: nn.Linear, scale: tuple[int, ...]) -> None:
        """Of a plain layer's shape, its weights still to be filled in."""
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.register_buffer(
            "weight", torch.empty(linear.weight.shape, dtype=torch.float8_e4m3fn)
        )
        self.register_buffer("weight_scale", torch.empty(scale, dtype=torch.float32))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        # Every float8 is exact in bfloat16; the scale comes after the sum, in float32.
        y = functional.linear(x, self.weight.to(x.dtype))
        y = (y * self.weight_scale.flatten()).to(x.dtype)
        return y if self.bias is None else y + self.bias


class PackedLinear(nn.Module):
    """A linear layer with symmetric weights of 4 bits and a scale per group of inputs."""

    weight_packed: Tensor
    weight_scale: Tensor
    weight_shape: Tensor
    weight_g_idx: Tensor | None

    def __init__(
        self, linear: nn.Linear, scale: tuple[int, ...], *, ordered: bool = False
    ) -> None:
        """Of a plain layer's shape; `ordered`: a list says each input's group."""
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        packed = (self.out_features, -(-self.in_features // _PER_WORD))
        self.register_buffer("weight_packed", torch.empty(packed, dtype=torch.int32))
        self.register_buffer("weight_scale", torch.empty(scale, dtype=torch.float32))
        self.register_buffer("weight_shape", torch.empty(2, dtype=torch.int64))
        self.register_buffer(
            "weight_g_idx",
            torch.empty(self.in_features, dtype=torch.int32) if ordered else None,
        )
        self.bias = linear.bias

    def weight(self, dtype: torch.dtype) -> Tensor:
        """The weights as plain numbers, (out, in)."""
        halves = self.weight_packed.view(torch.uint8)
        digits = torch.stack((halves & 15, halves >> 4), dim=-1).flatten(1)
        values = digits[:, : self.in_features].to(dtype) - _ZERO
        scale = self.weight_scale.to(dtype)
        if self.weight_g_idx is not None:
            return values * scale[:, self.weight_g_idx.long()]
        grouped = values.reshape(*scale.shape, -1) * scale[..., None]
        return grouped.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return functional.linear(x, self.weight(x.dtype), self.bias)


def quantise(
    model: nn.Module,
    tensors: Tensors,
    settings: Mapping[str, Any] | None,
    folder: Path,
) -> None:
    """Replace the layers that a checkpoint has quantised. Raises CheckpointError."""
    if settings is None:
        return
    _check(settings, folder)
    for name, part in list(model.named_modules()):
        if not isinstance(part, nn.Linear):
            continue
        scale = tensors.shapes.get(f"{name}.weight_scale")
        if scale is None:
            continue
        with torch.device("meta"):
            layer = _layer(name, part, scale, tensors)
        model.set_submodule(name, layer)


def _layer(
    name: str, linear: nn.Linear, scale: tuple[int, ...], tensors: Tensors
) -> nn.Module:
    rows = linear.out_features
    if f"{name}.weight_packed" in tensors.files:
        ordered = f"{name}.weight_g_idx" in tensors.files
        if len(scale) != 2 or scale[0] != rows or linear.in_features % scale[1]:
            raise _refusal(
                tensors.folder, f"{name}.weight_scale has the shape {list(scale)}"
            )
        return PackedLinear(linear, scale, ordered=ordered)
    if scale not in ((), (1,), (1, 1), (rows,), (rows, 1)):
        raise _refusal(
            tensors.folder, f"{name}.weight_scale has the shape {list(scale)}"
        )
    return Fp8Linear(linear, scale)


def _check(settings: Mapping[str, Any], folder: Path) -> None:
    """See that the weights are of a kind that is understood. Raises CheckpointError."""
    method = settings.get("quant_method")
    if method == "fp8":
        if settings.get("weight_block_size") is not None:
            raise _refusal(folder, "its scales are per block")
        return
    if method != "compressed-tensors":
        raise _refusal(folder, f"quant_method is {method!r}")
    sparsity = settings.get("sparsity_config") or {}
    if sparsity.get("format", "dense") != "dense":
        raise _refusal(folder, f"its weights are sparse ({sparsity['format']})")
    groups = settings.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        raise _refusal(folder, "config_groups is missing")
    for group in groups.values():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict):
            raise _refusal(folder, "a config group has no weights")
        kind = f"{weights.get('type')}{weights.get('num_bits')}"
        scales = f"{kind} with a scale per {weights.get('strategy')}"
        if scales not in _UNDERSTOOD or not weights.get("symmetric", True):
            shifted = "" if weights.get("symmetric", True) else " and a zero point"
            raise _refusal(folder, f"its weights are {scales}{shifted}")


def _refusal(folder: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} is quantised in a way that cannot be loaded ({why}): "
        "take midashenglm-7b, which is not quantised"
    )
