"""What every kind of microphone offers: PCM, until it ends."""

from collections.abc import AsyncGenerator
from typing import Protocol

SAMPLE_RATE = 16_000
BYTES_PER_SECOND = 2 * SAMPLE_RATE


class SourceError(Exception):
    """A source cannot be opened, or broke; says why, without credentials."""


class Source(Protocol):
    """A place PCM comes from."""

    def open(self) -> AsyncGenerator[bytes]:
        """Yield 16-bit little-endian 16 kHz mono PCM, in whole samples.

        Ends when the source does. Raises SourceError if it cannot be opened or
        breaks. Closing the generator frees everything it holds.
        """
