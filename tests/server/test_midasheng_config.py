"""Reading config.json: every field used, none guessed, and errors that name the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_server.engines.midashenglm.config import (
    CheckpointError,
    read_config,
    read_encoder_config,
)
from tests.server.checkpoints import CED, ENCODER, TEXT_06B, TEXT_7B, encoder_config

WHOLE: dict[str, Any] = {
    "model_type": "midashenglm",
    "subsample_factor": 5,
    "audio_encoder_config": ENCODER,
    "text_config": TEXT_7B,
}


def written(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_what_is_stated_is_taken(tmp_path: Path) -> None:
    stated = {
        "embed_dim": 96,
        "depth": 3,
        "num_heads": 6,
        "mlp_ratio": 2.0,
        "qkv_bias": False,
        "init_values": 1e-5,
        "patch_size": [32, 8],
        "patch_stride": [32, 8],
        "target_length": 500,
        "n_mels": 128,
        "n_fft": 1024,
        "win_length": 800,
        "hop_length": 200,
        "f_min": 20,
        "f_max": 7600.5,
        "outputdim": 50,
        "pooling": "dm",
    }
    config = read_config(
        written(
            tmp_path, WHOLE | {"audio_encoder_config": stated, "subsample_factor": 4}
        )
    )

    pairs = {"patch_size": (32, 8), "patch_stride": (32, 8)}
    assert config.encoder == encoder_config(**(stated | pairs))
    assert config.subsample_factor == 4
    assert config.encoder.grid == (4, 62)
    assert config.encoder.chunk_frames == 496
    assert config.encoder.patch_samples == 1600


def test_what_a_file_leaves_out_is_what_its_class_has_by_default(
    tmp_path: Path,
) -> None:
    config = read_config(written(tmp_path, WHOLE))

    assert config.encoder == encoder_config()
    assert config.text_type == "qwen2"
    # The geometry of the 7B, which its text_config need not repeat.
    assert config.text["vocab_size"] == 152064
    assert config.text["max_position_embeddings"] == 32768
    assert config.text["rms_norm_eps"] == 1e-6
    assert config.text["hidden_size"] == 64
    assert config.quantization is None


def test_rotary_positions_lose_their_three_parts_and_keep_their_base(
    tmp_path: Path,
) -> None:
    def theta(**rope: Any) -> Any:
        text = {k: v for k, v in TEXT_7B.items() if k != "rope_scaling"} | rope
        config = read_config(written(tmp_path, WHOLE | {"text_config": text}))
        assert config.text["rope_parameters"]["rope_type"] == "default"
        assert "mrope_section" not in config.text["rope_parameters"]
        return config.text["rope_parameters"]["rope_theta"]

    sections = {"mrope_section": [16, 24, 24]}
    assert theta() == 1e6
    assert theta(rope_theta=5e5, rope_scaling=sections | {"type": "mrope"}) == 5e5
    assert theta(rope_scaling=None) == 1e6
    assert theta(rope_parameters=sections | {"rope_theta": 2e6}) == 2e6


def test_the_small_sibling_is_a_qwen3(tmp_path: Path) -> None:
    text = TEXT_06B | {"vocab_size": 151936}
    config = read_config(written(tmp_path, WHOLE | {"text_config": text}))

    assert config.text_type == "qwen3"
    assert config.text["head_dim"] == 32
    assert config.text["attention_bias"] is False
    assert config.text["vocab_size"] == 151936


def test_ceds_own_spellings_are_read(tmp_path: Path) -> None:
    config = read_encoder_config(written(tmp_path, CED | {"hop_size": 200}))

    assert config.patch_size == (16, 16)
    assert config.hop_length == 200
    assert config.win_length == 512
    assert config.grid == (4, 63)


def test_a_quantisation_is_found_in_either_place(tmp_path: Path) -> None:
    settings = {"quant_method": "compressed-tensors"}
    outside = WHOLE | {"quantization_config": settings}
    inside = WHOLE | {"text_config": TEXT_7B | {"quantization_config": settings}}

    assert read_config(written(tmp_path, outside)).quantization == settings
    assert read_config(written(tmp_path, inside)).quantization == settings


def without(name: str, section: str) -> dict[str, Any]:
    fields = {key: value for key, value in WHOLE[section].items() if key != name}
    return {section: fields}


def changed(section: str, **fields: Any) -> dict[str, Any]:
    return {section: WHOLE[section] | fields}


AUDIO, TEXT = "audio_encoder_config", "text_config"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "qwen2"}, "model_type is 'qwen2', not 'midashenglm'"),
        ({AUDIO: None}, "audio_encoder_config is no object"),
        ({TEXT: []}, "text_config is no object"),
        ({"subsample_factor": 0}, "subsample_factor is 0, not a whole number above 0"),
        ({"subsample_factor": True}, "subsample_factor is True"),
        ({"quantization_config": "fp8"}, "quantization_config is no object"),
        (without("depth", AUDIO), "audio_encoder_config.depth is missing"),
        (without("embed_dim", AUDIO), "audio_encoder_config.embed_dim is missing"),
        (without("target_length", AUDIO), "config.target_length is missing"),
        (without("model_type", TEXT), "text_config.model_type is missing"),
        (changed(AUDIO, depth="12"), "depth is '12', not a whole number"),
        (changed(AUDIO, num_heads=5), "embed_dim 32 does not divide by num_heads 5"),
        (changed(AUDIO, mlp_ratio="4"), "mlp_ratio is '4', not a number"),
        (changed(AUDIO, mlp_ratio=-1), "mlp_ratio is -1, not at least 0"),
        (changed(AUDIO, qkv_bias=1), "qkv_bias is 1, not true or false"),
        (changed(AUDIO, patch_size=[64]), r"patch_size is \[64\], not one or two"),
        (changed(AUDIO, patch_size="64"), "patch_size is '64', not one or two"),
        (changed(AUDIO, patch_stride=[64, 2]), "overlapping patches are not supported"),
        (
            changed(AUDIO, patch_size=[60, 4], patch_stride=[60, 4]),
            "patch_size 60 does not divide 64 bands",
        ),
        (changed(AUDIO, target_length=3), "target_length is shorter than a patch"),
        (changed(AUDIO, win_length=1024), "win_length is longer than n_fft"),
        (changed(AUDIO, f_max=9000), "f_max must lie above f_min and not above half"),
        (changed(AUDIO, sample_rate=48000), "sample_rate is 48000, not 16000"),
        (changed(AUDIO, center=False), "center is not true"),
        (changed(AUDIO, input_channels=2), "input_channels is not 1"),
        (changed(AUDIO, pooling="token"), "pooling 'token' is not supported"),
        (changed(TEXT, model_type="llama"), "model_type is 'llama', not one of"),
        (changed(TEXT, model_type="qwen2"), "text_config.vocab_size is missing"),
        (changed(TEXT, hidden_act="gelu"), "hidden_act is 'gelu', not 'silu'"),
        (changed(TEXT, use_sliding_window=True), "use_sliding_window is true"),
        (changed(TEXT, num_key_value_heads=3), "num_key_value_heads does not divide"),
        (changed(TEXT, hidden_size=66), "hidden_size does not divide"),
        (changed(TEXT, rope_scaling="yarn"), "rope_scaling is no object"),
        (
            changed(TEXT, rope_scaling={"rope_type": "yarn"}),
            "rope_scaling.rope_type 'yarn' is not supported",
        ),
        (
            changed(TEXT, rope_parameters={"rope_theta": 0}),
            "text_config.rope_parameters.rope_theta is 0",
        ),
    ],
)
def test_a_field_that_cannot_be_is_named(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(CheckpointError, match=told):
        read_config(written(tmp_path, WHOLE | change))


def test_a_file_that_is_no_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config.json cannot be read \(No such"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json is not JSON"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config.json is not a JSON object"):
        read_config(tmp_path)
