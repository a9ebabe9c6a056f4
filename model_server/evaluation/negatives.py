"""Hours of a home in which a label's sound never happens: talk, music, noise, beeps, other clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model_server.audio import SAMPLE_RATE
from model_server.evaluation import synthesis
from model_server.evaluation.datasets import Sample
from model_server.evaluation.synthesis import Audio

# Shares of the time. What rings is rare in a home, but here it is meant to be heard.
KINDS = {"talk": 0.35, "music": 0.2, "noise": 0.15, "beeps": 0.05, "clips": 0.25}
TALK = "speaking"
SONGS = 40
GROUNDS = 12


@dataclass(frozen=True)
class Segment:
    """A stretch of the stream. `truths` are the labels that may be heard in it."""

    kind: str
    truths: frozenset[str]
    audio: Audio


def stream(samples: Sequence[Sample], hours: float, seed: int = 0) -> Iterator[Segment]:
    """One long recording in segments of up to about a minute; the same seed, the same hours.

    Level and background change with every segment, over 50 dB and 40 dB.
    """
    maker = _Maker(samples, np.random.default_rng(seed))
    left = round(hours * 3600 * SAMPLE_RATE)
    while left > 0:
        segment = maker.draw()
        left -= segment.audio.size
        yield segment


class _Maker:
    """Draws segments; what is costly to make is made once and cut anew."""

    def __init__(self, samples: Sequence[Sample], rng: np.random.Generator) -> None:
        self._rng = rng
        self._talk = [one for one in samples if one.item.label == TALK]
        self._clips = [one for one in samples if one.item.label != TALK]
        self._songs: dict[int, Audio] = {}
        self._grounds: dict[int, Audio] = {}
        lacking = {"talk": not self._talk, "clips": not self._clips}
        self._kinds = [kind for kind in KINDS if not lacking.get(kind)]
        shares = np.array([KINDS[kind] / _seconds(kind) for kind in self._kinds])
        self._chances = shares / shares.sum()
        self._order: dict[str, list[int]] = {}

    def draw(self) -> Segment:
        """One more segment."""
        rng = self._rng
        kind = str(rng.choice(self._kinds, p=self._chances))
        truths: frozenset[str] = frozenset()
        match kind:
            case "talk":
                audio, truths = self._said(), frozenset({TALK})
            case "clips":
                sample = self._next("clips", self._clips)
                audio, truths = sample.audio, frozenset({sample.item.label})
            case "music":
                audio = self._song()
            case "beeps":
                audio, truths = self._beeps()
            case _:
                audio = self._noise()
        pause = synthesis.silence(float(rng.uniform(0.5, 4)))
        heard = self._levelled(np.concatenate([audio, pause]))
        return Segment(kind, truths, heard)

    def _said(self) -> Audio:
        parts: list[Audio] = []
        while sum(part.size for part in parts) < _seconds("talk") * SAMPLE_RATE:
            said = self._next("talk", self._talk).audio
            level = synthesis.loudness(said)
            parts.append(said * np.float32(0.1 / level if level else 1.0))
            parts.append(synthesis.silence(float(self._rng.uniform(0.1, 1.5))))
        return np.concatenate(parts)

    def _song(self) -> Audio:
        number = int(self._rng.integers(SONGS))
        if number not in self._songs:
            # Far from the seeds that training draws its songs from.
            self._songs[number] = synthesis.music(60.0, seed=9_000_000 + number)
        return self._cut(self._songs[number], _seconds("music"))

    def _noise(self) -> Audio:
        seconds = _seconds("noise")
        kind = int(self._rng.integers(4))
        if kind == 3:
            return self._ground(seconds)
        colour: synthesis.Colour = ("white", "pink", "brown")[kind]
        return synthesis.noise(seconds, colour, seed=int(self._rng.integers(2**31)))

    def _beeps(self) -> tuple[Audio, frozenset[str]]:
        rng = self._rng
        high = float(rng.uniform(1000, 3500))
        seconds = _seconds("beeps")
        makers: tuple[Callable[[], Audio], ...] = (
            lambda: synthesis.reversing_beeper(seconds, high),
            lambda: synthesis.microwave(seconds, high),
            lambda: synthesis.low_battery_chirp(seconds, high, every=10.0),
            lambda: synthesis.phone_ring(seconds),
            lambda: synthesis.kitchen_timer(seconds, high),
        )
        kind = int(rng.integers(len(makers)))
        # A kitchen timer and an alarm clock are the same beeps.
        truths = {"alarm_clock"} if kind == len(makers) - 1 else set()
        return makers[kind](), frozenset(truths)

    def _ground(self, seconds: float) -> Audio:
        number = int(self._rng.integers(GROUNDS))
        if number not in self._grounds:
            seed = 9_000_000 + number
            self._grounds[number] = synthesis.household(60.0, seed=seed)
        return self._cut(self._grounds[number], seconds)

    def _cut(self, audio: Audio, seconds: float) -> Audio:
        size = min(audio.size, round(seconds * SAMPLE_RATE))
        at = int(self._rng.integers(audio.size - size + 1))
        return audio[at : at + size]

    def _next(self, kind: str, samples: list[Sample]) -> Sample:
        """Every sample once, in random order, then again in another."""
        if not self._order.get(kind):
            self._order[kind] = self._rng.permutation(len(samples)).tolist()
        return samples[self._order[kind].pop()]

    def _levelled(self, audio: Audio) -> Audio:
        rng = self._rng
        level = synthesis.loudness(audio)
        wanted = 10 ** (rng.uniform(-60, -10) / 20)
        heard = audio * np.float32(wanted / level) if level else audio
        ground = np.resize(self._ground(20.0), heard.size)
        # The quietest house and the loudest machine, but seldom above the sound itself.
        under = 10 ** (min(rng.uniform(-75, -35), 20 * np.log10(wanted) + 5) / 20)
        ground = ground * np.float32(under / float(np.sqrt(np.mean(ground**2))))
        return np.asarray(np.clip(heard + ground, -1, 1), np.float32)


def _seconds(kind: str) -> float:
    """How long a segment of a kind is, about."""
    return {"clips": 7.0, "beeps": 20.0}.get(kind, 30.0)
