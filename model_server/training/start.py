"""Training that goes on from weights that were shipped before."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import numpy_helper
import torch
from torch import Tensor, nn

from model_server.training.network import SoundNet


def begin_with(net: SoundNet, weights: Path, log_mel: Tensor) -> None:
    """Make `net` compute what the ONNX file computes. Raises OSError or ValueError.

    An exported network has its batch norms folded into the convolutions. They are
    given back the statistics of these examples, (n, frames, 64), and what undoes them.
    Classes that were added behind those of the file keep their random weights.
    """
    try:
        graph = onnx.load(str(weights)).graph
    # onnx and the protobuf under it raise classes of their own for a broken file.
    except Exception as err:
        if isinstance(err, OSError):
            raise
        raise ValueError(f"{weights} is no ONNX file") from err
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    folded = [
        [torch.tensor(values[name]) for name in node.input if name in values]
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    ]
    pairs = _pairs(net)
    known = len(folded[-1][0]) if folded else 0
    shapes = [conv.weight.shape for conv, _ in pairs] + [net.head.weight[:known].shape]
    if [one[0].shape for one in folded] != shapes:
        raise ValueError(f"{weights} is another network than the one to train")
    *convolutions, head = folded
    with torch.no_grad():
        for (conv, norm), (weight, bias) in zip(pairs, convolutions, strict=True):
            conv.weight.copy_(weight)
            _plain(norm, bias)
        net.head.weight[:known].copy_(head[0])
        net.head.bias[:known].copy_(head[1])
        _measure(net, pairs, log_mel)


def _pairs(net: SoundNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution with the norm after it, in the order in which they run."""
    layers = [
        one for one in net.modules() if isinstance(one, nn.Conv2d | nn.BatchNorm2d)
    ]
    convolutions = [one for one in layers if isinstance(one, nn.Conv2d)]
    norms = [one for one in layers if isinstance(one, nn.BatchNorm2d)]
    return list(zip(convolutions, norms, strict=True))


def _plain(norm: nn.BatchNorm2d, bias: Tensor) -> None:
    """Make a norm add the bias and nothing else."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1.0)
    norm.bias.copy_(bias)


def _measure(
    net: SoundNet, pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]], log_mel: Tensor
) -> None:
    """Give each norm the mean and variance that its convolution makes of the examples."""
    found: dict[nn.Module, Tensor] = {}
    hooks = [
        conv.register_forward_hook(lambda made, _, out: found.update({made: out}))
        for conv, _ in pairs
    ]
    net.eval()(log_mel)
    for hook in hooks:
        hook.remove()
    for conv, norm in pairs:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(found[conv], dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.add_(mean)
