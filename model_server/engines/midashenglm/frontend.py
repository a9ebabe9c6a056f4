"""Waveform to mel spectrogram in dB, as Dasheng and CED were trained with: torch only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model_server.engines.midashenglm.config import EncoderConfig

FLOOR = 1e-10
"""Least power: -100 dB. As torchaudio's `amplitude_to_DB` is used in training."""
RANGE_DB = 120.0
"""Nothing lies further than this under the loudest band of its own clip."""


class FrontEnd(nn.Module):
    """Mel power in dB: periodic Hann, reflected edges, HTK scale, no normalisation.

    Always float32, whatever the model's own type: rounding the window and the filters
    to bfloat16 shifts single bands by up to 0.45 dB. A clip at a time, at its true
    length: the floor depends on the clip's loudest band, and padding with zeros would
    replace the reflected edge.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, config: EncoderConfig, device: torch.device | None = None
    ) -> None:
        """Computed, never loaded; on `device` even where modules are made on meta."""
        super().__init__()
        device = device or torch.device("cpu")
        self.n_fft = config.n_fft
        self.hop_length = config.hop_length
        self.win_length = config.win_length
        window = torch.hann_window(
            config.win_length, periodic=True, dtype=torch.float32, device="cpu"
        )
        self.register_buffer("window", window.to(device), persistent=False)
        self.register_buffer(
            "filters", mel_filters(config).to(device), persistent=False
        )

    @property
    def min_samples(self) -> int:
        """Fewer samples have no edge to reflect."""
        return self.n_fft // 2 + 1

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Samples in -1 to 1, (samples,), to dB, (n_mels, 1 + samples // hop)."""
        if waveform.dim() != 1:
            raise ValueError(
                f"A front end takes one clip, (samples,), not {tuple(waveform.shape)}"
            )
        if len(waveform) < self.min_samples:
            raise ValueError(
                f"A clip has at least {self.min_samples} samples, not {len(waveform)}"
            )
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                waveform.float(),
                self.n_fft,
                self.hop_length,
                self.win_length,
                self.window,
                center=True,
                pad_mode="reflect",
                normalized=False,
                onesided=True,
                return_complex=True,
            )
            power = spectrum.abs().square()
            mel = self.filters.T @ power
            decibel = 10.0 * mel.clamp(min=FLOOR).log10()
            return decibel.clamp(min=decibel.max() - RANGE_DB)


def mel_filters(config: EncoderConfig) -> Tensor:
    """Triangles of height 1 on the HTK mel scale, (n_fft // 2 + 1, n_mels), float32."""
    bins = torch.linspace(
        0, config.sample_rate // 2, config.n_fft // 2 + 1, device="cpu"
    )
    lowest, highest = (
        2595.0 * math.log10(1.0 + hertz / 700.0)
        for hertz in (config.f_min, config.f_max)
    )
    mels = torch.linspace(lowest, highest, config.n_mels + 2, device="cpu")
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    widths = edges[1:] - edges[:-1]
    slopes = edges[None, :] - bins[:, None]
    rising = -slopes[:, :-2] / widths[:-1]
    falling = slopes[:, 2:] / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0.0)
