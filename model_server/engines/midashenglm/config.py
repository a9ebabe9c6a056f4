"""What a checkpoint's `config.json` says about its model: read, checked, none guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from model_server.engines.base import EngineError

TextType: TypeAlias = Literal["qwen2", "qwen3"]
Pooling: TypeAlias = Literal["mean", "logit", "dm"]


class CheckpointError(EngineError):
    """A checkpoint cannot be used; the message names the file or field and the way out."""


@dataclass(frozen=True)
class EncoderConfig:
    """An audio encoder of the Dasheng and CED family.

    Pairs are (mel bands, frames). `target_length` is the longest chunk in frames.
    `outputdim` and `pooling` are of the output layer, which only some have.
    """

    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    qkv_bias: bool
    init_values: float | None
    patch_size: tuple[int, int]
    patch_stride: tuple[int, int]
    target_length: int
    n_mels: int
    n_fft: int
    win_length: int
    hop_length: int
    f_min: float
    f_max: float
    sample_rate: int
    outputdim: int
    pooling: Pooling

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of a full chunk: rows over the mel bands, columns over time."""
        return (
            self.n_mels // self.patch_stride[0],
            self.target_length // self.patch_stride[1],
        )

    @property
    def chunk_frames(self) -> int:
        """Frames of a full chunk that become patches."""
        return self.grid[1] * self.patch_stride[1]

    @property
    def patch_samples(self) -> int:
        """Samples that a column of patches spans."""
        return self.hop_length * self.patch_stride[1]


@dataclass(frozen=True)
class ModelConfig:
    """A whole MiDashengLM. `text` has the fields of transformers' class for `text_type`."""

    encoder: EncoderConfig
    subsample_factor: int
    text_type: TextType
    text: Mapping[str, Any]
    quantization: Mapping[str, Any] | None = field(default=None)


# Serialised configurations leave out what equals their class's default, so an absent
# field is not unknown: it has the default of the class that wrote the file. These are
# those of the published encoder classes; what decides the geometry is always stated,
# since MiDashengLM's and CED's differ from the defaults or stand at the top level.
_ENCODER_DEFAULTS: Final[Mapping[str, Any]] = {
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "init_values": None,
    "input_channels": 1,
    "n_mels": 64,
    "n_fft": 512,
    "win_length": 512,
    "hop_length": 160,
    "f_min": 0.0,
    "f_max": 8000.0,
    "center": True,
    "sample_rate": 16000,
    "outputdim": 527,
    "pooling": "mean",
}

# The text model of Qwen2.5-Omni-7B, as transformers' `Qwen2_5OmniTextConfig` has it by
# default.
_QWEN2_5_OMNI_TEXT: Final[Mapping[str, Any]] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
}

_TEXT_TYPES: Final[Mapping[str, tuple[TextType, Mapping[str, Any]]]] = {
    "qwen2_5_omni_text": ("qwen2", _QWEN2_5_OMNI_TEXT),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"attention_bias": False}),
}

_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "hop_length": ("hop_length", "hop_size"),
    "win_length": ("win_length", "win_size"),
}


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a MiDashengLM checkpoint. Raises CheckpointError."""
    raw = read_json(folder / "config.json")
    kind = raw.get("model_type")
    if kind != "midashenglm":
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type is {kind!r}, not 'midashenglm': "
            "take a folder with a MiDashengLM checkpoint"
        )
    fields = _Fields(folder / "config.json", raw, defaults={"subsample_factor": 5})
    text = fields.section("text_config")
    text_type, text_fields = _read_text(text)
    quantization = raw.get("quantization_config")
    if quantization is None:
        # Where the published tools leave it depends on which part they quantised.
        quantization = text.raw.get("quantization_config")
    if quantization is not None and not isinstance(quantization, dict):
        raise fields.error("quantization_config", "is no object")
    return ModelConfig(
        encoder=_read_encoder(fields.section("audio_encoder_config")),
        subsample_factor=fields.integer("subsample_factor"),
        text_type=text_type,
        text=text_fields,
        quantization=quantization,
    )


def read_encoder_config(folder: Path) -> EncoderConfig:
    """The configuration of an encoder alone: CED or plain Dasheng. Raises CheckpointError."""
    path = folder / "config.json"
    return _read_encoder(_Fields(path, read_json(path)))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint. Raises CheckpointError."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): fetch the model again"
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not JSON ({error}): fetch the model again"
        ) from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} is not a JSON object: fetch the model again")
    return raw


class _Fields:
    """Fields of one object of a configuration, with errors that name them."""

    def __init__(
        self,
        path: Path,
        raw: Mapping[str, Any],
        where: str = "",
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.raw = raw
        self.where = where
        self.defaults = defaults or {}

    def error(self, name: str, wrong: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {self.where}{name} {wrong}")

    def value(self, name: str) -> Any:
        for spelling in _SPELLINGS.get(name, (name,)):
            if spelling in self.raw:
                return self.raw[spelling]
        if name in self.defaults:
            return self.defaults[name]
        raise self.error(name, "is missing")

    def section(self, name: str) -> _Fields:
        value = self.value(name)
        if not isinstance(value, dict):
            raise self.error(name, "is no object")
        return _Fields(self.path, value, f"{self.where}{name}.")

    def integer(self, name: str) -> int:
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(name, f"is {value!r}, not a whole number above 0")
        return value

    def number(self, name: str, least: float = 0.0) -> float:
        value = self.value(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self.error(name, f"is {value!r}, not a number")
        if not least <= value < float("inf"):
            raise self.error(name, f"is {value!r}, not at least {least}")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self.value(name)
        if not isinstance(value, bool):
            raise self.error(name, f"is {value!r}, not true or false")
        return value

    def pair(self, name: str) -> tuple[int, int]:
        value = self.value(name)
        both = [value, value] if isinstance(value, int) else value
        if (
            not isinstance(both, list)
            or len(both) != 2
            or not all(type(each) is int and each > 0 for each in both)
        ):
            raise self.error(name, f"is {value!r}, not one or two whole numbers")
        return both[0], both[1]


def _read_encoder(fields: _Fields) -> EncoderConfig:
    fields = _Fields(fields.path, fields.raw, fields.where, _ENCODER_DEFAULTS)
    init_values = fields.value("init_values")
    config = EncoderConfig(
        embed_dim=fields.integer("embed_dim"),
        depth=fields.integer("depth"),
        num_heads=fields.integer("num_heads"),
        mlp_ratio=fields.number("mlp_ratio"),
        qkv_bias=fields.flag("qkv_bias"),
        init_values=fields.number("init_values") if init_values is not None else None,
        patch_size=fields.pair("patch_size"),
        patch_stride=fields.pair("patch_stride"),
        target_length=fields.integer("target_length"),
        n_mels=fields.integer("n_mels"),
        n_fft=fields.integer("n_fft"),
        win_length=fields.integer("win_length"),
        hop_length=fields.integer("hop_length"),
        f_min=fields.number("f_min"),
        f_max=fields.number("f_max"),
        sample_rate=fields.integer("sample_rate"),
        outputdim=fields.integer("outputdim"),
        pooling=fields.value("pooling"),
    )
    if config.embed_dim % config.num_heads:
        raise fields.error(
            "embed_dim",
            f"{config.embed_dim} does not divide by num_heads {config.num_heads}",
        )
    if config.patch_size != config.patch_stride:
        raise fields.error(
            "patch_stride",
            f"{list(config.patch_stride)} is not patch_size "
            f"{list(config.patch_size)}: overlapping patches are not supported",
        )
    if config.n_mels % config.patch_size[0]:
        raise fields.error(
            "patch_size",
            f"{config.patch_size[0]} does not divide {config.n_mels} bands",
        )
    if config.target_length < config.patch_size[1]:
        raise fields.error("target_length", "is shorter than a patch")
    if config.win_length > config.n_fft:
        raise fields.error("win_length", "is longer than n_fft")
    if not config.f_min < config.f_max <= config.sample_rate / 2:
        raise fields.error(
            "f_max", "must lie above f_min and not above half the sample rate"
        )
    if config.sample_rate != 16000:
        raise fields.error("sample_rate", f"is {config.sample_rate}, not 16000")
    if fields.value("center") is not True:
        raise fields.error("center", "is not true: other framings are not supported")
    if fields.value("input_channels") != 1:
        raise fields.error("input_channels", "is not 1: one microphone is heard")
    if config.pooling not in ("mean", "logit", "dm"):
        raise fields.error("pooling", f"{config.pooling!r} is not supported")
    return config


_TEXT_INTEGERS: Final = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)


def _read_text(fields: _Fields) -> tuple[TextType, Mapping[str, Any]]:
    """The decoder's kind and its fields as transformers' class of that kind takes them."""
    kind = fields.value("model_type")
    if not isinstance(kind, str) or kind not in _TEXT_TYPES:
        raise fields.error(
            "model_type", f"is {kind!r}, not one of {', '.join(_TEXT_TYPES)}"
        )
    text_type, defaults = _TEXT_TYPES[kind]
    fields = _Fields(fields.path, fields.raw, fields.where, defaults)
    text: dict[str, Any] = {name: fields.integer(name) for name in _TEXT_INTEGERS}
    text["hidden_act"] = fields.value("hidden_act")
    text["rms_norm_eps"] = fields.number("rms_norm_eps")
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": _theta(fields)}
    if fields.raw.get("use_sliding_window"):
        raise fields.error("use_sliding_window", "is true, which is not supported")
    if text["hidden_act"] != "silu":
        raise fields.error("hidden_act", f"is {text['hidden_act']!r}, not 'silu'")
    if text["num_attention_heads"] % text["num_key_value_heads"]:
        raise fields.error("num_key_value_heads", "does not divide num_attention_heads")
    if text_type == "qwen3":
        text["head_dim"] = fields.integer("head_dim")
        text["attention_bias"] = fields.flag("attention_bias")
    elif text["hidden_size"] % text["num_attention_heads"]:
        raise fields.error("hidden_size", "does not divide by num_attention_heads")
    return text_type, text


def _theta(fields: _Fields) -> float:
    """The base of the rotary positions, wherever this version of transformers put it.

    `mrope_section` is dropped: text and audio have one position each, for which the
    three-part rotation equals the plain one.
    """
    for name in ("rope_parameters", "rope_scaling"):
        rope = fields.raw.get(name)
        if rope is None:
            continue
        if not isinstance(rope, dict):
            raise fields.error(name, "is no object")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in ("default", "mrope"):
            raise fields.error(f"{name}.rope_type", f"{kind!r} is not supported")
        if "rope_theta" in rope:
            return _Fields(fields.path, rope, f"{fields.where}{name}.").number(
                "rope_theta", 1.0
            )
    return fields.number("rope_theta", 1.0)
