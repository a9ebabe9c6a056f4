"""What a client asks for while its audio is still on the way: done when that comes."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from model_server.api.intake import StreamError

MOST = 32
"""Changes of what a stream listens for that may wait for its audio."""

T = TypeVar("T")


class Schedule(Generic[T]):
    """Things to do at samples of a stream, in order."""

    def __init__(self) -> None:
        """Nothing is to be done."""
        self._waiting: deque[tuple[int, T]] = deque()

    def add(self, sample: int, what: T, *, instead: bool = False) -> None:
        """Do this once the stream has come to a sample, or soon if it is there already.

        `instead`: of the last that was to be done there. Raises StreamError if too much
        waits.
        """
        if instead and self._waiting and self._waiting[-1][0] == sample:
            self._waiting.pop()
        if len(self._waiting) >= MOST:
            raise StreamError(
                "bad_message",
                "`listen` or `attend` came too often: send them when something changes.",
            )
        self._waiting.append((sample, what))

    def due(self, position: int) -> list[T]:
        """Take out what is to be done by now."""
        due = []
        while self._waiting and self._waiting[0][0] <= position:
            due.append(self._waiting.popleft()[1])
        return due

    def before(self, position: int, samples: int) -> int:
        """So many of the next samples come before anything is to be done."""
        if not self._waiting:
            return samples
        return min(samples, self._waiting[0][0] - position)
