"""The two models that are compared, at full size and small enough for any CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoderConfig,
)

from model_server.engines.midashenglm.config import EncoderConfig, ModelConfig

PROMPT_BEFORE, PROMPT_AFTER = 4, 38
"""Tokens of text around the audio: 42 in all, as the limits in docs/benchmarks.md."""

NEW_TOKENS = 100
"""Tokens of an answer, as in the published measurements."""

LONGEST = 30
"""Seconds of audio to which the baseline pads, and of the published measurements."""

MIDASHENGLM_7B = ModelConfig(
    encoder=EncoderConfig(
        embed_dim=1280,
        depth=32,
        num_heads=16,
        mlp_ratio=4.0,
        qkv_bias=True,
        init_values=None,
        patch_size=(64, 4),
        patch_stride=(64, 4),
        target_length=1008,
        n_mels=64,
        n_fft=512,
        win_length=512,
        hop_length=160,
        f_min=0.0,
        f_max=8000.0,
        sample_rate=16000,
        outputdim=527,
        pooling="mean",
    ),
    subsample_factor=5,
    text_type="qwen2",
    text={
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    },
)
"""The published geometry: 8,281,739,904 parameters."""


@dataclass(frozen=True)
class Sizes:
    """MiDashengLM, and the audio encoder of the baseline, which feeds its decoder."""

    name: str
    model: ModelConfig
    omni: dict[str, Any]

    @property
    def omni_config(self) -> Qwen2_5OmniAudioEncoderConfig:
        """As transformers' class for it takes them."""
        return Qwen2_5OmniAudioEncoderConfig(**self.omni)


# The defaults of transformers' configuration are those of Qwen2.5-Omni-7B.
FULL = Sizes("7B", MIDASHENGLM_7B, {})

SMALL = Sizes(
    "small",
    replace(
        MIDASHENGLM_7B,
        encoder=replace(MIDASHENGLM_7B.encoder, embed_dim=64, depth=2, num_heads=4),
        text={
            **MIDASHENGLM_7B.text,
            "vocab_size": 512,
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
    ),
    {
        "d_model": 64,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 256,
        "output_dim": 128,
    },
)
"""The same token rates and layouts, and too few weights to say anything."""
