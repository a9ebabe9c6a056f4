"""Whether a stream brings as much audio as time passes."""

from __future__ import annotations

from collections import deque

from model_server.audio import SAMPLE_RATE

WINDOW_S = 30.0
SHORT_S, ENOUGH_S = 3.0, 1.5
"""Of the window: a tenth is missing in every word; a slow crystal costs a hundredth."""
LASTS_S = 15.0
"""A network that stalls for longer than a few segments of a camera's stream and then
brings all it held back has lost nothing."""
_STEP_S = 0.5


class Supply:
    """Compares samples with the clock; a backlog may come as fast as it likes."""

    def __init__(self) -> None:
        """Begin at the first samples."""
        self.starved = False
        self._arrived: deque[tuple[float, int]] = deque()
        """Samples by when they came, in seconds of open stream."""
        self._received = 0
        self._elapsed = 0.0
        self._last: float | None = None
        self._short_since: float | None = None

    def pause(self) -> None:
        """No stream is open; that time does not count."""
        self._last = None

    def push(self, samples: int, now: float) -> None:
        """Take so many samples at monotonic second `now`."""
        if self._last is not None:
            self._elapsed += now - self._last
        self._last = now
        if self._arrived and self._elapsed - self._arrived[-1][0] < _STEP_S:
            time, before = self._arrived.pop()
            self._arrived.append((time, before + samples))
        else:
            self._arrived.append((self._elapsed, samples))
        self._received += samples
        while self._arrived[0][0] < self._elapsed - WINDOW_S:
            self._received -= self._arrived.popleft()[1]
        self._judge(min(WINDOW_S, self._elapsed) - self._received / SAMPLE_RATE)

    def _judge(self, missing_s: float) -> None:
        if missing_s < SHORT_S:
            self._short_since = None
            self.starved = self.starved and missing_s >= ENOUGH_S
            return
        if self._short_since is None:
            self._short_since = self._elapsed
        if self._elapsed - self._short_since >= LASTS_S:
            self.starved = True
