"""A circuit breaker: who failed several times is left alone for a while, then tried once.

pybreaker holds one lock from the beginning to the end of every call, so that calls
wait for each other, and counts time by a clock that a time server may set.
"""

from __future__ import annotations

from collections.abc import Callable
import threading
import time


class CircuitOpenError(Exception):
    """The call must not be made; `seconds` until one may try again."""

    def __init__(self, seconds: float) -> None:
        """Say how long."""
        super().__init__(f"open for another {seconds:.0f} s")
        self.seconds = seconds


class Circuit:
    """Counts failures in a row; safe from any thread, and holds no lock during a call.

    After `failures` of them no call passes for `rest_s` seconds. Then one does: if
    it fails, the rest begins again, else all is forgotten.
    """

    def __init__(
        self,
        failures: int,
        rest_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Closed; `clock` gives seconds that never jump."""
        self._limit = failures
        self._rest_s = rest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._rests_until = 0.0
        self._trying = False

    def enter(self) -> bool:
        """Begin a call, and tell whether it is the one that tries an open circuit.

        Raises CircuitOpenError. Every other outcome asks for one `leave`.
        """
        with self._lock:
            if self._failures < self._limit:
                return False
            left = self._rests_until - self._clock()
            if left > 0 or self._trying:
                raise CircuitOpenError(max(left, 0.0))
            self._trying = True
            return True

    def leave(self, trial: bool, *, failed: bool) -> None:
        """End a call; `trial` is what `enter` gave."""
        with self._lock:
            if trial:
                self._trying = False
            if not failed:
                self._failures = 0
                return
            self._failures += 1
            if self._failures >= self._limit:
                self._rests_until = self._clock() + self._rest_s
