"""How long to wait before the next try."""

import random


class Backoff:
    """Waits that double from try to try, with jitter, up to a cap."""

    def __init__(self, first_s: float = 0.5, cap_s: float = 30.0) -> None:
        """Begin with `first_s`, never wait longer than `cap_s`."""
        self._first = first_s
        self._cap = cap_s
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait now."""
        # The exponent is capped as well: a float overflows after months of tries.
        wait: float = min(self._cap, self._first * 2.0 ** min(self._tries, 16))
        self._tries += 1
        # Many microphones of one server must not come back in the same instant.
        return wait * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin anew after a success."""
        self._tries = 0
