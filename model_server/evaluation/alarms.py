"""The alarm rhythms at the limits of their standards, and whether the recogniser knows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
import itertools

import numpy as np

from model_server.audio import SAMPLE_RATE
from model_server.evaluation import synthesis
from model_server.evaluation.synthesis import Audio
from model_server.monitor.rhythm import RhythmChange, RhythmRecognizer

FREQUENCIES = (520.0, 2900.0, 3100.0, 3500.0)
ROOMS = (0.0, 0.4, 0.8)
SNRS = (20.0, 10.0, 5.0)
OFFSETS = (0.25, 0.5, 1.0, 1.5)
"""Seconds by which the second of two alarms comes after the first."""
TONES = ((3100.0, 3160.0), (2900.0, 3400.0), (520.0, 560.0))
"""Of two alarms in one house."""

_LEAD_S = 1.0
# How long after the last beep of a group the report may come: what a room and the
# analysis add.
_LATE_S = 0.4
_BEEPS = {"smoke": 3, "co": 4}
_NOMINAL = {"smoke": (0.5, 0.5, 1.5), "co": (0.1, 0.1, 5.0)}


@dataclass(frozen=True)
class Sounder:
    """One alarm: factors on the standard's beep, gap and pause, its clock, a silent beep."""

    label: str
    frequency: float
    on: float = 1.0
    off: float = 1.0
    pause: float = 1.0
    drift: float = 0.0
    missing: int | None = None
    start: float = 0.0

    def group_end(self, group: int) -> float:
        """Seconds from 0 to the end of the last beep of a group, counted from 0."""
        on, off, pause = self._seconds()
        beeps = _BEEPS[self.label]
        return (
            self.start
            + (group + 1) * (beeps * on + (beeps - 1) * off)
            + group * (pause)
        )

    def second_complete(self) -> float:
        """Seconds from 0 to the end of the second group that lacks no beep."""
        broken = None if self.missing is None else self.missing // _BEEPS[self.label]
        return self.group_end(1 if broken is None or broken > 1 else 2)

    def sound(self, seconds: float) -> Audio:
        """What it gives."""
        make = synthesis.t3 if self.label == "smoke" else synthesis.t4
        on, off, pause = _NOMINAL[self.label]
        return make(
            seconds,
            self.frequency,
            on=on * self.on,
            off=off * self.off,
            pause=pause * self.pause,
            drift=self.drift,
            missing=() if self.missing is None else (self.missing,),
            start=_LEAD_S + self.start,
        )

    def _seconds(self) -> tuple[float, float, float]:
        slow = 1 + self.drift
        factors = (self.on * slow, self.off * slow, self.pause * slow)
        on, off, pause = (
            one * by for one, by in zip(_NOMINAL[self.label], factors, strict=True)
        )
        return on, off, pause


@dataclass(frozen=True)
class Condition:
    """One cell of the grid: what sounds, where, and how far above the noise."""

    aspect: str
    sounders: tuple[Sounder, ...]
    rt60: float
    snr_db: float

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that must be reported, once each."""
        return tuple(sorted({one.label for one in self.sounders}))

    @property
    def due(self) -> dict[str, float]:
        """By label, seconds from the first beep within which it must be reported."""
        return {
            label: min(
                one.second_complete() for one in self.sounders if one.label == label
            )
            for label in self.labels
        }


@dataclass(frozen=True)
class Outcome:
    """What a condition gave: labels and seconds from the first beep, in order."""

    condition: Condition
    heard: tuple[tuple[str, float], ...]

    @property
    def found(self) -> bool:
        """Whether every alarm that sounded was reported, once, and nothing else."""
        return tuple(sorted(label for label, _ in self.heard)) == self.condition.labels

    @property
    def in_time(self) -> bool:
        """Whether that was at the second complete group at the latest."""
        due = self.condition.due
        return self.found and all(
            at <= due[label] + _LATE_S for label, at in self.heard
        )

    @property
    def wrong(self) -> bool:
        """Whether an alarm was reported that did not sound."""
        return any(label not in self.condition.labels for label, _ in self.heard)


def grid(
    frequencies: Sequence[float] = FREQUENCIES,
    rooms: Sequence[float] = ROOMS,
    snrs: Sequence[float] = SNRS,
) -> list[Condition]:
    """Every corner of the tolerances, clocks, missed beeps and pairs, in every room and noise."""
    alarms = [
        (aspect, (replace(one, frequency=frequency),))
        for frequency in frequencies
        for aspect, one in itertools.chain(corners(), drifts(), missed())
    ]
    return [
        Condition(aspect, sounders, rt60, snr_db)
        for rt60, snr_db in itertools.product(rooms, snrs)
        for aspect, sounders in [*alarms, *pairs()]
    ]


def corners() -> Iterator[tuple[str, Sounder]]:
    """Beep, gap and pause each a tenth shorter, right, or a tenth longer."""
    for label in _BEEPS:
        for on, off, pause in itertools.product((0.9, 1.0, 1.1), repeat=3):
            yield "tolerance", Sounder(label, 0.0, on, off, pause)


def drifts() -> Iterator[tuple[str, Sounder]]:
    """A clock 2 % slow or fast on top of the outermost corners."""
    for label in _BEEPS:
        for on, off, pause in itertools.product((0.9, 1.1), repeat=3):
            for drift in (-0.02, 0.02):
                yield "clock", Sounder(label, 0.0, on, off, pause, drift)


def missed() -> Iterator[tuple[str, Sounder]]:
    """One beep of the first two groups not heard, at each place but the first and the last."""
    for label, beeps in _BEEPS.items():
        for missing in range(1, 2 * beeps - 1):
            yield "missed beep", Sounder(label, 0.0, missing=missing)


def pairs() -> Iterator[tuple[str, tuple[Sounder, ...]]]:
    """Two alarms out of phase, of the same kind or not, of slightly or clearly different tone."""
    kinds = (("smoke", "smoke"), ("co", "co"), ("smoke", "co"))
    for (first, second), (low, high), offset in itertools.product(
        kinds, TONES, OFFSETS
    ):
        yield (
            f"two, {first} and {second}",
            (Sounder(first, low), Sounder(second, high, start=offset)),
        )


def alarm(condition: Condition, seed: int) -> Audio:
    """What a microphone hears; the first beep begins after one second."""
    seconds = _LEAD_S + max(condition.due.values()) + _LATE_S + 0.6
    dry = np.sum([one.sound(seconds) for one in condition.sounders], axis=0)
    dry = (dry / len(condition.sounders)).astype(np.float32)
    wet = synthesis.room(dry, condition.rt60, seed=seed)
    return synthesis.mix(wet, _ground(seed, wet.size), condition.snr_db)


def try_condition(condition: Condition, seed: int) -> Outcome:
    """Run the recogniser on one condition."""
    changes = RhythmRecognizer().push(synthesis.pcm(alarm(condition, seed)))
    return Outcome(
        condition,
        tuple(
            (change.label, round(change.at / SAMPLE_RATE - _LEAD_S, 2))
            for change in changes
            if change.state == "start"
        ),
    )


def starts(audio: Audio) -> list[RhythmChange]:
    """The events that a recording starts."""
    changes = RhythmRecognizer().push(synthesis.pcm(audio))
    return [change for change in changes if change.state == "start"]


def _ground(seed: int, samples: int) -> Audio:
    """A background: household, pink noise or music, by turns, from one of some long stretches."""
    stretch = _stretch(seed % 3, seed // 3 % 8)
    at = (seed * 7919) % (stretch.size - samples)
    return stretch[at : at + samples]


@lru_cache(maxsize=24)
def _stretch(kind: int, seed: int) -> Audio:
    seconds = 60.0
    if kind == 0:
        return synthesis.household(seconds, seed=seed)
    if kind == 1:
        return synthesis.noise(seconds, "pink", seed=seed)
    return synthesis.music(seconds, seed=seed)
