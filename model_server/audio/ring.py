"""The last seconds of a stream in memory, addressed by absolute sample index."""

from __future__ import annotations

import numpy as np

from model_server.audio import Pcm


class Ring:
    """Keeps the newest `capacity` samples; older ones are overwritten.

    One writer, any number of readers, each with an index of its own: what a
    reader was too slow for is gone, and `oldest` tells it how much that was.
    """

    def __init__(self, capacity: int) -> None:
        """Reserve room for `capacity` samples."""
        self._samples = np.zeros(capacity, np.int16)
        self.end = 0

    @property
    def capacity(self) -> int:
        """Samples that fit."""
        return self._samples.size

    @property
    def oldest(self) -> int:
        """Index of the first sample still here."""
        return max(0, self.end - self.capacity)

    def write(self, pcm: Pcm) -> None:
        """Append samples."""
        start = self.end
        self.end += pcm.size
        kept = pcm[-self.capacity :]
        first = (start + pcm.size - kept.size) % self.capacity
        head = min(kept.size, self.capacity - first)
        self._samples[first : first + head] = kept[:head]
        self._samples[: kept.size - head] = kept[head:]

    def read(self, start: int, stop: int) -> Pcm:
        """Copy samples `start` to `stop`. Raises IndexError where they are not here."""
        if not self.oldest <= start <= stop <= self.end:
            raise IndexError(
                f"samples {start} to {stop} of {self.oldest} to {self.end}"
            )
        indices = np.arange(start, stop) % self.capacity
        return self._samples[indices]
