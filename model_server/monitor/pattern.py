"""ISO 8201's three beeps and the four of CO alarms, found in the pulses of one channel.

T3 is three beeps of 0.5 s, 0.5 s apart, then 1.5 s of silence; T4 is four of
0.1 s, 0.1 s apart, then 5 s, after four minutes up to 60 s. Each may be off by
a tenth. From the beginning of one beep to the next the timing survives a
reverberant room, so those intervals are held to the standard and the beeps'
lengths only roughly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import itertools

from model_server.audio import SAMPLE_RATE
from model_server.monitor.tones import Pulse

_SAME_LEVEL_DB = 6.0
_SAME_HZ = 14.0
_STRAY_DB = 10.0


@dataclass(frozen=True)
class Pattern:
    """A rhythm, in seconds. Bounds hold the tolerance, clock drift and measurement.

    `step` is from beep to beep within a group, `leap` from the last beep of a
    group to the first of the next, `steady` by how much the steps of one sounder
    may differ and `even` by how much its beeps, `stray` how long other tones of its level may sound in between,
    `join` how short a dip within a beep is a room's doing, `rise_db` the step of
    level that begins or ends a beep.
    After `slow_after` seconds the groups may come so rarely that the event is
    held for `slow_hold` instead of `hold`.
    """

    label: str
    beeps: int
    length: tuple[float, float]
    step: tuple[float, float]
    leap: tuple[float, float]
    steady: float
    even: float
    stray: float
    join: float
    rise_db: float
    hold: float
    slow_after: float
    slow_hold: float


T3 = Pattern(
    label="smoke",
    beeps=3,
    length=(0.25, 0.8),
    step=(0.86, 1.15),
    leap=(1.72, 2.3),
    steady=0.09,
    even=0.25,
    stray=0.12,
    join=0.12,
    rise_db=12.0,
    hold=13.0,
    slow_after=float("inf"),
    slow_hold=13.0,
)
T4 = Pattern(
    label="co",
    beeps=4,
    length=(0.04, 0.19),
    step=(0.15, 0.25),
    leap=(4.5, 5.75),
    steady=0.045,
    even=0.07,
    stray=0.06,
    join=0.03,
    rise_db=5.0,
    hold=13.0,
    slow_after=200.0,
    slow_hold=75.0,
)


@dataclass(frozen=True)
class Match:
    """Two groups of one sounder: where the first beep began, and how well they fit, 0 to 1."""

    onset: int
    score: float


def find_match(pattern: Pattern, pulses: Sequence[Pulse]) -> Match | None:
    """Two groups' worth of beeps that end with the newest pulse of a channel.

    One beep in between may be missing; the first and the last may not.
    """
    return _find(pattern, pulses, 2 * pattern.beeps, range(pattern.beeps))


def find_group(pattern: Pattern, pulses: Sequence[Pulse]) -> bool:
    """Whether the newest pulse ends one whole group (a beep in between may be missing)."""
    last = pattern.beeps - 1
    return _find(pattern, pulses, pattern.beeps, (last,)) is not None


def _find(
    pattern: Pattern, pulses: Sequence[Pulse], beeps: int, places: Iterable[int]
) -> Match | None:
    """So many beeps backwards from the newest, which is one of `places` in its group."""
    if pulses[-1].off - pulses[-1].on > pattern.length[1] * SAMPLE_RATE:
        return None
    whole = _joined(pattern, pulses)
    if not _alike(pattern, whole[-1], whole[-1]):
        return None
    fitting = [pulse for pulse in whole if _alike(pattern, pulse, whole[-1])]
    if _crowded(pattern, fitting, beeps):
        return None
    for place in places:
        found = _chain(pattern, fitting, whole[-1:], place, beeps - 1)
        if found is None:
            continue
        first = (place - beeps + 1) % pattern.beeps
        if _stray(pattern, whole, found, quiet_before=first == 0) > pattern.stray:
            continue
        missing = beeps - len(found)
        spread = _spread(pattern, found) / pattern.steady
        return Match(found[-1].on, round(1 - 0.2 * missing - 0.2 * spread, 3))
    return None


def _crowded(pattern: Pattern, fitting: Sequence[Pulse], beeps: int) -> bool:
    """Whether more beeps are there than even strays allow: what beeps on is not searched."""
    groups = -(-beeps // pattern.beeps)
    shortest = (beeps - groups) * pattern.step[0] + (groups - 1) * pattern.leap[0]
    begin = fitting[-1].on - shortest * SAMPLE_RATE
    allowed = beeps + int(pattern.stray / pattern.length[0])
    return sum(pulse.on >= begin for pulse in fitting) > allowed


def _chain(
    pattern: Pattern,
    fitting: Sequence[Pulse],
    found: list[Pulse],
    place: int,
    left: int,
    *,
    spare: bool = True,
) -> list[Pulse] | None:
    """The beeps found, newest first, with `left` more before them; None if they are not there.

    `place` is that of the last one found. With `spare` one may still be missing,
    but not the first.
    """
    if left == 0:
        lengths = [beep.off - beep.on for beep in found]
        even = max(lengths) - min(lengths) <= pattern.even * SAMPLE_RATE
        return found if even and _spread(pattern, found) <= pattern.steady else None
    bounds = pattern.leap if place == 0 else pattern.step
    before = (place - 1) % pattern.beeps
    for earlier in _between(fitting, found[-1].on, *bounds):
        longer = _chain(
            pattern, fitting, [*found, earlier], before, left - 1, spare=spare
        )
        if longer is not None:
            return longer
    if not spare or left < 2:
        return None
    further = pattern.leap if before == 0 else pattern.step
    low, high = bounds[0] + further[0], bounds[1] + further[1]
    # Beside a pause whose tolerance exceeds a step nobody can tell that one is missing.
    if pattern.leap in (bounds, further) and low <= pattern.leap[1]:
        return None
    for earlier in _between(fitting, found[-1].on, low, high):
        longer = _chain(
            pattern,
            fitting,
            [*found, earlier],
            (before - 1) % pattern.beeps,
            left - 2,
            spare=False,
        )
        if longer is not None:
            return longer
    return None


def _spread(pattern: Pattern, found: Sequence[Pulse]) -> float:
    """By how many seconds the steps from beep to beep within the groups differ."""
    apart = [
        (later.on - earlier.on) / SAMPLE_RATE
        for later, earlier in itertools.pairwise(found)
    ]
    steps = [step for step in apart if step <= pattern.step[1]]
    return max(steps) - min(steps) if steps else 0.0


def _joined(pattern: Pattern, pulses: Sequence[Pulse]) -> list[Pulse]:
    """The pulses, those that a short dip cut in two made whole."""
    join = pattern.join * SAMPLE_RATE
    whole: list[Pulse] = []
    first = last = pulses[0]
    level = first.level
    for pulse in itertools.islice(pulses, 1, None):
        if (
            pulse.on - last.off <= join
            and abs(pulse.level - level) <= _SAME_LEVEL_DB
            and abs(pulse.frequency - first.frequency) <= _SAME_HZ
        ):
            level = max(level, pulse.level)
        else:
            whole.append(_one(first, last, level))
            first = pulse
            level = pulse.level
        last = pulse
    whole.append(_one(first, last, level))
    return whole


def _one(first: Pulse, last: Pulse, level: float) -> Pulse:
    if first is last:
        return first
    return Pulse(first.on, last.off, first.frequency, level)


def _alike(pattern: Pattern, pulse: Pulse, newest: Pulse) -> bool:
    seconds = (pulse.off - pulse.on) / SAMPLE_RATE
    return (
        pattern.length[0] <= seconds <= pattern.length[1]
        and abs(pulse.level - newest.level) <= _SAME_LEVEL_DB
        and abs(pulse.frequency - newest.frequency) <= _SAME_HZ
    )


def _between(fitting: Sequence[Pulse], on: int, low: float, high: float) -> list[Pulse]:
    """The pulses that began `low` to `high` seconds before, the latest first."""
    return [
        pulse
        for pulse in reversed(fitting)
        if on - high * SAMPLE_RATE <= pulse.on <= on - low * SAMPLE_RATE
    ]


def _stray(
    pattern: Pattern,
    pulses: Sequence[Pulse],
    found: Sequence[Pulse],
    *,
    quiet_before: bool,
) -> float:
    """Seconds of other tones, as loud, among the beeps and in the pause before the first."""
    begin = found[-1].on
    if quiet_before:
        begin -= round(0.7 * pattern.leap[0] * SAMPLE_RATE)
    loud = found[0].level - _STRAY_DB
    used = {id(pulse) for pulse in found}
    return (
        sum(
            min(pulse.off, found[0].off) - max(pulse.on, begin)
            for pulse in pulses
            if id(pulse) not in used and pulse.off > begin and pulse.level >= loud
        )
        / SAMPLE_RATE
    )
