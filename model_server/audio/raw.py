"""Raw PCM of any rate, width and number of channels becomes 16 kHz mono as it streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.decode import MAX_CHANNELS, MAX_RATE, MIN_RATE


@dataclass(frozen=True)
class RawFormat:
    """Interleaved little-endian samples of `width` bytes, as in a WAV file.

    Integers: unsigned with 1 byte, signed with 2, 3 and 4.
    """

    rate: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        """Raise ValueError, with a sentence, for what no recorder makes."""
        if not MIN_RATE <= self.rate <= MAX_RATE:
            raise ValueError(
                f"The rate is {self.rate} Hz: send {MIN_RATE} to {MAX_RATE} Hz."
            )
        if self.width not in {1, 2, 3, 4}:
            raise ValueError(
                f"A sample has {self.width} bytes: send integers of 1, 2, 3 or 4."
            )
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ValueError(
                f"There are {self.channels} channels: send 1 to {MAX_CHANNELS}."
            )


NATIVE = RawFormat(SAMPLE_RATE, 2, 1)


class RawPcm:
    """One stream of raw audio; bytes of a frame that is not whole wait for the rest."""

    def __init__(self, form: RawFormat) -> None:
        """Begin with the first byte of a frame."""
        self.form = form
        self._partial = b""
        self._resampler = None
        if form.rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(form.rate, SAMPLE_RATE, 1)

    def push(self, data: bytes) -> Iterator[Pcm]:
        """Samples that `data` completes, in blocks of about a second at most."""
        data = self._partial + data
        frame = self.form.width * self.form.channels
        whole = len(data) - len(data) % frame
        self._partial = data[whole:]
        block = frame * self.form.rate
        for first in range(0, whole, block):
            yield self._convert(data[first : min(whole, first + block)])

    def finish(self) -> Pcm:
        """What the resampler still holds, (samples,)."""
        if self._resampler is None:
            return np.zeros(0, np.int16)
        return _to_pcm(self._resampler.resample_chunk(np.zeros(0, np.float32), True))

    def _convert(self, data: bytes) -> Pcm:
        if self.form == NATIVE:
            return np.frombuffer(data, "<i2").astype(np.int16)
        frames = _to_float(data, self.form.width).reshape(-1, self.form.channels)
        mono = frames.mean(axis=1, dtype=np.float32)
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono)
        return _to_pcm(mono)


def _to_float(data: bytes, width: int) -> npt.NDArray[np.float32]:
    """Integers of 1 to 4 bytes as -1 to 1, (samples,)."""
    if width == 1:
        centred = np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)
        return centred / np.float32(128)
    # Three bytes have no type of their own: they become the upper ones of four.
    padded = np.zeros((len(data) // width, 4), np.uint8)
    padded[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
    integers = padded.view("<i4")[:, 0]
    return integers.astype(np.float32) / np.float32(1 << 31)


def _to_pcm(audio: npt.NDArray[Any]) -> Pcm:
    scaled = np.rint(audio * 32768)
    return np.asarray(np.clip(scaled, -32768, 32767), np.int16)
