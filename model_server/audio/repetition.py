"""Audio that repeats sample by sample, which no microphone in a room ever does."""

from __future__ import annotations

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm

SHORTEST = SAMPLE_RATE // 4
"""A shorter period is one block over and over; a longer one a loop of some seconds."""
LONGEST = 24 * SAMPLE_RATE
"""A loop must come round, and then repeat for a while, within a minute."""
_KEY = 32
_CLIPPED = 32_000


def period(pcm: Pcm) -> int | None:
    """The smallest period of at most `SHORTEST` samples that all of `pcm` has."""
    last = pcm.size - _KEY
    for lag in _lags(pcm, last, max(0, last - SHORTEST)):
        if np.array_equal(pcm[lag:], pcm[:-lag]):
            return lag
    return None


class Loops:
    """Whether each second of a stream is an exact copy of one shortly before it."""

    def __init__(self) -> None:
        """Remember nothing."""
        self.forget()

    def forget(self) -> None:
        """Nothing follows what came before."""
        self._heard = np.zeros(LONGEST + SAMPLE_RATE, np.int16)
        self._filled = 0
        self._lag = 0

    def push(self, second: Pcm) -> None:
        """Take the next second, (16000,)."""
        heard = self._heard
        heard[:-SAMPLE_RATE] = heard[SAMPLE_RATE:]
        heard[-SAMPLE_RATE:] = second
        self._filled = min(heard.size, self._filled + SAMPLE_RATE)

    def repeats(self, *, distinct: bool) -> bool:
        """Whether the last second is a copy of an earlier one.

        One that is not `distinct` looks like many others: it counts only within a
        loop that was found before.
        """
        heard = self._heard
        begin = heard.size - SAMPLE_RATE
        second = heard[begin:]

        def copied(lag: int) -> bool:
            return np.array_equal(heard[begin - lag : heard.size - lag], second)

        if self._lag and copied(self._lag):
            return True
        self._lag = 0
        if distinct:
            # The highest peak is the rarest value, so that few places look like it:
            # unless all peaks were clipped to one.
            height = np.abs(second[:-_KEY].astype(np.int32))
            peak = int(np.argmax(np.where(height < _CLIPPED, height, 0)))
            first = heard.size - self._filled
            for lag in _lags(heard, begin + peak, first):
                if lag >= SHORTEST and begin - lag >= first and copied(lag):
                    self._lag = lag
                    return True
        return False


def _lags(pcm: Pcm, key: int, first: int) -> list[int]:
    """How far before `key` the samples that begin there occur too, the nearest first."""
    places = first + np.flatnonzero(pcm[first:key] == pcm[key])
    for step in range(1, _KEY):
        if not places.size:
            break
        places = places[pcm[places + step] == pcm[key + step]]
    return [key - int(place) for place in places[::-1]]
