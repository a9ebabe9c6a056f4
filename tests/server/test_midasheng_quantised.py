"""Quantised checkpoints, made by compressed-tensors itself and compared with what it says."""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
import pytest
from safetensors.torch import load_file
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_server.engines.midashenglm.checkpoint import load
from model_server.engines.midashenglm.config import CheckpointError
from model_server.engines.midashenglm.quantised import Fp8Linear, PackedLinear
from tests.server.checkpoints import write_midashenglm, write_tensors

CPU = torch.device("cpu")
LAYER = "decoder.model.layers.1.mlp.down_proj"

FP8_CHANNEL = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
FP8_TENSOR = FP8_CHANNEL | {"strategy": "tensor"}
INT4_GROUP = {
    "num_bits": 4,
    "type": "int",
    "strategy": "group",
    "group_size": 16,
    "symmetric": True,
}
INT4_CHANNEL = {"num_bits": 4, "type": "int", "strategy": "channel", "symmetric": True}


def config_of(weights: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What llm-compressor writes into config.json."""
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized" if weights["type"] == "float" else "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["decoder.lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": dict(weights),
                "input_activations": None,
            }
        },
    } | more


def scale_of(weight: Tensor, weights: Mapping[str, Any]) -> Tensor:
    """The largest of each group, channel or tensor, at the largest number there is."""
    top = 448.0 if weights["type"] == "float" else 7.0
    if weights["strategy"] == "tensor":
        return (weight.abs().max() / top).reshape(1)
    if weights["strategy"] == "channel":
        return weight.abs().amax(dim=1, keepdim=True) / top
    return weight.unflatten(1, (-1, weights["group_size"])).abs().amax(dim=2) / top


def quantised(
    folder: Path, weights: Mapping[str, Any], **more: Any
) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint whose decoder compressed-tensors quantised, and its plain weights."""
    write_midashenglm(folder)
    tensors = {
        name: tensor
        for file in folder.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
    settings = config_of(weights, **more)
    compressor = BaseCompressor.get_value_from_registry(settings["format"])
    plain: dict[str, Tensor] = {}
    for name in [n for n in tensors if "_proj.weight" in n]:
        at = name.removesuffix("weight")
        weight = tensors.pop(name)
        made = compressor.compress(
            {"weight": weight, "weight_scale": scale_of(weight, weights)}, scheme
        )
        plain[at] = compressor.decompress(made, scheme)["weight"]
        tensors |= {at + own: tensor.contiguous() for own, tensor in made.items()}
    write_tensors(folder, tensors, 2)
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"quantization_config": settings}
    path.write_text(json.dumps(config))
    return folder, plain


@pytest.mark.parametrize("weights", [FP8_CHANNEL, FP8_TENSOR, INT4_GROUP, INT4_CHANNEL])
def test_a_quantised_model_computes_what_its_decompressed_weights_do(
    tmp_path: Path, weights: dict[str, Any]
) -> None:
    folder, plain = quantised(tmp_path, weights)

    model = load(folder, CPU).model

    kind = Fp8Linear if weights["type"] == "float" else PackedLinear
    kinds = [type(part) for part in model.modules()]
    assert kinds.count(kind) == len(plain) == 14
    assert type(model.decoder.lm_head) is nn.Linear
    assert not any(isinstance(part, kind) for part in model.audio_encoder.modules())
    for at, weight in plain.items():
        layer = model.get_submodule(at.rstrip("."))
        x = torch.randn(3, weight.shape[1])
        expected = functional.linear(x, weight, layer.bias)
        assert torch.allclose(layer(x), expected, rtol=1e-4, atol=1e-4), at

    # Beside the same model with its plain weights, the whole decoder agrees.
    unquantised = load(write_midashenglm(tmp_path / "plain"), CPU).model
    with torch.no_grad():
        for at, weight in plain.items():
            layer = unquantised.get_submodule(at.rstrip("."))
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(weight)
    tokens = model.audio_embeddings(torch.randn(32000))[None]
    ours = model.decoder(inputs_embeds=tokens).logits
    theirs = unquantised.decoder(inputs_embeds=tokens).logits
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("weights", "bits"), [(FP8_CHANNEL, 8), (INT4_CHANNEL, 4)])
def test_quantised_weights_stay_as_small_as_they_came(
    tmp_path: Path, weights: dict[str, Any], bits: int
) -> None:
    folder, _ = quantised(tmp_path, weights)
    layer = load(folder, CPU, torch.bfloat16).model.get_submodule(LAYER)

    held = max(layer.buffers(), key=Tensor.numel)
    assert held.nbytes * 8 == 64 * 96 * bits
    assert {
        buffer.dtype for name, buffer in layer.named_buffers() if "scale" in name
    } == {torch.float32}
    out = layer(torch.randn(2, 96, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16


def test_inputs_in_an_order_of_their_own_find_their_groups(tmp_path: Path) -> None:
    folder, _ = quantised(tmp_path, INT4_GROUP)
    tensors = {
        name: tensor
        for file in folder.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    groups = (torch.arange(96, dtype=torch.int32) // 16)[order]
    tensors[f"{LAYER}.weight_g_idx"] = groups
    write_tensors(folder, tensors, 2)

    layer = load(folder, CPU).model.get_submodule(LAYER)
    assert isinstance(layer, PackedLinear)

    scale = tensors[f"{LAYER}.weight_scale"]
    ones = layer.weight(torch.float32) / scale[:, groups.long()]
    assert torch.allclose(ones, ones.round(), atol=1e-4)
    assert ones.round().min() >= -8
    assert ones.round().max() == 7
    in_order = PackedLinear(nn.Linear(96, 64, bias=False), tuple(scale.shape))
    in_order.load_state_dict(
        {
            name: tensor
            for name, tensor in layer.state_dict().items()
            if name != "weight_g_idx"
        }
    )
    assert not torch.allclose(
        in_order.weight(torch.float32), layer.weight(torch.float32)
    )


def test_scales_for_activations_are_not_needed(tmp_path: Path) -> None:
    folder, _ = quantised(tmp_path, FP8_TENSOR)
    expected = load(folder, CPU).model.get_submodule(LAYER)
    tensors = {
        name: tensor
        for file in folder.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    tensors[f"{LAYER}.input_scale"] = torch.ones(1)
    write_tensors(folder, tensors, 2)

    x = torch.randn(2, 96)
    layer = load(folder, CPU).model.get_submodule(LAYER)
    assert torch.equal(layer(x), expected(x))


def test_fp8_with_one_scale_a_tensor_needs_no_compressed_tensors(
    tmp_path: Path,
) -> None:
    folder, plain = quantised(tmp_path, FP8_TENSOR)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {
        "quant_method": "fp8",
        "activation_scheme": "static",
    }
    path.write_text(json.dumps(config))

    layer = load(folder, CPU).model.get_submodule(LAYER)

    x = torch.randn(2, 96)
    assert torch.allclose(
        layer(x), functional.linear(x, plain[LAYER + "."]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quant_method is 'gptq'"),
        ({}, "quant_method is None"),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            "its scales are per block",
        ),
        (
            config_of(FP8_CHANNEL | {"strategy": "block"}),
            "float8 with a scale per block",
        ),
        (config_of(INT4_GROUP | {"symmetric": False}), "per group and a zero point"),
        (config_of(INT4_GROUP | {"num_bits": 3}), "int3 with a scale per group"),
        (config_of(FP8_CHANNEL, config_groups={}), "config_groups is missing"),
        (
            config_of(FP8_CHANNEL, config_groups={"group_0": {"weights": None}}),
            "a config group has no weights",
        ),
        (
            config_of(FP8_CHANNEL, sparsity_config={"format": "sparse-24-bitmask"}),
            r"its weights are sparse \(sparse-24-bitmask\)",
        ),
    ],
)
def test_another_quantisation_is_refused_and_the_model_to_take_is_named(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    folder = write_midashenglm(tmp_path, config={"quantization_config": settings})

    with pytest.raises(CheckpointError, match=rf"{told}.*take midashenglm-7b"):
        load(folder, CPU)


@pytest.mark.parametrize(
    ("weights", "shape"), [(FP8_CHANNEL, (64, 3)), (INT4_GROUP, (64, 5))]
)
def test_scales_of_an_unknown_shape_are_refused(
    tmp_path: Path, weights: dict[str, Any], shape: tuple[int, int]
) -> None:
    folder, _ = quantised(tmp_path, weights)
    tensors = {
        name: tensor
        for file in folder.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    tensors[f"{LAYER}.weight_scale"] = torch.ones(shape)
    write_tensors(folder, tensors, 2)

    with pytest.raises(CheckpointError, match=r"down_proj.weight_scale has the shape"):
        load(folder, CPU)


def test_quantised_tensors_without_a_word_in_the_configuration_are_an_error(
    tmp_path: Path,
) -> None:
    folder, _ = quantised(tmp_path, INT4_GROUP)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["quantization_config"]
    path.write_text(json.dumps(config))

    with pytest.raises(CheckpointError, match=r"lacks .*_proj.weight"):
        load(folder, CPU)
