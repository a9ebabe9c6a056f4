"""The health of each microphone, from one of its streams to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import Counter

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.health import PROBLEMS, HealthMeter, Problem
from model_server.audio.supply import Supply

REMEMBER_S = 300.0
"""A stream that begins so soon after the last one of its microphone continues it."""
MAX_REMEMBERED = 64


@dataclass
class Checkup:
    """What is known of one microphone's health."""

    meter: HealthMeter = field(default_factory=HealthMeter)
    supply: Supply = field(default_factory=Supply)
    problems: tuple[Problem, ...] = ()

    def push(self, pcm: Pcm, now: float) -> set[Problem]:
        """Take samples, (samples,), that came at monotonic second `now`.

        Returns the problems that they begin.
        """
        self.meter.push(pcm)
        self.supply.push(pcm.size, now)
        found = set(self.meter.problems)
        if self.supply.starved:
            found.add("starved")
        begun = found.difference(self.problems)
        self.problems = tuple(problem for problem in PROBLEMS if problem in found)
        return begun


class Checkups:
    """Those of microphones without a stream just now.

    A source that falls behind has its stream opened anew again and again: each
    alone would be too short to find out.
    """

    def __init__(self) -> None:
        """Know no microphone."""
        self._kept: dict[str, tuple[float, Checkup]] = {}

    def take(self, microphone: str, now: float) -> Checkup:
        """The checkup of a stream that begins; a second one at a time is a new one."""
        kept = self._kept.pop(microphone, None)
        if kept is None or now - kept[0] > REMEMBER_S:
            return Checkup()
        return kept[1]

    def keep(self, microphone: str, checkup: Checkup, now: float) -> None:
        """The stream is over."""
        checkup.meter.cut()
        checkup.supply.pause()
        self._kept.pop(microphone, None)
        self._kept[microphone] = (now, checkup)
        while len(self._kept) > MAX_REMEMBERED:
            del self._kept[next(iter(self._kept))]


class Rounds:
    """Looks after the microphone of one stream."""

    def __init__(
        self, checkups: Checkups, counter: Counter, microphone: str, now: float
    ) -> None:
        """Begin at monotonic second `now`; `counter` counts by `problem`."""
        self._checkups = checkups
        self._counter = counter
        self._microphone = microphone
        self._checkup = checkups.take(microphone, now)
        self._heard = 0
        self._told: tuple[Problem, ...] = ()

    def push(
        self,
        pcm: Pcm,
        now: float,
        tell: Callable[[int, tuple[Problem, ...]], bool],
    ) -> None:
        """Take samples, (samples,), and tell what is wrong whenever that changes.

        `tell` gets the number of samples heard so far; if it returns False, it is
        told again with the next samples. It goes second by second, so that no cut
        of the audio changes what is told.
        """
        self._tell(tell)
        while pcm.size:
            piece = pcm[: SAMPLE_RATE - self._heard % SAMPLE_RATE]
            pcm = pcm[piece.size :]
            self._heard += piece.size
            for problem in self._checkup.push(piece, now):
                self._counter.labels(problem).inc()
            self._tell(tell)

    def _tell(self, tell: Callable[[int, tuple[Problem, ...]], bool]) -> None:
        problems = self._checkup.problems
        if problems != self._told and tell(self._heard, problems):
            self._told = problems

    def end(self, now: float) -> None:
        """The stream is over."""
        self._checkups.keep(self._microphone, self._checkup, now)
