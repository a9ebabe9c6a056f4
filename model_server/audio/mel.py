"""The one definition of the features a sound classifier sees, in training and at run time."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE

BANDS = 64
FRAME = 400
HOP = 320
FFT = 512
LOWEST_HZ = 60.0
HIGHEST_HZ = 7800.0
FLOOR_DB = -100.0


def frames(samples: int) -> int:
    """How many frames `log_mel` makes of so many samples."""
    return max(0, 1 + (samples - FRAME) // HOP)


def log_mel(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mel power in dB, (..., samples) in -1 to 1 to (..., frames, 64).

    16 kHz, Hann frames of 25 ms every 20 ms, HTK mel scale, never under -100 dB.
    A full-scale sine comes to about 0 dB in its band.
    """
    if audio.shape[-1] < FRAME:
        return np.zeros((*audio.shape[:-1], 0, BANDS), dtype=np.float32)
    cut = np.lib.stride_tricks.sliding_window_view(audio, FRAME, axis=-1)[..., ::HOP, :]
    spectrum = np.fft.rfft(cut * _hann(), FFT, axis=-1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ _filters()
    floor = np.float32(10 ** (FLOOR_DB / 10))
    return np.asarray(10 * np.log10(np.maximum(power, floor)), dtype=np.float32)


@cache
def _hann() -> npt.NDArray[np.float32]:
    window = np.hanning(FRAME + 1)[:-1]
    return np.asarray(window * 2 / window.sum(), dtype=np.float32)


@cache
def _filters() -> npt.NDArray[np.float32]:
    """Triangles of equal height, (257, 64), centred evenly on the mel scale."""
    edges = _hertz(np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), BANDS + 2))
    bins = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    rise = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(rise, fall))
    # The lowest triangles are narrower than a bin: each keeps at least its nearest one.
    centres = np.argmin(np.abs(bins[:, None] - edges[1:-1]), axis=0)
    empty = triangles.sum(axis=0) == 0
    triangles[centres[empty], np.flatnonzero(empty)] = 1
    return triangles.astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
