"""The baseline's way from sound to embeddings: Qwen2.5-Omni's audio encoder.

The encoder is transformers' own class. Beside its own forward, which handles each
window of 2 s by itself, stands the same computation with all windows in one batch,
recorded as our encoder is: what is compared should be the models, too, and not only
how they are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F
from transformers.audio_utils import mel_filter_bank
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoder,
)

from benchmarks.midashenglm.sizes import LONGEST, Sizes
from model_server.engines.midashenglm.graphs import Replays

_RATE, _WINDOW, _HOP = 16000, 400, 160  # Whisper's, which the encoder continues

_GRAPHED = 4
"""Clips up to which a forward is a graph, of 1500 steps each."""

_TOGETHER = 16
"""Clips in one forward."""


class Omni:
    """Clips to the baseline's embeddings of them."""

    def __init__(self, sizes: Sizes, device: torch.device, dtype: torch.dtype) -> None:
        """Make the encoder with random weights."""
        torch.manual_seed(0)
        with device:
            encoder: Any = Qwen2_5OmniAudioEncoder(sizes.omni_config)
        self.encoder: Any = encoder.eval()
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(False)
            parameter.data = parameter.data.to(dtype)
        config = self.encoder.config
        filters = mel_filter_bank(
            num_frequency_bins=1 + _WINDOW // 2,
            num_mel_filters=config.num_mel_bins,
            min_frequency=0.0,
            max_frequency=_RATE / 2,
            sampling_rate=_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self._filters = torch.from_numpy(filters).float().T.to(device)
        self._hann = torch.hann_window(_WINDOW, device=device)
        self._device, self._dtype = device, dtype
        self._replays = Replays(device)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(each.nbytes for each in self.encoder.parameters())

    def mel(self, clip: Tensor, *, padded: bool) -> Tensor:
        """Samples, (samples,), to Whisper's log mel, (bands, samples // 160)."""
        clip = clip.to(self._device, non_blocking=True)
        if padded:
            clip = F.pad(clip, (0, LONGEST * _RATE - len(clip)))
        spectrum = torch.stft(
            clip, _WINDOW, _HOP, window=self._hann, return_complex=True
        )
        power = spectrum[:, :-1].abs().square()
        mel = (self._filters @ power).clamp(min=1e-10).log10()
        return (mel.clamp(min=mel.max() - 8.0) + 4.0) / 4.0

    @torch.inference_mode()
    def as_published(self, clips: Sequence[Tensor], *, padded: bool) -> list[Tensor]:
        """Embeddings of clips, (tokens, hidden) each, by transformers' own forward."""
        mels = [self.mel(clip, padded=padded) for clip in clips]
        found: list[Tensor] = []
        for start in range(0, len(mels), _TOGETHER):
            part = mels[start : start + _TOGETHER]
            frames = torch.tensor([each.shape[1] for each in part], device=self._device)
            halved = (frames - 1) // 2 + 1
            out = self.encoder(
                torch.cat(part, 1), feature_lens=frames, aftercnn_lens=halved
            ).last_hidden_state
            counts = ((halved - 2) // 2 + 1).tolist()
            found += torch.split(out, counts)
        return found

    @torch.inference_mode()
    def batched(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """The same for clips that are padded to 30 s, all windows at once."""
        found: list[Tensor] = []
        for start in range(0, len(clips), _TOGETHER):
            part = clips[start : start + _TOGETHER]
            mels = torch.stack([self.mel(clip, padded=True) for clip in part])
            if len(part) <= _GRAPHED:
                out = self._replays(len(part), self._windows, mels).clone()
            else:
                out = self._windows(mels)
            found += out
        return found

    def _windows(self, mels: Tensor) -> Tensor:
        """Mels of whole windows, (clips, bands, frames), to (clips, tokens, hidden)."""
        encoder = self.encoder
        frames = 2 * encoder.config.n_window
        # (clips * windows, bands, frames)
        clips, bands, _ = mels.shape
        windows = mels.view(clips, bands, -1, frames).transpose(1, 2).flatten(0, 1)
        hidden = F.gelu(encoder.conv1(windows.to(self._dtype)))
        hidden = F.gelu(encoder.conv2(hidden)).transpose(1, 2)
        positions = encoder.positional_embedding.positional_embedding
        hidden = hidden + positions[: hidden.shape[1]].to(self._dtype)
        for layer in encoder.layers:
            attention = layer.self_attn
            normed = layer.self_attn_layer_norm(hidden)
            query, key, value = (
                part(normed).unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
                for part in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            attended = F.scaled_dot_product_attention(query, key, value)
            hidden = hidden + attention.out_proj(attended.transpose(1, 2).flatten(2))
            normed = layer.final_layer_norm(hidden)
            hidden = hidden + layer.fc2(F.gelu(layer.fc1(normed)))
        pooled = hidden.unflatten(1, (-1, 2)).mean(2)
        out: Tensor = encoder.proj(encoder.ln_post(pooled))
        return out.reshape(clips, -1, out.shape[-1])
