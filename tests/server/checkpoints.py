"""Tiny checkpoints with the official names and layout, and random weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
import json
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
import torch

from model_server.catalogue import load_catalogue
from model_server.engines.midashenglm.config import EncoderConfig

# Of tensors this small, threads that wait for each other take longer than one.
torch.set_num_threads(1)

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
)
LANGUAGES = ("<|en|>", "<|zh|>", "<|id|>", "<|th|>", "<|vi|>")

ENCODER = {
    "model_type": "midashenglm_dasheng_encoder",
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "patch_size": [64, 4],
    "patch_stride": [64, 4],
    "target_length": 1008,
    "f_max": 8000,
}
TEXT_7B = {
    "model_type": "qwen2_5_omni_text",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_scaling": {
        "mrope_section": [2, 3, 3],
        "rope_type": "default",
        "type": "default",
    },
}
TEXT_06B = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
}
CED = {
    "model_type": "ced",
    "name": "ced-tiny",
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 3,
    "patch_size": 16,
    "patch_stride": 16,
    "target_length": 1012,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "outputdim": 527,
    "pooling": "mean",
    "eval_avg": "mean",
    "n_mels": 64,
    "n_fft": 512,
    "win_size": 512,
    "hop_size": 160,
    "f_min": 0,
    "f_max": 8000,
    "center": True,
    "pad_last": True,
}

# Qwen's own, from its published tokenizer.json.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_CORPUS = (
    "Turn on the kitchen light. Turn off the lamp in the living room.",
    "Transcribe the speech into text. Which label describes the sound?",
    "Write an audio caption describing the sound of a dog barking while it rains.",
    '{"text": "turn on the light", "intent": {"name": "HassTurnOn", "area": "kitchen"}}',
    '{"speech": null, "sounds": ["siren", "glass breaking"], "music": false}',
    "system user assistant smoke alarm glass breaking siren baby crying speaking",
)


@cache
def tokenizer() -> Tokenizer:
    """A byte-level BPE as Qwen's, with its special tokens; any text can be written."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=400,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    made.add_special_tokens(
        [AddedToken(text, normalized=False) for text in SPECIAL + LANGUAGES]
    )
    return made


def write_midashenglm(
    folder: Path,
    kind: Literal["7b", "0.6b"] = "7b",
    *,
    encoder: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    tied: bool | None = None,
    shards: int = 3,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Path:
    """A checkpoint of MiDashengLM of a few thousand weights; mappings change fields.

    `tied` leaves the output layer out, as 0.6B has it. Returns the folder.
    """
    vocabulary = tokenizer()
    tied = kind == "0.6b" if tied is None else tied
    encoder_config = ENCODER | dict(encoder or {})
    text_config = (
        (TEXT_7B if kind == "7b" else TEXT_06B)
        # Rounded up as the official tables are, which are longer than the vocabulary.
        | {"vocab_size": -(-vocabulary.get_vocab_size() // 64) * 64}
        | dict(text or {})
    )
    whole = {
        "architectures": ["MiDashengLMModel"],
        "model_type": "midashenglm",
        "audio_token_id": vocabulary.token_to_id("<|AUDIO|>"),
        "subsample_factor": 5,
        "audio_encoder_config": encoder_config,
        "text_config": text_config,
        "dtype": str(dtype).removeprefix("torch."),
    } | dict(config or {})
    shapes = {
        **encoder_shapes(encoder_config, "audio_encoder."),
        **_projector_shapes(encoder_config, text_config, whole["subsample_factor"]),
        **_decoder_shapes(text_config, tied),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder, random_tensors(shapes, seed, dtype), shards)
    _write_json(folder / "config.json", whole)
    _write_json(
        folder / "generation_config.json",
        {
            "eos_token_id": [
                vocabulary.token_to_id("<|im_end|>"),
                vocabulary.token_to_id("<|endoftext|>"),
            ],
            "pad_token_id": vocabulary.token_to_id("<|endoftext|>"),
        },
    )
    _write_json(
        folder / "preprocessor_config.json",
        {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000},
    )
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "Qwen2Tokenizer"})
    vocabulary.save(str(folder / "tokenizer.json"))
    return folder


def write_ced(
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    prefix: str = "encoder.",
    names: Mapping[int, str] | None = None,
    seed: int = 0,
) -> Path:
    """A checkpoint of CED, and its folder; `prefix` stands before the encoder's names.

    `names` are the classes'. The published ones were cut at the first comma.
    """
    whole = CED | dict(config or {})
    named = audioset_names(whole["outputdim"]) if names is None else names
    whole["id2label"] = {str(place): name for place, name in named.items()}
    dim, classes = whole["embed_dim"], whole["outputdim"]
    shapes = {
        **encoder_shapes(whole, prefix),
        "outputlayer.0.weight": (dim,),
        "outputlayer.0.bias": (dim,),
        "outputlayer.1.weight": (classes, dim),
        "outputlayer.1.bias": (classes,),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder, random_tensors(shapes, seed, torch.float32), 1)
    _write_json(folder / "config.json", whole)
    return folder


def audioset_names(classes: int) -> dict[int, str]:
    """Names of so many classes, the catalogue's among them, cut at the first comma."""
    ours = [name for label in load_catalogue().values() for name in label.audioset]
    step = classes // len(ours)
    return {
        place: ours[place // step].split(",")[0]
        if place % step == 0 and place // step < len(ours)
        else f"Class {place}"
        for place in range(classes)
    }


def encoder_config(**changes: Any) -> EncoderConfig:
    """The tiny Dasheng encoder's configuration, as it is read from a file."""
    fields: dict[str, Any] = {
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "init_values": None,
        "patch_size": (64, 4),
        "patch_stride": (64, 4),
        "target_length": 1008,
        "n_mels": 64,
        "n_fft": 512,
        "win_length": 512,
        "hop_length": 160,
        "f_min": 0.0,
        "f_max": 8000.0,
        "sample_rate": 16000,
        "outputdim": 527,
        "pooling": "mean",
    }
    return EncoderConfig(**(fields | changes))


def encoder_shapes(
    config: Mapping[str, Any], prefix: str
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an encoder's tensors, from the reference, not from our code."""
    dim = config["embed_dim"]
    bands, frames = _pair(config["patch_size"])
    shapes: dict[str, tuple[int, ...]] = {
        "init_bn.weight": (64,),
        "init_bn.bias": (64,),
        "init_bn.running_mean": (64,),
        "init_bn.running_var": (64,),
        "init_bn.num_batches_tracked": (),
        "patch_embed.proj.weight": (dim, 1, bands, frames),
        "patch_embed.proj.bias": (dim,),
        "time_pos_embed": (1, dim, 1, config["target_length"] // frames),
        "freq_pos_embed": (1, dim, 64 // bands, 1),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    for block in range(config["depth"]):
        at = f"blocks.{block}."
        shapes |= {
            f"{at}norm1.weight": (dim,),
            f"{at}norm1.bias": (dim,),
            f"{at}attn.qkv.weight": (3 * dim, dim),
            f"{at}attn.qkv.bias": (3 * dim,),
            f"{at}attn.proj.weight": (dim, dim),
            f"{at}attn.proj.bias": (dim,),
            f"{at}norm2.weight": (dim,),
            f"{at}norm2.bias": (dim,),
            f"{at}mlp.fc1.weight": (4 * dim, dim),
            f"{at}mlp.fc1.bias": (4 * dim,),
            f"{at}mlp.fc2.weight": (dim, 4 * dim),
            f"{at}mlp.fc2.bias": (dim,),
        }
    return {prefix + name: shape for name, shape in shapes.items()}


def _projector_shapes(
    encoder: Mapping[str, Any], text: Mapping[str, Any], factor: int
) -> dict[str, tuple[int, ...]]:
    hidden = text["hidden_size"]
    return {
        "audio_projector.net.0.weight": (hidden, factor * encoder["embed_dim"]),
        "audio_projector.net.0.bias": (hidden,),
        "audio_projector.net.2.weight": (hidden, hidden),
        "audio_projector.net.2.bias": (hidden,),
    }


def _decoder_shapes(text: Mapping[str, Any], tied: bool) -> dict[str, tuple[int, ...]]:
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    heads, shared = text["num_attention_heads"], text["num_key_value_heads"]
    head = text.get("head_dim", hidden // heads)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (text["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    if not tied:
        shapes["lm_head.weight"] = (text["vocab_size"], hidden)
    for layer in range(text["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {
            f"{at}input_layernorm.weight": (hidden,),
            f"{at}post_attention_layernorm.weight": (hidden,),
            f"{at}self_attn.q_proj.weight": (heads * head, hidden),
            f"{at}self_attn.k_proj.weight": (shared * head, hidden),
            f"{at}self_attn.v_proj.weight": (shared * head, hidden),
            f"{at}self_attn.o_proj.weight": (hidden, heads * head),
            f"{at}mlp.gate_proj.weight": (inner, hidden),
            f"{at}mlp.up_proj.weight": (inner, hidden),
            f"{at}mlp.down_proj.weight": (hidden, inner),
        }
        if text["model_type"] == "qwen3":
            shapes[f"{at}self_attn.q_norm.weight"] = (head,)
            shapes[f"{at}self_attn.k_norm.weight"] = (head,)
        else:
            shapes[f"{at}self_attn.q_proj.bias"] = (heads * head,)
            shapes[f"{at}self_attn.k_proj.bias"] = (shared * head,)
            shapes[f"{at}self_attn.v_proj.bias"] = (shared * head,)
    return {f"decoder.{name}": shape for name, shape in shapes.items()}


def random_tensors(
    shapes: Mapping[str, tuple[int, ...]], seed: int, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Weights that make activations of ordinary size, the same for one seed."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(1000)
            continue
        if name.endswith("running_mean"):
            noise = noise * 5 - 30
        elif name.endswith("running_var"):
            noise = noise.abs() * 50 + 100
        elif "norm" in name or "init_bn.weight" in name or "outputlayer.0" in name:
            noise = noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        elif noise.dim() > 1 and "embed_tokens" not in name:
            noise = noise / noise[0].numel() ** 0.5
        else:
            noise = noise * 0.3
        tensors[name] = noise.to(dtype)
    return tensors


def write_tensors(
    folder: Path, tensors: Mapping[str, torch.Tensor], shards: int
) -> None:
    """One model.safetensors, or so many shards and their index, in place of others."""
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors")
        return
    names = list(tensors)
    each = -(-len(names) // shards)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard * each : (shard + 1) * each]
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    _write_json(
        folder / "model.safetensors.index.json",
        {
            "metadata": {"total_size": sum(each.nbytes for each in tensors.values())},
            "weight_map": weight_map,
        },
    )


def _pair(value: int | list[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
