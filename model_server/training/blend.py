"""Weights halfway between earlier ones and those that were trained on from them.

Training on for classes that are new takes something from what the others had learnt;
between both weights nearly all of it is kept (Wortsman et al., "Robust fine-tuning of
zero-shot models", 2022). What the new classes ask of the embedding is then fitted anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
import torch
from torch import Tensor
from torch.nn import functional

from model_server.training.network import SoundNet
from model_server.training.sounds import Examples, mixed
from model_server.training.start import begin_with

HEAD_WEIGHT, HEAD_BIAS = "net.head.weight", "net.head.bias"
_ROUNDS = 2
"""How often the examples are heard, each time in other mixtures."""
_BATCH = 256
_DECAY = 1e-5
_MEASURED = 512


_Values = dict[str, npt.NDArray[np.float32]]


def blend(weights: Path, earlier: Path, share: float, examples: Examples) -> SoundNet:
    """Replace exported weights by such of which `share` are theirs, the rest `earlier`'s.

    Returns the network. Raises OSError, or ValueError if these are two networks.
    """
    before, after = _read(earlier), _read(weights)
    known = len(before.get(HEAD_BIAS, ()))
    for name, value in after.items():
        part = value[:known] if name in (HEAD_WEIGHT, HEAD_BIAS) else value
        old = before.get(name)
        if old is None or old.shape != part.shape:
            raise ValueError(f"{earlier} is another network than {weights}")
        if value.dtype.kind == "f":
            part += (1 - share) * (old - part)
    _write(after, weights)
    net = SoundNet(examples.target.shape[1], after[HEAD_WEIGHT].shape[1] // 8)
    begin_with(net, weights, torch.from_numpy(examples.mel[:_MEASURED]).float())
    net.eval()
    if known < len(after[HEAD_BIAS]):
        weight, bias = _fitted(net, known, examples)
        after[HEAD_WEIGHT][known:], after[HEAD_BIAS][known:] = weight, bias
        _write(after, weights)
        with torch.no_grad():
            net.head.weight[known:].copy_(weight)
            net.head.bias[known:].copy_(bias)
    return net


def _read(path: Path) -> _Values:
    try:
        graph = onnx.load(str(path)).graph
    # onnx and the protobuf under it raise classes of their own for a broken file.
    except Exception as err:
        if isinstance(err, OSError):
            raise
        raise ValueError(f"{path} is no ONNX file") from err
    return {one.name: numpy_helper.to_array(one).copy() for one in graph.initializer}


def _write(values: _Values, path: Path) -> None:
    model = onnx.load(str(path))
    for one in model.graph.initializer:
        one.CopyFrom(numpy_helper.from_array(values[one.name], one.name))
    onnx.save(model, str(path))


def _fitted(net: SoundNet, known: int, examples: Examples) -> tuple[Tensor, Tensor]:
    """Weight and bias of the classes behind the known ones: a logistic regression."""
    heard, wanted = _heard(net, examples)
    wanted = wanted[:, known:] * 0.97 + 0.005
    mean, scale = heard.mean(dim=0), heard.std(dim=0) + 1e-3
    heard = (heard - mean) / scale
    weight = torch.zeros(wanted.shape[1], heard.shape[1], requires_grad=True)
    bias = torch.full((wanted.shape[1],), -3.0, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=300, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = functional.linear(heard, weight, bias)
        wrong = functional.binary_cross_entropy_with_logits(logits, wanted)
        wrong = wrong + _DECAY * weight.square().sum()
        # torch ships no annotation for backward.
        wrong.backward()  # type: ignore[no-untyped-call, unused-ignore]
        return wrong

    # torch's annotation asks for a float, its documentation for a Tensor.
    optimiser.step(loss)  # type: ignore[arg-type, no-untyped-call, unused-ignore]
    plain = (weight / scale).detach()
    return plain, bias.detach() - plain @ mean


def _heard(net: SoundNet, examples: Examples) -> tuple[Tensor, Tensor]:
    """Embeddings and targets of the examples at other levels, half of them mixed."""
    rng = np.random.default_rng(0)
    embeddings, targets = [], []
    with torch.no_grad():
        for _ in range(_ROUNDS):
            order = rng.permutation(len(examples.mel))
            for chosen in np.array_split(order, max(1, len(order) // _BATCH)):
                mel = torch.from_numpy(examples.mel[chosen]).float()
                target = torch.from_numpy(examples.target[chosen]).float()
                half = len(chosen) // 2
                mel[half:], target[half:] = mixed(mel, target, half, rng)
                embeddings.append(net(mel + float(rng.uniform(-6, 6)))[1])
                targets.append(target)
    return torch.cat(embeddings), torch.cat(targets)
