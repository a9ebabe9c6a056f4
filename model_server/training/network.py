"""The sound network: log-mel power in, one logit per class and an embedding out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EMBEDDING = 256
_MEAN_DB = -58.0
_SCALE_DB = 20.0


class Block(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; the first one halves time and frequency."""

    def __init__(self, inward: int, outward: int) -> None:
        """Build it."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inward, outward, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outward),
            nn.ReLU(),
            nn.Conv2d(outward, outward, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outward),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True),
            nn.Conv2d(inward, outward, 1, bias=False),
            nn.BatchNorm2d(outward),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inward, frames, bands) to (batch, outward, frames / 2, bands / 2)."""
        out: Tensor = torch.relu(self.body(x) + self.shortcut(x))
        return out


class SoundNet(nn.Module):
    """A small residual network, 1.2 million parameters at its usual width."""

    def __init__(self, classes: int, width: int = 32) -> None:
        """Build it; the embedding has 8 times the width."""
        super().__init__()
        self.embedding = 8 * width
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            Block(width, 2 * width),
            Block(2 * width, 4 * width),
            Block(4 * width, 8 * width),
        )
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(self.embedding, classes)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, 64) in dB to logits (batch, classes) and embedding (batch, 256)."""
        x = ((log_mel - _MEAN_DB) / _SCALE_DB).unsqueeze(1)
        x = self.blocks(self.stem(x)).mean(dim=3)
        # The mean knows what goes on throughout, the maximum what happened once.
        embedding = 0.5 * (x.mean(dim=2) + x.amax(dim=2))
        return self.head(self.drop(embedding)), embedding
