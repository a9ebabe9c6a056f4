"""When a monitor's samples were recorded: it hears no gaps, but its stream had some."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_server.audio import SAMPLE_RATE


@dataclass(frozen=True)
class Gap:
    """From the monitor's sample `at` on, the stream is `lost` samples ahead of it."""

    at: int
    lost: int


def place(gaps: Sequence[Gap], sample: int) -> int:
    """The stream's sample that is this one of the monitor; `gaps` begin with one at 0."""
    index = bisect_right(gaps, sample, key=lambda gap: gap.at) - 1
    return sample + gaps[max(0, index)].lost


@dataclass(frozen=True)
class Timeline:
    """When the stream's first sample was recorded, and what was lost since."""

    origin: datetime
    gaps: tuple[Gap, ...] = (Gap(0, 0),)

    def utc(self, sample: int) -> datetime:
        """UTC time of a sample of the monitor."""
        return self.origin + timedelta(seconds=place(self.gaps, sample) / SAMPLE_RATE)
