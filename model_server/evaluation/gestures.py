"""Claps, snaps, knocks and whistles, and what resembles them, made with numpy.

Single sounds are float32, (samples,), 16 kHz, peak 1, dry; the same generator state
always gives the same samples. No two of a kind are alike: hands, doors and lips differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_server.evaluation import synthesis
from model_server.evaluation.synthesis import RATE, Audio

Rng = np.random.Generator
Float = npt.NDArray[np.float64]


def clap(rng: Rng, hands: float | None = None) -> Audio:
    """Two hands: a cluster of bursts within some milliseconds through the cavity between them.

    `hands` is the cavity's resonance in Hz, 800 to 2000; the same pair keeps it roughly.
    """
    centre = hands or float(rng.uniform(800, 2000))
    envelope = np.zeros(RATE // 10)
    for at in np.sort(rng.uniform(0, rng.uniform(0.003, 0.008), rng.integers(2, 5))):
        _burst(envelope, at, rng.uniform(0.3, 1), rng.uniform(0.0015, 0.006))
    burst = rng.standard_normal(envelope.size) * envelope
    cavity = _resonant(burst, centre * rng.uniform(0.95, 1.05), rng.uniform(0.8, 2.5))
    skin = _tilted(burst, 400.0, rng.uniform(1200, 4000))
    return _peaked(cavity + rng.uniform(0.2, 0.8) * skin)


def snap(rng: Rng, fingers: float | None = None) -> Audio:
    """A finger that strikes the palm: brief, from 1.8 to 3.8 kHz (`fingers`), hardly any bass."""
    centre = fingers or float(rng.uniform(1800, 3800))
    envelope = np.zeros(RATE // 10)
    slide = rng.uniform(0.004, 0.012)
    envelope[: int(slide * RATE)] = rng.uniform(0, 0.06)
    _burst(envelope, slide, 1.0, rng.uniform(0.0012, 0.0035))
    if rng.random() < 0.5:
        _burst(envelope, slide + rng.uniform(0.002, 0.005), 0.5, 0.002)
    burst = rng.standard_normal(envelope.size) * envelope
    resonant = _resonant(burst, centre * rng.uniform(0.96, 1.04), rng.uniform(1.8, 4))
    return _peaked(resonant + 0.15 * _tilted(burst, 1200.0, 7000.0))


def knock(rng: Rng, door: Sequence[float] | None = None) -> Audio:
    """Knuckles on wood: damped modes of a door (Hz) from 100 to 600, and their contact's click."""
    modes = door or door_modes(rng)
    time = np.arange(RATE // 5) / RATE
    wave = np.zeros(time.size)
    for frequency in modes:
        decay = rng.uniform(0.008, 0.03)
        wave += (
            rng.uniform(0.4, 1)
            * np.exp(-time / decay)
            * np.sin(2 * np.pi * frequency * rng.uniform(0.99, 1.01) * time)
        )
    wave *= np.minimum(time / rng.uniform(0.0005, 0.002), 1)
    click = rng.standard_normal(time.size) * np.exp(-time / rng.uniform(0.0005, 0.0015))
    return _peaked(wave / np.max(np.abs(wave)) + rng.uniform(0.05, 0.35) * click)


def door_modes(rng: Rng) -> tuple[float, ...]:
    """The modes of some door."""
    return tuple(rng.uniform(100, 600, int(rng.integers(3, 7))))


def whistle(rng: Rng, semitones: float, seconds: float, start: float) -> Audio:
    """Lips: a pure tone that glides from `start` Hz by so many semitones, with some breath."""
    time = np.arange(round(seconds * RATE)) / RATE
    way = time / seconds
    bend = rng.uniform(0.7, 1.4)
    glide = np.clip((way**bend - 0.08) / 0.84, 0, 1)
    wobble = 0.15 * np.sin(2 * np.pi * rng.uniform(4, 7) * time + rng.uniform(0, 6))
    frequency = start * 2 ** ((semitones * glide + wobble) / 12)
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    tone = np.sin(phase) + rng.uniform(0, 0.05) * np.sin(2 * phase)
    ramp = rng.uniform(0.015, 0.05)
    gate = np.minimum(1, np.minimum(time, time[::-1]) / ramp)
    breath = _tilted(rng.standard_normal(time.size), 800.0, 6000.0)
    return _peaked(gate * (tone + rng.uniform(0.02, 0.12) * breath / np.std(breath)))


def series(make: Callable[[], Audio], intervals: Sequence[float], rng: Rng) -> Audio:
    """One sound and then, after each interval in seconds, another of about its level."""
    starts = np.concatenate([[0.0], np.cumsum(intervals)])
    wave = np.zeros(round((starts[-1] + 0.25) * RATE))
    for at in starts:
        one = make() * 10 ** (rng.uniform(-2, 2) / 20)
        first = round(at * RATE)
        size = min(one.size, wave.size - first)
        wave[first : first + size] += one[:size]
    return _peaked(wave)


@dataclass(frozen=True)
class Take:
    """A gesture as a microphone hears it, or what resembles one; `label` None for that."""

    label: str | None
    audio: Audio


GESTURES = (
    "double_clap", "triple_clap", "finger_snaps", "double_knock", "triple_knock",
    "whistle_up", "whistle_down",
)  # fmt: skip


def gesture(label: str, rng: Rng) -> Audio:
    """One gesture of some person, dry, peak 1."""
    if label.startswith("whistle"):
        semitones = float(rng.uniform(4, 12))
        seconds = float(rng.uniform(0.2, 0.8))
        low = float(rng.uniform(700, 1500))
        if label == "whistle_up":
            return whistle(rng, semitones, seconds, low)
        return whistle(rng, -semitones, seconds, low * 2 ** (semitones / 12))
    if label == "finger_snaps":
        count = int(rng.integers(2, 4))
    else:
        count = 3 if label.startswith("triple") else 2
    slowest = 0.38 if label.endswith("knock") else 0.5
    tempo = float(rng.uniform(0.22 if "snap" in label else 0.17, slowest))
    intervals = [tempo * rng.uniform(0.94, 1.06) for _ in range(count - 1)]
    return series(_hit(label, rng), intervals, rng)


def single(label: str, rng: Rng) -> Audio:
    """One clap, snap or knock: no gesture."""
    return _hit(label, rng)()


def heard(
    dry: Audio, rng: Rng, *, snr_db: float, rt60: float, dbfs: float | None = None
) -> Audio:
    """A sound two seconds into a room's noise, two seconds of which follow, at some level."""
    signal = np.concatenate([synthesis.silence(2.0), dry, synthesis.silence(2.0)])
    seed = int(rng.integers(1 << 30))
    wet = synthesis.room(signal, rt60, seed=seed, direct=float(rng.uniform(0.4, 0.8)))
    seconds = wet.size / RATE
    ground = synthesis.noise(seconds, "pink", seed=seed)
    mixed = synthesis.mix(wet, ground, snr_db)
    level = float(rng.uniform(-30, -3)) if dbfs is None else dbfs
    return _at(mixed, level)


def typing(seconds: float, rng: Rng) -> Audio:
    """Keys: a click and a thump each, in words with pauses, of some keyboard."""
    wave = np.zeros(round(seconds * RATE) + RATE)
    body = float(rng.uniform(150, 500))
    cap = float(rng.uniform(2000, 5500))
    at = 0.3
    while at < seconds:
        for _ in range(int(rng.integers(1, 9))):
            _add(wave, at, _key(rng, body, cap) * rng.uniform(0.4, 1))
            # A key makes a smaller noise when it comes up.
            up = at + rng.uniform(0.06, 0.12)
            _add(wave, up, _key(rng, body, cap) * rng.uniform(0.1, 0.4))
            at += rng.uniform(0.09, 0.35)
        at += rng.choice([0.3, 0.8, 2.0]) * rng.uniform(0.5, 1.5)
    return _peaked(wave[: round(seconds * RATE)])


def dishes(seconds: float, rng: Rng) -> Audio:
    """Plates, glasses and cutlery: ringing modes struck now and then, often in twos and threes."""
    wave = np.zeros(round(seconds * RATE) + RATE)
    at = 0.5
    while at < seconds:
        modes = rng.uniform(900, 7000, int(rng.integers(3, 8)))
        decay = float(rng.uniform(0.01, 0.25))
        for _ in range(int(rng.integers(1, 5))):
            _add(wave, at, _clink(rng, modes, decay) * rng.uniform(0.2, 1))
            at += rng.uniform(0.08, 0.6)
        at += rng.exponential(1.2)
    return _peaked(wave[: round(seconds * RATE)])


def ticking(seconds: float, rng: Rng) -> Audio:
    """A clock: a tick every half or whole second, for ever."""
    wave = np.zeros(round(seconds * RATE) + RATE)
    every = float(rng.choice([0.25, 0.5, 1.0]))
    centre = float(rng.uniform(1500, 5000))
    for at in np.arange(0.2, seconds, every):
        _add(wave, at, snap(rng, centre) * 0.8)
    return _peaked(wave[: round(seconds * RATE)])


def walking(seconds: float, rng: Rng) -> Audio:
    """Steps on a wooden floor, a few and then a pause."""
    wave = np.zeros(round(seconds * RATE) + RATE)
    floor = tuple(rng.uniform(60, 350, 4))
    at = 0.4
    while at < seconds:
        pace = rng.uniform(0.42, 0.75)
        for _ in range(int(rng.integers(2, 12))):
            step = knock(rng, floor) * rng.uniform(0.5, 1)
            _add(wave, at, step)
            # Heel, then ball.
            _add(wave, at + rng.uniform(0.04, 0.1), step * rng.uniform(0.1, 0.6))
            at += pace * rng.uniform(0.93, 1.07)
        at += rng.uniform(0.5, 4)
    return _peaked(wave[: round(seconds * RATE)])


def applause(seconds: float, rng: Rng) -> Audio:
    """One to many people who clap on."""
    wave = np.zeros(round(seconds * RATE) + RATE)
    for _ in range(int(rng.choice([1, 2, 8, 30]))):
        hands = float(rng.uniform(800, 2000))
        every = float(rng.uniform(0.22, 0.5))
        at = float(rng.uniform(0.2, 0.7))
        while at < seconds:
            _add(wave, at, clap(rng, hands) * rng.uniform(0.3, 1))
            at += every * rng.uniform(0.9, 1.1)
    return _peaked(wave[: round(seconds * RATE)])


NUISANCES: dict[str, Callable[[float, Rng], Audio]] = {
    "typing": typing,
    "dishes": dishes,
    "ticking": ticking,
    "walking": walking,
    "applause": applause,
}
"""What is impulsive at home and no gesture."""


def nuisance(kind: str, minutes: int, seed: int = 0) -> Iterator[Audio]:
    """So many minutes of one, each of other things in another room at another level."""
    rng = np.random.default_rng(seed)
    for _ in range(minutes):
        dry = NUISANCES[kind](58.0, rng)
        audio = np.concatenate([dry, synthesis.silence(2.0)])
        wet = synthesis.room(audio, float(rng.uniform(0, 0.6)), seed=seed)
        noisy = synthesis.mix(
            wet, synthesis.noise(60.0, seed=seed), float(rng.uniform(10, 40))
        )
        yield _at(noisy, float(rng.uniform(-30, -3)))


def _hit(label: str, rng: Rng) -> Callable[[], Audio]:
    """The same hands, fingers or door again and again."""
    if "clap" in label:
        hands = float(rng.uniform(800, 2000))
        return lambda: clap(rng, hands)
    if "snap" in label:
        fingers = float(rng.uniform(1800, 3800))
        return lambda: snap(rng, fingers)
    door = door_modes(rng)
    return lambda: knock(rng, door)


def _key(rng: Rng, body: float, cap: float) -> Float:
    time = np.arange(RATE // 20) / RATE
    thump = np.sin(2 * np.pi * body * time) * np.exp(-time / 0.006)
    noise = rng.standard_normal(time.size) * np.exp(-time / 0.002)
    return rng.uniform(0.1, 0.6) * thump + _resonant(noise, cap, 1.5)


def _clink(rng: Rng, modes: Float, decay: float) -> Float:
    time = np.arange(RATE) / RATE
    wave = np.zeros(time.size)
    for frequency in modes:
        wave += (
            rng.uniform(0.2, 1)
            * np.exp(-time / (decay * rng.uniform(0.5, 1.5)))
            * np.sin(2 * np.pi * frequency * time + rng.uniform(0, 6))
        )
    return wave / max(float(np.max(np.abs(wave))), 1e-9)


def _burst(envelope: Float, at: float, height: float, decay: float) -> None:
    first = round(at * RATE)
    time = np.arange(envelope.size - first) / RATE
    envelope[first:] += height * np.exp(-time / decay)


def _resonant(wave: Float, centre: float, quality: float) -> Float:
    """Through a second-order resonance, at unchanged energy."""
    frequency = np.fft.rfftfreq(2 * wave.size, 1 / RATE)
    ratio = np.maximum(frequency, 1.0) / centre
    response = 1 / (1 + 1j * quality * (ratio - 1 / ratio))
    return _filtered(wave, response)


def _tilted(wave: Float, low: float, high: float) -> Float:
    """Between two gentle corners, at unchanged energy."""
    frequency = np.maximum(np.fft.rfftfreq(2 * wave.size, 1 / RATE), 1.0)
    response = 1 / (1 + (low / (1j * frequency))) / (1 + 1j * frequency / high)
    return _filtered(wave, response)


def _filtered(wave: Float, response: npt.NDArray[np.complex128]) -> Float:
    out = np.fft.irfft(np.fft.rfft(wave, 2 * wave.size) * response)[: wave.size]
    before, after = float(np.sum(wave**2)), float(np.sum(out**2))
    return out * np.sqrt(before / after) if after else out


def _add(wave: Float, at: float, one: npt.NDArray[np.floating]) -> None:
    first = round(at * RATE)
    size = min(one.size, wave.size - first)
    if size > 0:
        wave[first : first + size] += one[:size]


def _at(wave: Audio, dbfs: float) -> Audio:
    """With its peak at so many dB of full scale."""
    peak = max(float(np.max(np.abs(wave))), 1e-9)
    return wave * np.float32(10 ** (dbfs / 20) / peak)


def _peaked(wave: Float) -> Audio:
    return (wave / max(float(np.max(np.abs(wave))), 1e-9)).astype(np.float32)
