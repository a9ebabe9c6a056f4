"""The audio encoder of Dasheng and CED: a transformer over patches of a mel spectrogram."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_server.engines.midashenglm.config import EncoderConfig

EPS = 1e-6
"""Of every LayerNorm, as the published encoders have it."""


class AudioEncoder(nn.Module):
    """Mel spectrograms to one embedding per patch.

    The same class serves MiDashengLM's encoder and plain Dasheng (patches of 64 bands
    by 4 frames) and CED (16 by 16). Module names are those of the checkpoints.
    """

    def __init__(self, config: EncoderConfig) -> None:
        """Random weights, or none on the meta device."""
        super().__init__()
        self.config = config
        rows, columns = config.grid
        self.init_bn = nn.BatchNorm2d(config.n_mels)
        self.patch_embed = _PatchEmbed(config)
        self.time_pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, 1, columns))
        self.freq_pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, rows, 1))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.embed_dim, eps=EPS)
        self.eval()

    def patches(self, frames: int) -> int:
        """How many patches so many frames make; a rest shorter than a patch is dropped."""
        return self.config.grid[0] * (frames // self.config.patch_stride[1])

    def forward(self, mels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Mels in dB, (chunks, n_mels, frames), to embeddings, (chunks, patches, dim).

        Patches are in the order (band, time). Positions start at 0 in each chunk, and
        patches attend to all of their chunk. Where `keep`, (chunks, patches), is
        False a patch is attended to by none. A chunk without any kept patch is not
        computed: its embeddings are 0. Raises ValueError for chunks that are longer
        than the encoder was made for or shorter than a patch.
        """
        columns = mels.shape[-1] // self.config.patch_stride[1]
        if not 1 <= columns <= self.config.grid[1]:
            raise ValueError(
                f"A chunk has {self.config.patch_stride[1]} to "
                f"{self.config.target_length} frames, not {mels.shape[-1]}"
            )
        if keep is not None:
            heard = keep.any(dim=1)
            if not bool(heard.all()):
                return self._without_empty(mels, keep, heard)
        return self.transform(mels, keep)

    def transform(self, mels: Tensor, keep: Tensor | None = None) -> Tensor:
        """As `forward`, without a look at the values: each chunk has a kept patch."""
        columns = mels.shape[-1] // self.config.patch_stride[1]
        # (chunks, n_mels, frames): batch norm over bands, then one channel of image.
        image = self.init_bn(mels.float().unsqueeze(2)).transpose(1, 2)
        x = self.patch_embed(image.to(self.time_pos_embed.dtype))
        x = x + self.time_pos_embed[..., :columns] + self.freq_pos_embed
        x = x.flatten(2).transpose(1, 2)
        mask = None if keep is None else keep[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        assert isinstance(x, Tensor)
        return x

    def _without_empty(self, mels: Tensor, keep: Tensor, heard: Tensor) -> Tensor:
        # Softmax over nothing is undefined, and backends differ in what they make of it.
        shape = (*keep.shape, self.config.embed_dim)
        out = torch.zeros(shape, dtype=self.norm.weight.dtype, device=mels.device)
        if bool(heard.any()):
            out[heard] = self(mels[heard], keep[heard])
        return out


class Tagger(nn.Module):
    """An encoder with an output layer that scores classes: CED."""

    def __init__(self, config: EncoderConfig) -> None:
        """Random weights, or none on the meta device."""
        super().__init__()
        self.encoder = AudioEncoder(config)
        self.outputlayer = nn.Sequential(
            nn.LayerNorm(config.embed_dim),
            nn.Linear(config.embed_dim, config.outputdim),
        )
        self.eval()

    def forward(self, mels: Tensor) -> tuple[Tensor, Tensor]:
        """Mels in dB, (chunks, n_mels, frames), to scores and embeddings.

        Scores are 0 to 1, (chunks, classes), and embeddings means over the patches,
        (chunks, dim); both float32.
        """
        patches = self.encoder(mels)
        config = self.encoder.config
        embeddings = patches.mean(dim=1)
        if config.pooling == "dm":
            # A score for each moment, then their mean.
            moments = patches.unflatten(1, (config.grid[0], -1)).mean(dim=1)
            scores = self.outputlayer(moments).float().sigmoid().mean(dim=1)
        else:
            scores = self.outputlayer(embeddings).float().sigmoid()
        return scores, embeddings.float()


class _PatchEmbed(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(
            1, config.embed_dim, config.patch_size, config.patch_stride
        )

    def forward(self, image: Tensor) -> Tensor:
        """(chunks, 1, bands, frames) to (chunks, dim, rows, columns)."""
        x = self.proj(image)
        assert isinstance(x, Tensor)
        return x


class _Attention(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, config.qkv_bias)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(chunks, patches, dim), with a mask (chunks, 1, 1, patches), True = keep."""
        # (3, chunks, heads, patches, dim / heads)
        heads = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        out = functional.scaled_dot_product_attention(query, key, value, mask)
        out = self.proj(out.transpose(1, 2).flatten(2))
        assert isinstance(out, Tensor)
        return out


class _Mlp(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden = int(config.embed_dim * config.mlp_ratio)
        self.fc1 = nn.Linear(config.embed_dim, hidden)
        self.fc2 = nn.Linear(hidden, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc2(functional.gelu(self.fc1(x)))
        assert isinstance(x, Tensor)
        return x


class _LayerScale(nn.Module):
    def __init__(self, config: EncoderConfig, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((config.embed_dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def _scale(config: EncoderConfig) -> nn.Module:
    # As the published classes: none, and none of its weights, for null and for 0.
    if not config.init_values:
        return nn.Identity()
    return _LayerScale(config, config.init_values)


class _Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=EPS)
        self.attn = _Attention(config)
        self.ls1 = _scale(config)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=EPS)
        self.mlp = _Mlp(config)
        self.ls2 = _scale(config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), mask))
        x = x + self.ls2(self.mlp(self.norm2(x)))
        assert isinstance(x, Tensor)
        return x
