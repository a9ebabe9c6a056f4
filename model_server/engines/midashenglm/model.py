"""MiDashengLM: audio encoder, projector and a Qwen decoder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from model_server.engines.midashenglm.config import ModelConfig
from model_server.engines.midashenglm.encoder import AudioEncoder
from model_server.engines.midashenglm.frontend import FrontEnd

MIN_SAMPLES = 3200
"""A shorter clip is padded with silence to these: they make one token."""


class Projector(nn.Module):
    """Groups of consecutive patches to embeddings of the decoder."""

    def __init__(self, dim: int, factor: int, hidden: int) -> None:
        """Random weights, or none on the meta device."""
        super().__init__()
        self.factor = factor
        self.net = nn.Sequential(
            nn.Linear(dim * factor, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """(patches, dim) to (patches // factor, hidden); the rest is dropped."""
        groups = len(patches) // self.factor
        x = self.net(patches[: groups * self.factor].reshape(groups, -1))
        assert isinstance(x, Tensor)
        return x


class MiDashengLM(nn.Module):
    """The whole model; module names are those of the checkpoints."""

    def __init__(
        self,
        config: ModelConfig,
        device: torch.device | None = None,
    ) -> None:
        """Random weights, or none on the meta device; the front end is on `device`."""
        super().__init__()
        self.config = config
        self.front_end = FrontEnd(config.encoder, device)
        self.audio_encoder = AudioEncoder(config.encoder)
        self.audio_projector = Projector(
            config.encoder.embed_dim,
            config.subsample_factor,
            config.text["hidden_size"],
        )
        self.decoder = _decoder(config)
        self.eval()
        self.requires_grad_(False)

    def tie_head(self) -> None:
        """Let the decoder's output layer be its embedding table."""
        table = self.decoder.get_input_embeddings().weight
        assert isinstance(table, nn.Parameter)
        head = nn.Linear(table.shape[1], table.shape[0], bias=False, device="meta")
        head.weight = table
        self.decoder.lm_head = head
        self.decoder.config.tie_word_embeddings = True

    def audio_tokens(self, samples: int) -> int:
        """How many tokens a clip of so many samples becomes: 5 a second."""
        encoder = self.config.encoder
        frames = 1 + max(samples, MIN_SAMPLES) // encoder.hop_length
        return self.audio_encoder.patches(frames) // self.config.subsample_factor

    @torch.no_grad()
    def audio_embeddings(self, waveform: Tensor) -> Tensor:
        """A whole clip, (samples,), to the decoder's embeddings of it, (tokens, hidden)."""
        short = MIN_SAMPLES - len(waveform)
        if short > 0:
            waveform = nn.functional.pad(waveform, (0, short))
        mel = self.front_end(waveform)
        return self.project(torch.cat(self.encode_clip(mel)))

    @torch.no_grad()
    def encode_clip(self, mel: Tensor) -> list[Tensor]:
        """The mel of a whole clip to the patches, (patches, dim), of each chunk of it."""
        chunks = self.chunks(mel)
        # Frames that made no patch of their own were heard after the last one.
        rest = mel.shape[-1] - sum(chunk.shape[-1] for chunk in chunks)
        ends = [False] * (len(chunks) - 1) + [not rest]
        return self.encode_chunks(chunks, ends)

    def chunks(self, mel: Tensor) -> list[Tensor]:
        """A clip's mel, (n_mels, frames), cut where the encoder's positions restart."""
        stride = self.config.encoder.patch_stride[1]
        cut = torch.split(mel, self.config.encoder.chunk_frames, dim=-1)
        return [chunk for chunk in cut if chunk.shape[-1] >= stride]

    @torch.no_grad()
    def encode_chunks(
        self, chunks: Sequence[Tensor], ends: Sequence[bool] | None = None
    ) -> list[Tensor]:
        """Chunks of mel, (n_mels, frames), to the patches of each, (patches, dim).

        One forward pass for all chunks of one length, so that no chunk is padded and
        none depends on its neighbours. `ends` says which are the last of their clip,
        without it those that are not full: of these the last patch may reach past the
        last sample, and is then attended to by none, as in training.
        """
        full = self.config.encoder.chunk_frames
        if ends is None:
            ends = [chunk.shape[-1] < full for chunk in chunks]
        alike: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for place, (chunk, end) in enumerate(zip(chunks, ends, strict=True)):
            frames = chunk.shape[-1]
            partial = end and self._heard(frames) < self.audio_encoder.patches(frames)
            alike[frames, partial].append(place)
        out: dict[int, Tensor] = {}
        for (frames, partial), places in alike.items():
            mels = torch.stack([chunks[place] for place in places])
            keep = self._keep(len(places), frames, mels.device) if partial else None
            out.update(zip(places, self.audio_encoder(mels, keep), strict=True))
        return [out[place] for place in range(len(chunks))]

    @torch.no_grad()
    def project(self, patches: Tensor) -> Tensor:
        """A clip's patches, (n, dim), across its chunks, to (n // 5, hidden).

        Groups of five cross the borders of chunks, so join chunks first.
        """
        x = self.audio_projector(patches)
        assert isinstance(x, Tensor)
        return x

    def _heard(self, frames: int) -> int:
        """Patches of a last chunk whose samples are all there: floor(samples / 640).

        At least one, since a chunk that hears nothing would be undefined.
        """
        stride = self.config.encoder.patch_stride[1]
        return max(1, (frames - 1) // stride)

    def _keep(self, chunks: int, frames: int, device: torch.device) -> Tensor:
        patches = torch.arange(self.audio_encoder.patches(frames), device=device)
        return (patches < self._heard(frames)).expand(chunks, -1)


def _decoder(config: ModelConfig) -> PreTrainedModel:
    """The decoder of the checkpoint's kind, with an output layer of its own."""
    if config.text_type == "qwen2":
        model: PreTrainedModel = Qwen2ForCausalLM(
            Qwen2Config(**config.text, tie_word_embeddings=False)
        )
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**config.text, tie_word_embeddings=False))
    return model
