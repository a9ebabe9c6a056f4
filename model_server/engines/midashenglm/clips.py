"""A clip on its way into the model: what is the same in two clips is encoded once.

The encoder works on chunks of 10.08 s that know nothing of each other, so a chunk's
encoding belongs to its samples. Two things reach further: the window of the spectrum,
which is longer than its hop, and the quietest value of a clip, which is 120 dB below
its loudest. Both are part of what a chunk is known by.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_server.audio import Pcm

from .encoding import ChunkEncoder
from .frontend import RANGE_DB
from .model import MIN_SAMPLES, MiDashengLM

Waveform: TypeAlias = npt.NDArray[np.float32]
"""Samples from -1 to 1, (samples,), 16 kHz mono."""

ChunkKey: TypeAlias = bytes
"""What a chunk is known by."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """The values that were used last, up to a number of bytes."""

    def __init__(self, capacity: int, size: Callable[[V], int]) -> None:
        """Keep up to `capacity` bytes; `size` of a value is in bytes."""
        self._capacity = capacity
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self.bytes = 0

    def get(self, key: K) -> V | None:
        """A value, which is then the last that was used."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: K, value: V) -> None:
        """Keep a value; the ones unused for longest make room."""
        if (old := self._values.pop(key, None)) is not None:
            self.bytes -= self._size(old)
        self._values[key] = value
        self.bytes += self._size(value)
        while self.bytes > self._capacity:
            _, oldest = self._values.popitem(last=False)
            self.bytes -= self._size(oldest)

    def clear(self) -> None:
        """Keep nothing."""
        self._values.clear()
        self.bytes = 0


@dataclass(frozen=True)
class Clip:
    """Audio that something is asked about. `open`: more of it is still to come."""

    waveform: Waveform
    open: bool = False

    @classmethod
    def of(cls, pcm: Pcm, *, open: bool = False) -> Clip:
        """A clip of 16-bit samples."""
        return cls(pcm.astype(np.float32) / np.float32(32768), open)

    @cached_property
    def padded(self) -> Waveform:
        """With the silence that a short clip gets: one token needs 0.2 s."""
        short = max(0, MIN_SAMPLES - self.waveform.size)
        return np.pad(self.waveform, (0, short))


@dataclass(frozen=True)
class Heard:
    """A clip's chunks as the encoder has them: keys, and patches (patches, dim) each."""

    keys: tuple[ChunkKey, ...]
    patches: tuple[Tensor, ...]

    @cached_property
    def joined(self) -> Tensor:
        """All patches, (patches, dim)."""
        return torch.cat(self.patches)


@dataclass(frozen=True)
class _Chunk:
    key: ChunkKey
    mel: Tensor
    end: bool


class Hearing:
    """Encodes clips, each chunk once. Not safe to call from two threads at a time."""

    def __init__(self, model: MiDashengLM, capacity: int) -> None:
        """Keep encodings of up to `capacity` bytes."""
        self._model = model
        self._config = model.config.encoder
        self._device: torch.device = next(model.audio_projector.parameters()).device
        self._encode = ChunkEncoder(model)
        self._kept: Kept[ChunkKey, Tensor] = Kept(capacity, lambda value: value.nbytes)

    def prepare(self) -> None:
        """On a GPU, record what clips of up to 30 s need."""
        self._encode.prepare(3)

    def clear(self) -> None:
        """Forget all encodings."""
        self._kept.clear()

    def finished(self, samples: int) -> int:
        """Chunks of a clip of so many samples that nothing later can change."""
        config = self._config
        chunk = config.chunk_frames * config.hop_length
        # The last frame of a chunk reaches half a window past its middle.
        return max(0, (samples - config.n_fft // 2 + config.hop_length) // chunk)

    def hear(self, clips: Sequence[Clip]) -> list[Heard]:
        """Encode what is new in clips, together; of open ones the finished chunks."""
        cut = [self._chunks(clip) for clip in clips]
        found: dict[ChunkKey, Tensor] = {}
        missing: dict[ChunkKey, _Chunk] = {}
        for chunk in (chunk for chunks in cut for chunk in chunks):
            kept = self._kept.get(chunk.key)
            if kept is not None:
                found[chunk.key] = kept
            else:
                missing[chunk.key] = chunk
        if missing:
            chunks = list(missing.values())
            encoded = self._encode(
                [chunk.mel for chunk in chunks], [chunk.end for chunk in chunks]
            )
            for chunk, patches in zip(chunks, encoded, strict=True):
                found[chunk.key] = patches
                self._kept.put(chunk.key, patches)
        return [
            Heard(
                tuple(chunk.key for chunk in chunks),
                tuple(found[chunk.key] for chunk in chunks),
            )
            for chunks in cut
        ]

    def _chunks(self, clip: Clip) -> list[_Chunk]:
        """A clip's chunks: keys and mels."""
        count = self.finished(clip.waveform.size)
        if clip.open and not count:
            return []
        mel = self._model.front_end(torch.from_numpy(clip.padded).to(self._device))
        mels = self._model.chunks(mel)
        if clip.open:
            mels = mels[:count]
        # One transfer for all: reading a value waits for the GPU.
        loudest, *quietest = torch.stack(
            [mel.amax(), *(chunk.amin() for chunk in mels)]
        ).tolist()
        floor = loudest - RANGE_DB
        rest = mel.shape[-1] - sum(chunk.shape[-1] for chunk in mels)
        chunks = []
        for place, (chunk, low) in enumerate(zip(mels, quietest, strict=True)):
            # Its last patch may reach past the clip, and is then heard by no other.
            end = place == len(mels) - 1 and not rest
            reached = floor if low <= floor + 1e-3 else None
            key = self._key(clip.padded, place, chunk.shape[-1], end, reached)
            chunks.append(_Chunk(key, chunk, end))
        return chunks

    def _key(
        self,
        waveform: Waveform,
        place: int,
        frames: int,
        end: bool,
        floor: float | None,
    ) -> ChunkKey:
        """What decides a chunk: its samples and borders, and the floor if it is reached.

        A clip's first and last samples are mirrored at its borders: that is in the
        samples that a chunk's windows have or lack.
        """
        config = self._config
        around = config.n_fft // 2
        start = place * config.chunk_frames * config.hop_length - around
        stop = start + (frames - 1) * config.hop_length + 2 * around
        decided = start < 0, frames, end, None if floor is None else round(floor, 3)
        digest = blake2b(repr(decided).encode(), digest_size=20)
        digest.update(waveform[max(0, start) : stop].tobytes())
        return digest.digest()
