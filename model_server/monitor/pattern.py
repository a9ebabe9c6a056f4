"""The temporal patterns of ISO 8201: T3 of smoke alarms and T4 of carbon monoxide alarms.

T3 is three beeps of 0.5 s, 0.5 s apart, then 1.5 s of silence; T4 is four of
0.1 s, 0.1 s apart, then 5 s, after four minutes up to 60 s. Each duration may be off
by a tenth, and the clock by 2 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_server.monitor.tones import HOP_S


@dataclass(frozen=True)
class Pattern:
    """A rhythm of equal beeps in groups, in seconds; bounds hold tolerance, clock and measurement.

    Levels are looked at in rows of `every` frames. `step` is from beep to beep
    within a group, `rest` what the time from group to group has beyond that for
    each beep, `shortest` the least of a beep, `contrast` the dB that its level falls,
    `sounding` the share of a step that a beep at least spans, and at most fills,
    `twice` how unlike itself it is half a step later, which finer rows tell better,
    `quiet` the silence before a group that tells where it begins and `blip` what
    may sound in it, `before` the silence that the first of two groups must have,
    `decay` how long a room may go on after a group, and `stray` how long anything
    as loud may sound in either silence.
    After `slow_after` the groups may come so rarely that the event is held for
    `slow_hold` instead of `hold`.
    """

    label: str
    every: int
    beeps: int
    step: tuple[float, float]
    rest: tuple[float, float]
    shortest: float
    contrast: float
    sounding: tuple[float, float]
    twice: float
    quiet: float
    blip: float
    before: float
    decay: float
    stray: float
    hold: float
    slow_after: float = float("inf")
    slow_hold: float = 0.0

    @property
    def row_s(self) -> float:
        """Seconds from row to row."""
        return self.every * HOP_S


T3 = Pattern(
    label="smoke",
    every=4,
    beeps=3,
    step=(0.86, 1.14),
    rest=(0.72, 1.28),
    shortest=0.28,
    contrast=12.0,
    sounding=(0.3, 0.78),
    twice=0.056,
    quiet=0.88,
    blip=0.05,
    before=0.9,
    decay=0.28,
    stray=0.12,
    hold=13.0,
)
T4 = Pattern(
    label="co",
    every=1,
    beeps=4,
    step=(0.17, 0.23),
    rest=(4.26, 5.56),
    shortest=0.04,
    contrast=6.0,
    sounding=(0.2, 1.0),
    twice=0.04,
    quiet=0.8,
    blip=0.05,
    before=3.5,
    decay=0.25,
    stray=0.12,
    hold=13.0,
    slow_after=200.0,
    slow_hold=75.0,
)
