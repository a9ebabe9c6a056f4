"""Endless examples of two seconds, made from clips: cut, mixed, put in rooms, levelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.evaluation import guard_sounds, synthesis
from model_server.evaluation.recordings import CLASSES, ESC50, Clip
from model_server.training.devices import clatter, device, unmuted

WINDOW = 2 * SAMPLE_RATE

Audio = npt.NDArray[np.float32]

_MUSIC_S = 20.0
_WEIGHTS = {
    "speech": 6.0, "scream": 0.6, "music": 5.0, "beep": 4.0, "": 12.0,
    "scratch": 3.0, "impact": 4.0, "engine_start": 3.0,
}  # fmt: skip
# What the catalogue reports is drawn more often, most of all what was found least.
_HOME = (
    "cat", "clock_alarm", "snoring", "crackling_fire", "toilet_flush",
    "vacuum_cleaner", "thunderstorm",
)  # fmt: skip
_WEAK = (
    "glass_breaking", "crying_baby", "dog", "siren", "car_horn", "door_knock", "footsteps", "coughing",
    "laughing", "clapping", "sneezing", "rain", "pouring_water", "washing_machine", "fireworks",
)  # fmt: skip

_MADE = {"scratch": guard_sounds.scratch, "impact": guard_sounds.impact}
_JOINED = 0.12
"""Share of the examples that are cut over to something else without a pause."""


@dataclass(frozen=True)
class Example:
    """A window, (32000,), and how strongly each of CLASSES is in it, 0 to 1."""

    audio: Audio
    target: npt.NDArray[np.float32]


class Mixer:
    """Draws examples. The same clips and seed give the same examples."""

    def __init__(self, clips: Sequence[Clip], seed: int, songs: int = 48) -> None:
        """Group the clips by class and prepare the generated ones."""
        self._rng = np.random.default_rng(seed)
        self._sources: dict[str, list[Audio]] = {}
        for clip in clips:
            name = clip.recording.name
            if name and np.any(clip.samples):
                self._sources.setdefault(name, []).append(clip.samples)
        self._sources["music"] = [
            synthesis.music(_MUSIC_S, seed=seed * 1000 + number)
            for number in range(songs)
        ]
        for name, make in _MADE.items():
            self._sources[name] = [
                make(seed * 1000 + number) for number in range(songs * 4)
            ]
        self._names = [*self._sources, "beep", "engine_start", ""]
        weights = np.array([self._weight(name) for name in self._names])
        self._weights = weights / weights.sum()

    def draw(self) -> Example:
        """One more example."""
        rng = self._rng
        target = np.zeros(len(CLASSES), dtype=np.float32)
        audio = self._sound(self._draw(), target, 1.0)
        if rng.random() < 0.5:
            snr = rng.uniform(-3, 25)
            # With nothing before it, what was to be the background is all there is.
            alone = not np.any(audio)
            strength = 1.0 if alone else float(np.clip(1 - (snr - 5) / 15, 0, 1))
            second = self._sound(self._background(), target, strength)
            audio = second if alone else synthesis.mix(audio, second, snr)
        if rng.random() < _JOINED:
            audio = self._joined(audio, target)
        if rng.random() < 0.85:
            colour: synthesis.Colour = ("white", "pink", "brown")[int(rng.integers(3))]
            floor = synthesis.noise(
                2.0, colour, seed=int(rng.integers(2**31)), rms=0.01
            )
            audio = (
                synthesis.mix(audio, floor, rng.uniform(8, 50))
                if np.any(audio)
                else floor
            )
        if rng.random() < 0.35:
            audio = device(audio, rng)
        if not target.any() and rng.random() < 0.3:
            audio = unmuted(audio, rng)
        return Example(self._level(audio), target)

    def _draw(self) -> str:
        return str(self._rng.choice(self._names, p=self._weights))

    def _background(self) -> str:
        """What goes on behind a sound: talk, music, a household, or any other sound."""
        kind = self._rng.random()
        if kind < 0.3 and "speech" in self._sources:
            return "speech"
        if kind < 0.55:
            return "music"
        return "" if kind < 0.75 else self._draw()

    def _sound(
        self, name: str, target: npt.NDArray[np.float32], strength: float
    ) -> Audio:
        rng = self._rng
        if not name:
            kind = int(rng.integers(3))
            if kind == 0:
                return synthesis.silence(2.0)
            if kind == 1:
                return clatter(2.0, rng)
            return synthesis.household(2.0, seed=int(rng.integers(2**31)))
        index = CLASSES.index(name)
        target[index] = max(target[index], strength)
        if name == "beep":
            audio = _beep(rng)
        elif name == "engine_start":
            audio = self._starting(target)
        else:
            sources = self._sources[name]
            audio = _cut(sources[int(rng.integers(len(sources)))], rng)
        if rng.random() < 0.7:
            audio = _filtered(audio, rng)
        if rng.random() < 0.35:
            audio = synthesis.room(
                audio,
                rng.uniform(0.1, 0.7),
                seed=int(rng.integers(2**31)),
                direct=rng.uniform(0.3, 0.9),
            )
        return audio

    def _joined(self, audio: Audio, target: npt.NDArray[np.float32]) -> Audio:
        """Another sound from some moment on: a stream's source is switched over.

        Both are there as far as their energy is. `target` becomes that of both.
        """
        rng = self._rng
        others = np.zeros_like(target)
        other = self._sound(self._draw(), others, 1.0)
        at = int(rng.uniform(0.1, 0.9) * WINDOW)
        loud, soft = synthesis.loudness(audio), synthesis.loudness(other)
        if loud and soft:
            other = other * (loud / soft * 10 ** (rng.uniform(-12, 12) / 20))
        target *= _share(audio[:at], audio)
        np.maximum(target, others * _share(other[at:], other), out=target)
        return np.concatenate([audio[:at], other[at:]], dtype=np.float32)

    def _starting(self, target: npt.NDArray[np.float32]) -> Audio:
        """A starter, and behind it an engine: half of these are recorded ones."""
        rng = self._rng
        seed = int(rng.integers(2**31))
        recorded = self._sources.get("engine")
        running = None
        if recorded and rng.random() < 0.5:
            running = recorded[int(rng.integers(len(recorded)))][:WINDOW]
        audio = guard_sounds.engine_start(seed, running)
        begun = guard_sounds.crank(seed).size
        # At least 0.4 s of the starter are in the window.
        at = int(rng.uniform(-WINDOW + 0.4 * SAMPLE_RATE, begun - 0.4 * SAMPLE_RATE))
        piece = np.pad(audio, WINDOW)[WINDOW + at : 2 * WINDOW + at]
        engine = float(np.clip((at + WINDOW - begun) / WINDOW, 0, 1))
        place = CLASSES.index("engine")
        target[place] = max(target[place], engine)
        return np.asarray(np.pad(piece, (0, WINDOW - piece.size)), np.float32)

    def _level(self, audio: Audio) -> Audio:
        loudness = synthesis.loudness(audio)
        if loudness == 0:
            return audio
        wanted = 10 ** (self._rng.uniform(-54, -8) / 20)
        return np.asarray(np.clip(audio * (wanted / loudness), -1, 1), np.float32)

    def _weight(self, name: str) -> float:
        if name in ESC50:
            return 2.5 if name in _WEAK else 1.5 if name in _HOME else 1.0
        return _WEIGHTS[name]


def _share(part: Audio, whole: Audio) -> float:
    """How much of a sound is in a part of it, 0 to 1; more than two thirds are all."""
    energy = float(np.sum(whole**2))
    return min(1.0, 1.5 * float(np.sum(part**2)) / energy) if energy else 0.0


def _cut(samples: Audio, rng: np.random.Generator) -> Audio:
    """Two seconds in which the clip sounds, at 0.9 to 1.1 of its speed."""
    speed = rng.uniform(0.9, 1.1) if rng.random() < 0.6 else 1.0
    need = int(WINDOW * speed) + 1
    if samples.size < need:
        lead = int(rng.integers(need - samples.size + 1))
        piece = np.pad(samples, (lead, need - samples.size - lead))
    else:
        at = _sounding(samples, rng) - int(rng.uniform(0.1, 0.95) * need)
        at = int(np.clip(at, 0, samples.size - need))
        piece = samples[at : at + need]
    if speed == 1.0:
        return np.asarray(piece[:WINDOW], np.float32)
    resampled = np.interp(np.arange(WINDOW) * speed, np.arange(need), piece)
    return np.asarray(resampled, np.float32)


def _sounding(samples: Audio, rng: np.random.Generator) -> int:
    """A moment within 20 dB of the clip's loudest 0.1 s."""
    step = SAMPLE_RATE // 10
    power = np.mean(
        samples[: samples.size // step * step].reshape(-1, step) ** 2, axis=1
    )
    loud = np.flatnonzero(power >= 0.01 * power.max())
    return int(rng.choice(loud)) * step + int(rng.integers(step))


def _filtered(audio: Audio, rng: np.random.Generator) -> Audio:
    """Another microphone: a random smooth response within about 8 dB."""
    spectrum = np.fft.rfft(audio)
    octaves = np.linspace(0, 1, 6) ** 2 * spectrum.size
    gains = np.interp(np.arange(spectrum.size), octaves, rng.normal(0, 4, size=6))
    return np.fft.irfft(spectrum * 10 ** (gains / 20), audio.size).astype(np.float32)


def _beep(rng: np.random.Generator) -> Audio:
    """Two seconds out of some alarm, timer, reversing lorry or telephone."""
    frequency = rng.uniform(900, 3600)
    start = -rng.uniform(0, 6)
    kind = int(rng.integers(5))
    for _ in range(8):
        if kind == 0:
            audio = synthesis.t3(
                2.0, frequency if rng.random() < 0.8 else 520.0, start=start
            )
        elif kind == 1:
            audio = synthesis.t4(2.0, frequency, start=start)
        elif kind == 2:
            audio = synthesis.reversing_beeper(2.0, frequency, start=start)
        elif kind == 3:
            audio = synthesis.kitchen_timer(2.0, frequency, start=start)
        else:
            audio = synthesis.phone_ring(2.0, start=start)
        if np.mean(np.abs(audio) > 0.01) > 0.05:
            return audio
        start = -rng.uniform(0, 6)
    return synthesis.reversing_beeper(2.0, frequency)
