"""What beeps, rings, sings and talks at home and is no alarm: hours of it, made by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from model_server.evaluation import synthesis
from model_server.evaluation.synthesis import RATE, Audio

STRETCH_S = 120.0

Rng = np.random.Generator
Maker = Callable[[float, Rng], Audio]


def look_alikes(seconds: float = 130.0) -> dict[str, Audio]:
    """What beeps at home and is no alarm, over a household's background."""
    made = {
        "reversing lorry": synthesis.reversing_beeper(seconds),
        "reversing lorry, low": synthesis.reversing_beeper(seconds, 1250.0),
        "microwave": synthesis.microwave(seconds),
        "microwave, high": synthesis.microwave(seconds, 2600.0),
        "kitchen timer": synthesis.kitchen_timer(seconds),
        "kitchen timer, high": synthesis.kitchen_timer(seconds, 3400.0),
        "telephone": synthesis.phone_ring(seconds),
    }
    ground = synthesis.household(seconds, seed=7)
    return {name: synthesis.mix(audio, ground, 20.0) for name, audio in made.items()}


def reversing(seconds: float, rng: Rng) -> Audio:
    """A vehicle that reverses for a while: about one beep a second, without a pause."""
    on, off = rng.uniform(0.3, 0.6, size=2)
    starts = np.cumsum(rng.uniform(10, 40, size=int(seconds / 10)))
    pattern = [(float(on), float(off))] * int(rng.integers(3, 25))
    return _scattered(seconds, starts, _keyed(rng, pattern, 900, 3500))


def microwave(seconds: float, rng: Rng) -> Audio:
    """An oven or machine that is done: one to five beeps, again every half or whole minute."""
    on, off = rng.uniform(0.1, 1.1), rng.uniform(0.1, 1.0)
    # A single short beep every half minute would be the very rhythm of a low battery.
    pattern = [(float(on), float(off))] * int(rng.integers(1 if on > 0.4 else 2, 7))
    starts = np.arange(rng.uniform(0, 20), seconds, rng.choice([15.0, 30.0, 60.0]))
    return _scattered(seconds, starts, _keyed(rng, pattern, 1800, 4000))


def timer(seconds: float, rng: Rng) -> Audio:
    """A kitchen timer, watch or alarm clock: a few quick beeps and a short pause, for long."""
    on, off = rng.uniform(0.03, 0.13), rng.uniform(0.03, 0.13)
    beeps = int(rng.integers(1, 6))
    pattern = [(on, off)] * (beeps - 1) + [(on, float(rng.uniform(0.25, 1.1)))]
    frequency = float(rng.uniform(1800, 4000))
    return synthesis.beeps(seconds, frequency, pattern, start=rng.uniform(0, 5))


def watch(seconds: float, rng: Rng) -> Audio:
    """A digital watch: quick pairs, twenty seconds long."""
    pair = [(0.0625, 0.0625), (0.0625, float(rng.choice([0.0625, 0.3125, 0.8125])))]
    starts = np.arange(rng.uniform(0, 20), seconds, 45.0)
    return _scattered(seconds, starts, _keyed(rng, pair * 20, 3900, 4100))


def chime(seconds: float, rng: Rng) -> Audio:
    """A washing machine's or a mobile's melody of single tones, again and again."""
    step = float(rng.uniform(0.1, 0.5))
    notes = rng.choice([0, 2, 4, 5, 7, 9, 11, 12], size=int(rng.integers(3, 12)))
    base = float(rng.uniform(500, 2500))
    parts = [
        np.concatenate(
            [
                synthesis.tone(step * 0.8, base * 2 ** (int(note) / 12), "sounder"),
                synthesis.silence(step * 0.2),
            ]
        )
        for note in notes
    ]
    parts.append(synthesis.silence(float(rng.uniform(0.2, 8))))
    melody = np.resize(np.concatenate(parts), round(seconds * RATE))
    return (0.5 * melody).astype(np.float32)


def telephone(seconds: float, rng: Rng) -> Audio:
    """A warble between two tones, in the cadence of some country; or a line's tones."""
    cadences = [
        [(2.0, 4.0)],
        [(1.0, 4.0)],
        [(0.4, 0.2), (0.4, 2.0)],
        [(0.5, 0.5)],
        [(0.25, 0.25)],
    ]
    cadence = cadences[int(rng.integers(len(cadences)))]
    gate = synthesis.beeps(seconds, 1.0, cadence, amplitude=1.0, waveform="sine")
    time = np.arange(gate.size) / RATE
    low = float(rng.choice([425.0, 480.0, 1100.0, 1600.0, 2100.0, 2800.0]))
    high = low * float(rng.choice([1.0, 1.2, 1.25]))
    rate = float(rng.uniform(8, 25))
    phase = np.cumsum(np.where((time * rate).astype(int) % 2 == 0, low, high)) / RATE
    loud = np.cumsum(np.abs(gate)) > 0
    sounding = np.zeros(gate.size)
    at = 0.0
    for on, off in cadence * (int(seconds / sum(map(sum, cadence))) + 1):
        sounding[round(at * RATE) : round((at + on) * RATE)] = 1
        at += on + off
    return (0.4 * loud * sounding * np.sin(2 * np.pi * phase)).astype(np.float32)


def birds(seconds: float, rng: Rng) -> Audio:
    """Chirps that sweep and trills, in phrases that come back every few seconds."""
    wave = np.zeros(round(seconds * RATE), dtype=np.float32)
    low = float(rng.uniform(2000, 3800))
    syllables, step = int(rng.integers(1, 9)), float(rng.uniform(0.08, 0.4))
    sweep = float(rng.uniform(-800, 800)) * float(rng.choice([0.0, 0.2, 1.0]))
    every = float(rng.uniform(2, 9))
    at = 0.5
    while at < seconds - syllables * step - 0.5:
        for number in range(syllables):
            size = round(step * 0.6 * RATE)
            time = np.arange(size) / RATE
            phase = 2 * np.pi * (low * time + sweep * time**2 / (2 * step * 0.6))
            begin = round((at + number * step) * RATE)
            wave[begin : begin + size] += (np.sin(phase) * np.hanning(size)).astype(
                np.float32
            )
        at += every * float(rng.uniform(0.9, 1.1)) + syllables * step
    return 0.4 * wave


def music(seconds: float, rng: Rng) -> Audio:
    """Generated music, at times played two octaves up, as a music box or whistle is."""
    up = int(rng.choice([1, 1, 2, 4]))
    slow = synthesis.music(seconds * up, seed=int(rng.integers(1 << 30)))
    if up == 1:
        return slow
    size = slow.size // up
    spectrum = np.fft.rfft(slow.astype(np.float64))
    spectrum[spectrum.size // up :] = 0
    fast = np.fft.irfft(spectrum, slow.size)[::up][:size]
    return np.clip(fast, -1, 1).astype(np.float32)


MAKERS: tuple[Maker, ...] = (
    reversing,
    microwave,
    timer,
    watch,
    chime,
    telephone,
    birds,
    music,
)


def negatives(
    hours: float, clips: Sequence[Audio] = (), seed: int = 0
) -> Iterator[tuple[str, Audio]]:
    """Two minutes at a time: a thing, in a room, over a household, music or noise.

    With clips of recordings every third stretch is of those, one of them again and
    again or many in turn.
    """
    stretches = round(hours * 3600 / STRETCH_S)
    for number in range(stretches):
        rng = np.random.default_rng([seed, number])
        if clips and number % 3 == 2:
            name, dry = "recordings", recorded(STRETCH_S, clips, rng)
        else:
            make = MAKERS[number % len(MAKERS)]
            name, dry = make.__name__, make(STRETCH_S, rng)
        wet = synthesis.room(dry, float(rng.choice([0.0, 0.3, 0.6, 0.9])), seed=number)
        ground = _ground(int(rng.integers(3)), number)
        yield name, synthesis.mix(wet, ground, float(rng.uniform(0, 35)))


def recorded(seconds: float, clips: Sequence[Audio], rng: Rng) -> Audio:
    """Recordings one after the other, or one of them in a loop, with gaps."""
    size = round(seconds * RATE)
    loop = rng.random() < 0.5
    one = int(rng.integers(len(clips)))
    gap = float(rng.uniform(0, 3))
    parts: list[Audio] = []
    total = 0
    while total < size:
        clip = clips[one if loop else int(rng.integers(len(clips)))]
        parts += [clip, synthesis.silence(gap if loop else float(rng.uniform(0, 2)))]
        total += parts[-1].size + parts[-2].size
    return np.concatenate(parts)[:size]


def _ground(kind: int, seed: int) -> Audio:
    if kind == 0:
        return synthesis.household(STRETCH_S, seed=seed)
    if kind == 1:
        return synthesis.noise(STRETCH_S, "pink", seed=seed)
    return synthesis.music(STRETCH_S, seed=seed)


def _keyed(
    rng: Rng, pattern: Sequence[tuple[float, float]], low: float, high: float
) -> Audio:
    frequency = float(rng.uniform(low, high))
    waveform: synthesis.Waveform = "square" if rng.random() < 0.3 else "sounder"
    seconds = sum(on + off for on, off in pattern)
    return synthesis.beeps(seconds, frequency, pattern, waveform=waveform)


def _scattered(seconds: float, starts: npt.NDArray[np.float64], sound: Audio) -> Audio:
    wave = synthesis.silence(seconds)
    end = 0
    for start in starts:
        begin = round(float(start) * RATE)
        part = sound[: max(0, wave.size - begin)]
        if begin >= end and part.size:
            wave[begin : begin + part.size] = part
            end = begin + part.size
    return wave
