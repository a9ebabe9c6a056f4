"""What microphones and their lines do to sound: bands, codecs, clipping, noise gates, edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE

Audio = npt.NDArray[np.float32]

_FRAME = 512


def device(audio: Audio, rng: np.random.Generator) -> Audio:
    """The samples as some device passes them on: one of the kinds below, at random."""
    kind = int(rng.integers(5))
    if kind == 0:
        return telephone(audio)
    if kind == 1:
        return codec(audio, rng.uniform(3500, 7500), rng.uniform(20, 45))
    if kind == 2:
        return clipped(audio, rng.uniform(3, 20))
    if kind == 3:
        return banded(audio, rng.uniform(80, 500), rng.uniform(2500, 7500))
    return coarse(audio, int(rng.integers(7, 11)))


def telephone(audio: Audio) -> Audio:
    """300 to 3400 Hz in the 8 bits of G.711's mu-law."""
    narrow = banded(audio, 300.0, 3400.0)
    peak = float(np.max(np.abs(narrow), initial=0.0))
    if peak == 0:
        return narrow
    loud = narrow / peak
    law = np.sign(loud) * np.log1p(255 * np.abs(loud)) / np.log(256)
    law = np.round(law * 127) / 127
    plain = np.sign(law) * (256 ** np.abs(law) - 1) / 255
    return np.asarray(plain * peak, np.float32)


def codec(audio: Audio, highest: float, keep_db: float) -> Audio:
    """Without what is above `highest` Hz or `keep_db` under its frame's loudest line."""
    hop = _FRAME // 2
    padded = np.pad(audio, (hop, hop + -audio.size % hop))
    cut = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::hop]
    # The root of a Hann window twice, half over half, is one: what is kept stays itself.
    fade = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME))
    lines = np.fft.rfft(cut * fade)
    size = np.abs(lines)
    least = size.max(axis=1, keepdims=True) * 10 ** (-keep_db / 20)
    lines[size < least] = 0
    lines[:, np.fft.rfftfreq(_FRAME, 1 / SAMPLE_RATE) > highest] = 0
    frames = np.fft.irfft(lines, _FRAME) * fade
    out = np.zeros((len(frames) + 1, hop))
    out[:-1] += frames[:, :hop]
    out[1:] += frames[:, hop:]
    return out.ravel()[hop : hop + audio.size].astype(np.float32)


def clipped(audio: Audio, over_db: float) -> Audio:
    """As loud as before, but with its peaks cut `over_db` under the highest."""
    peak = float(np.max(np.abs(audio), initial=0.0))
    limit = peak * 10 ** (-over_db / 20)
    return np.asarray(np.clip(audio, -limit, limit), np.float32)


def banded(audio: Audio, lowest: float, highest: float) -> Audio:
    """Without what is below or above, falling 24 dB an octave."""
    lines = np.fft.rfft(audio)
    hertz = np.maximum(np.fft.rfftfreq(audio.size, 1 / SAMPLE_RATE), 1.0)
    gain = 1 / np.sqrt((1 + (lowest / hertz) ** 8) * (1 + (hertz / highest) ** 8))
    return np.asarray(np.fft.irfft(lines * gain, audio.size), np.float32)


def coarse(audio: Audio, bits: int) -> Audio:
    """In steps of so many bits, with a microphone's own hiss of about one step."""
    peak = float(np.max(np.abs(audio), initial=0.0))
    step = peak / 2 ** (bits - 1)
    if step == 0:
        return audio.copy()
    return np.asarray(np.round(audio / step) * step, np.float32)


def unmuted(audio: Audio, rng: np.random.Generator) -> Audio:
    """Digital silence until some moment, or from it on: a stream's edge is no sound."""
    at = int(rng.uniform(0.05, 0.95) * audio.size)
    edge = audio.copy()
    if rng.random() < 0.7:
        edge[:at] = 0
    else:
        edge[at:] = 0
    return edge


def clatter(seconds: float, rng: np.random.Generator) -> Audio:
    """Something set down, typed or switched: a few short damped strikes."""
    wave = np.zeros(round(seconds * SAMPLE_RATE))
    for _ in range(int(rng.integers(1, 12))):
        begin = int(rng.integers(wave.size))
        length = min(wave.size - begin, SAMPLE_RATE // 4)
        time = np.arange(length) / SAMPLE_RATE
        decay = np.exp(-time / rng.uniform(0.002, 0.04))
        ring = sum(
            rng.uniform(0, 1)
            * np.sin(2 * np.pi * rng.uniform(200, 6000) * time + rng.uniform(0, 6.28))
            for _ in range(int(rng.integers(1, 5)))
        )
        strike = rng.uniform(0, 1) * rng.standard_normal(length) + ring
        wave[begin : begin + length] += rng.uniform(0.1, 1) * decay * strike
    peak = float(np.max(np.abs(wave)))
    return np.asarray(0.5 * wave / peak if peak else wave, np.float32)
