"""Whether a microphone can hear at all: what only a broken one sends.

Every second of audio is summed up, and a rule per problem counts seconds. All
of them notice within 45 s, so that a person sees a problem within a minute.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.level import FULL_SCALE, dbfs
from model_server.audio.repetition import Loops, period

Problem = Literal["silent", "too_quiet", "clipped", "stuck", "looped", "dc", "starved"]
PROBLEMS: tuple[Problem, ...] = (
    "silent",
    "too_quiet",
    "clipped",
    "stuck",
    "looped",
    "dc",
    "starved",
)

DEAD_DBFS = -85.0
"""RMS of nothing but a 16-bit converter's noise: a room's rumble alone is louder."""
FLAT_DB = 3.0
"""Noise that nobody hears through keeps its level; anything that happens moves it."""
LEAST_DBFS = -92.0
"""Below, a level is made of single steps of the last bit and says nothing."""

PAUSE_BLOCKS = 4
"""A second of silence, in quarters; a word's stop is shorter."""
PAUSES = 3
PAUSES_WITHIN_S = 600
SOUND_DBFS = -65.0
"""A camera's noise gate, and a low-noise microphone, are dead silent between sounds.
Three such pauses within ten minutes, with sound between them, are taken for that."""
GATED_S = 12 * 3600
"""Longer than a night: a microphone of that kind may be silent for so long."""

QUIET_S = 40
QUIET_FLOOR_DBFS = -85.0
QUIET_LOUDEST_DBFS = -70.0
"""Speech at arm's length is at -30; at -75 the monitor takes a window for silence."""
LIVELY_DB, LIVELY_SHARE = 6.0, 0.15
"""So much of the time must rise above the floor: then there is life in the room, and
only the gain is wrong. A bedroom at night is quiet but not lively."""

CLIP = 0.99 * FULL_SCALE
CLIP_RUN = 3
"""Consecutive samples: one or two at full scale are a peak that just fits."""
CLIP_SHARE = 0.01

REPEAT_DBFS = -75.0
"""Quieter audio has so few values that it may repeat by chance."""

OFFSET = 0.01 * FULL_SCALE
"""Common in cheap microphones, which hear all the same: a problem if there is no more."""
LARGE_OFFSET, OFFSET_RATIO = 0.1 * FULL_SCALE, 100.0
"""So large, and so much larger than the sound on it, is a broken capsule or cable."""


@dataclass(frozen=True)
class _Rule:
    """On when `on` of the last `window` seconds show it, off when no more than `off` do."""

    window: int
    on: int
    off: int


_RULES: dict[Problem, _Rule] = {
    # Three seconds with sound in them show that it hears again.
    "silent": _Rule(30, 30, 27),
    "dc": _Rule(30, 30, 27),
    # A slammed door or a cry close by clips for some seconds, a wrong gain for most.
    "clipped": _Rule(30, 15, 3),
    # A test tone or a jingle is over sooner.
    "stuck": _Rule(16, 15, 3),
    "looped": _Rule(16, 15, 3),
}

_BLOCKS = 4
_MEMORY_S = max(QUIET_S, *(rule.window for rule in _RULES.values()))


@dataclass(frozen=True)
class _Second:
    """One second of audio: RMS without offset of its quarters in dBFS, and its signs."""

    blocks: tuple[float, ...]
    dead: bool
    signs: frozenset[Problem]


@dataclass
class _Pauses:
    """Finds out whether a microphone falls dead silent between sounds."""

    silent_blocks: int = 0
    sounded: bool = False
    ends: deque[int] = field(default_factory=lambda: deque(maxlen=PAUSES))
    usual: bool = False

    def take(self, second: _Second, now: int) -> None:
        """Take second number `now`."""
        for level in second.blocks:
            if level < DEAD_DBFS:
                self.silent_blocks += 1
                continue
            if level < SOUND_DBFS:
                continue
            if self.sounded and self.silent_blocks >= PAUSE_BLOCKS:
                self.ends.append(now)
            self.sounded, self.silent_blocks = True, 0
            if len(self.ends) == PAUSES and now - self.ends[0] <= PAUSES_WITHIN_S:
                self.usual = True


class HealthMeter:
    """Finds the problems of one microphone, however its samples are cut into pieces."""

    def __init__(self) -> None:
        """Begin with a healthy one."""
        self._pending = np.zeros(0, np.int16)
        self._seconds: deque[_Second] = deque(maxlen=_MEMORY_S)
        self._now = 0
        self._dead_s = 0
        self._pauses = _Pauses()
        self._loops = Loops()
        self._problems: set[Problem] = set()

    @property
    def problems(self) -> frozenset[Problem]:
        """What is wrong now."""
        return frozenset(self._problems)

    def push(self, pcm: Pcm) -> None:
        """Take the next samples, (samples,)."""
        self._pending = np.concatenate([self._pending, pcm])
        whole = self._pending.size - self._pending.size % SAMPLE_RATE
        for start in range(0, whole, SAMPLE_RATE):
            self._second(self._pending[start : start + SAMPLE_RATE])
        self._pending = self._pending[whole:]

    def cut(self) -> None:
        """The stream broke off: what follows is not its continuation."""
        self._pending = self._pending[:0]
        self._loops.forget()

    def _second(self, pcm: Pcm) -> None:
        self._loops.push(pcm)
        second = _measure(pcm, self._loops)
        self._now += 1
        self._seconds.append(second)
        self._pauses.take(second, self._now)
        self._dead_s = self._dead_s + 1 if second.dead else 0
        for problem, rule in _RULES.items():
            recent = list(self._seconds)[-rule.window :]
            count = sum(problem in each.signs for each in recent)
            if count >= rule.on and self._believed(problem, recent):
                self._problems.add(problem)
            elif count <= rule.off:
                self._problems.discard(problem)
        self._judge_quiet()

    def _believed(self, problem: Problem, recent: list[_Second]) -> bool:
        """Whether a rule that is met means what it says."""
        if problem == "silent" and self._pauses.usual and self._dead_s < GATED_S:
            return False
        return problem not in {"silent", "dc"} or _flat(recent)

    def _judge_quiet(self) -> None:
        """Life in the room, and all of it next to nothing."""
        recent = list(self._seconds)[-QUIET_S:]
        blocks = np.array([each.blocks for each in recent]).ravel()
        blocks = np.maximum(blocks, LEAST_DBFS)
        floor = float(np.percentile(blocks, 10))
        if blocks.max() >= QUIET_LOUDEST_DBFS:
            self._problems.discard("too_quiet")
        elif (
            len(recent) == QUIET_S
            and floor < QUIET_FLOOR_DBFS
            and np.mean(blocks >= floor + LIVELY_DB) >= LIVELY_SHARE
        ):
            self._problems.add("too_quiet")


def _measure(pcm: Pcm, loops: Loops) -> _Second:
    """Sum a second up, (16000,), that `loops` has taken."""
    wave = pcm.astype(np.float32)
    offset = float(wave.mean())
    wave -= offset
    powers = np.mean(wave.reshape(_BLOCKS, -1) ** 2, axis=1)
    rms = float(np.sqrt(powers.mean()))
    level = dbfs(rms)
    dead = level < DEAD_DBFS
    constant = bool(pcm.min() == pcm.max())
    signs: set[Problem] = set()
    if constant and abs(offset) >= OFFSET:
        signs.add("stuck")
    elif dead:
        signs.add("silent" if abs(offset) < OFFSET else "dc")
    elif abs(offset) >= max(LARGE_OFFSET, OFFSET_RATIO * rms):
        signs.add("dc")
    distinct = level >= REPEAT_DBFS
    if distinct and period(pcm) is not None:
        signs.add("stuck")
    elif loops.repeats(distinct=distinct):
        signs.add("looped")
    if not constant and _clipped_share(pcm) >= CLIP_SHARE:
        signs.add("clipped")
    blocks = tuple(dbfs(float(np.sqrt(power))) for power in powers)
    return _Second(blocks, dead, frozenset(signs))


def _flat(seconds: list[_Second]) -> bool:
    """Whether nothing happens in the noise."""
    blocks = [max(level, LEAST_DBFS) for each in seconds for level in each.blocks]
    return max(blocks) - min(blocks) < FLAT_DB


def _clipped_share(pcm: Pcm) -> float:
    """Share of samples in runs at full scale."""
    full = np.abs(pcm.astype(np.int32)) >= CLIP
    if not full.any():
        return 0.0
    inside = np.convolve(full, np.ones(CLIP_RUN, np.int32), "valid") == CLIP_RUN
    return float(np.count_nonzero(inside)) / pcm.size
