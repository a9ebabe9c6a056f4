"""Impulsive sounds: where they are in a stream, and what they are like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Pcm

Kind = Literal["clap", "snap", "knock", "other"]
Float = npt.NDArray[np.float64]

HOP = 32
"""Samples from frame to frame: 2 ms."""
_FRAME = 128
BINS = _FRAME // 2 + 1
HZ = np.arange(BINS) * SAMPLE_RATE / _FRAME
# Frames are transformed by this many at a time, however the stream is cut, so that
# the same samples always give the same numbers.
_BLOCK = 100
# Mains hum and rumble are below the third bin; a knock is above it, too.
_LOWEST = 2
_FLOOR = 10 ** (-95 / 10)


def frames(milliseconds: float) -> int:
    """So many frames last so long."""
    return round(milliseconds * SAMPLE_RATE / 1000 / HOP)


_BEFORE = frames(120)
_AFTER = frames(200)
_POWER_KEPT = frames(120 + 200) + 3 * _BLOCK
_LEVEL_KEPT = frames(5000)
_RISE = frames(30)
_RISE_DB = 9.0
_ALONE_BEFORE = frames(40)
_ALONE_AFTER = frames(50)


@dataclass(frozen=True, eq=False)
class Impulse:
    """One impulsive sound. `at` is the frame of its peak, `level` that one's dB.

    `attack` and `decay` are the milliseconds in which it rose the last 10 dB and fell
    the first 10; `fall` is by how many dB it had fallen after 60 ms. `centroid` and
    `spread` are in Hz, `flatness` from 0 (one tone) to 1 (white), `low`, `bass` and
    `high` the shares of its energy below 700 Hz, below 1300 Hz and above 5 kHz, `peak` that of its strongest bin.
    `shape` is its spectrum in eight bands, dB, of mean 0.
    """

    at: int
    level: float
    above: float
    attack: float
    decay: float
    fall: float
    centroid: float
    spread: float
    flatness: float
    low: float
    bass: float
    high: float
    peak: float
    shape: Float


class Spectrogram:
    """The newest power spectra of a stream, (frames, BINS), and more of their levels in dB."""

    def __init__(self) -> None:
        """Begin at sample 0; frame `f` covers samples f * HOP to f * HOP + _FRAME."""
        self._window = np.hanning(_FRAME + 1)[:-1]
        self._window /= np.sqrt(np.sum(self._window**2) * _FRAME / 2)
        self._pending = np.zeros(0, dtype=np.int16)
        self.power = np.zeros((0, BINS))
        self.level = np.zeros(0)
        self.first = 0

    @property
    def end(self) -> int:
        """The frame that comes next."""
        return self.first + self.level.size

    def push(self, pcm: Pcm) -> None:
        """Take samples. Call `step` while it is `ready`."""
        self._pending = np.concatenate([self._pending, pcm])

    @property
    def ready(self) -> bool:
        """Whether samples wait that make another block of frames."""
        return self._pending.size >= _FRAME + (_BLOCK - 1) * HOP

    def step(self) -> None:
        """Add a block of frames, and forget the oldest."""
        samples = self._pending[: _FRAME + (_BLOCK - 1) * HOP].astype(np.float64)
        self._pending = self._pending[_BLOCK * HOP :]
        cut = np.lib.stride_tricks.sliding_window_view(samples / 32768, _FRAME)[::HOP]
        spectrum = np.fft.rfft(cut * self._window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        level = 10 * np.log10(power[:, _LOWEST:].sum(axis=1) + _FLOOR)
        end = self.end + _BLOCK
        self.power = np.concatenate([self.power, power])[-_POWER_KEPT:]
        self.level = np.concatenate([self.level, level])[-_LEVEL_KEPT:]
        self.first = end - self.level.size


class TransientDetector:
    """Finds the impulsive sounds of a spectrogram, each once, in order."""

    def __init__(self, spectrogram: Spectrogram) -> None:
        """Begin where the spectrogram does."""
        self._spectrogram = spectrogram
        self.done = 0
        """Every impulse before this frame has been found."""

    def step(self) -> list[Impulse]:
        """The impulses that the newest block made certain."""
        spec = self._spectrogram
        begin = max(self.done, spec.first + _BEFORE)
        end = spec.end - _AFTER
        if end <= begin:
            return []
        self.done = end
        around = spec.level[
            begin - _ALONE_BEFORE - spec.first : end + _ALONE_AFTER - spec.first
        ]
        width = _ALONE_BEFORE + _ALONE_AFTER + 1
        highest = np.lib.stride_tricks.sliding_window_view(around, width).max(axis=1)
        level = spec.level[begin - spec.first : end - spec.first]
        before = spec.level[begin - _RISE - spec.first : end - 3 - spec.first]
        lowest = np.lib.stride_tricks.sliding_window_view(before, _RISE - 2).min(axis=1)
        peaks = (level >= highest) & (level - lowest >= _RISE_DB)
        return [self._impulse(begin + int(at)) for at in np.flatnonzero(peaks)]

    def _impulse(self, at: int) -> Impulse:
        spec = self._spectrogram
        here = at - spec.first
        level = spec.level[here - _BEFORE : here + _AFTER]
        top = float(level[_BEFORE])
        rising = np.flatnonzero(level[:_BEFORE] < top - 10)
        attack = _BEFORE - int(rising[-1]) if rising.size else _BEFORE
        falling = np.flatnonzero(level[_BEFORE:] < top - 10)
        decay = int(falling[0]) if falling.size else _AFTER
        later = level[_BEFORE + frames(50) : _BEFORE + frames(70)]
        power = spec.power[at - spec.end - frames(60) :][: frames(72)]
        ground = power[: frames(44)].mean(axis=0)
        sound = power[frames(60) - 2 :].mean(axis=0)
        clean = np.maximum(sound - ground, 1e-3 * sound)[_LOWEST:]
        hz = HZ[_LOWEST:]
        total = float(clean.sum()) + 1e-30
        share = clean / total
        centroid = float(share @ hz)
        middle = clean[2:-4] + 1e-30
        bands = np.array([float(clean[(hz >= a) & (hz < b)].sum()) for a, b in _BANDS])
        shape = 10 * np.log10(bands / total + 3e-3)
        return Impulse(
            at=at,
            level=top,
            above=top - 10 * float(np.log10(ground[_LOWEST:].sum() + _FLOOR)),
            attack=attack * 1000 * HOP / SAMPLE_RATE,
            decay=decay * 1000 * HOP / SAMPLE_RATE,
            fall=top - float(later.mean()),
            centroid=centroid,
            spread=float(np.sqrt(share @ (hz - centroid) ** 2)),
            flatness=float(np.exp(np.log(middle).mean()) / middle.mean()),
            low=float(share[hz < 700].sum()),
            bass=float(share[hz < 1300].sum()),
            high=float(share[hz > 5000].sum()),
            peak=float(share.max()),
            shape=shape - shape.mean(),
        )


_BANDS = (
    (200, 450), (450, 800), (800, 1300), (1300, 1900),
    (1900, 2700), (2700, 3800), (3800, 5400), (5400, 8001),
)  # fmt: skip
