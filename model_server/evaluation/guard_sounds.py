"""What is done to a parked car, made with numpy: nobody let us scratch one.

A key on paint is rough noise that rings in sheet metal, stroke by stroke. A blow rings
lower, with a thud under it. A starter labours at every compression until the engine
fires by itself. The same seed always gives the same samples, float32 at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model_server.evaluation.synthesis import RATE, Audio

_Wave = npt.NDArray[np.float64]
_Rng = np.random.Generator


def scratch(seed: int, *, peak: float = 0.2) -> Audio:
    """Two to five strokes of 0.2 to 1.1 s with something sharp over painted metal."""
    rng = np.random.default_rng(seed)
    panel = _ring(
        rng, 0.25, (rng.uniform(250, 900), rng.uniform(5000, 7800)), 40, (3, 25)
    )
    # What the tool radiates by itself, beside the panel.
    panel[0] += np.max(np.abs(panel)) * rng.uniform(0.5, 3)
    slope = [
        (20.0, -40.0),
        (rng.uniform(200, 700), -12.0),
        (rng.uniform(1000, 2500), 0.0),
        (rng.uniform(3000, 6000), rng.uniform(-3, 6)),
        (8000.0, rng.uniform(-12, 3)),
    ]
    rough = rng.uniform(0.2, 0.9)
    parts: list[_Wave] = []
    for _ in range(int(rng.integers(2, 6))):
        stroke = _stroke(rng, rng.uniform(0.18, 1.1), slope, rough, panel)
        parts += [stroke, np.zeros(round(rng.uniform(0.03, 0.6) * RATE))]
    return _scaled(np.concatenate(parts), peak)


def impact(seed: int, *, peak: float = 0.5) -> Audio:
    """A second with a blow at a body or a door, and up to two softer ones right after it."""
    rng = np.random.default_rng(seed)
    highest = rng.uniform(400, 2500)
    body = _ring(
        rng, 1.0, (rng.uniform(35, 90), highest), 60, (1.5, rng.uniform(5, 18))
    )
    time = np.arange(RATE) / RATE
    wave = np.zeros(RATE)
    at, strength = 0, 1.0
    for _ in range(int(rng.integers(1, 4))):
        wave[at:] += strength * _blow(rng, body)[: RATE - at]
        at += round(rng.uniform(0.04, 0.25) * RATE)
        strength *= rng.uniform(0.1, 0.4)
    slope = [(20.0, -40.0), (800.0, -10.0), (3000.0, 0.0), (8000.0, -8.0)]
    rattle = _shaped(rng, RATE, slope) * np.maximum(0, _curve(rng, RATE, 40))
    rattle *= np.exp(-time / rng.uniform(0.05, 0.25))
    wave = wave / np.max(np.abs(wave)) + rng.uniform(0, 0.08) * rattle
    return _scaled(wave, peak)


def crank(seed: int, *, peak: float = 0.4) -> Audio:
    """A starter motor that turns an engine over for 0.5 to 2 s."""
    rng = np.random.default_rng(seed)
    size = round(rng.uniform(0.5, 2.0) * RATE)
    turns = np.cumsum(rng.uniform(7, 14) * (1 + 0.05 * _curve(rng, size, 3))) / RATE
    load = (0.5 + 0.5 * np.sin(2 * np.pi * turns)) ** rng.uniform(1, 3)
    # Under load the motor slows, and its whine falls.
    whine = np.cumsum(rng.uniform(250, 1100) * (1.1 - 0.2 * load)) / RATE
    gear = np.sin(2 * np.pi * whine + 3 * _curve(rng, size, 300))
    gear += 0.5 * np.sin(4 * np.pi * whine + 2 * _curve(rng, size, 200))
    slope = [
        (20.0, -20.0),
        (rng.uniform(120, 300), -4.0),
        (rng.uniform(500, 900), 0.0),
        (rng.uniform(1500, 3500), rng.uniform(-8, 2)),
        (8000.0, -18.0),
    ]
    wave = _shaped(rng, size, slope) + rng.uniform(0.05, 0.35) * gear
    wave *= rng.uniform(0.5, 1.2) + load
    clack = RATE // 50
    wave[:clack] += 0.7 * rng.standard_normal(clack) * np.linspace(1, 0, clack)
    return _scaled(wave, peak)


def engine(seed: int, *, peak: float = 0.4) -> Audio:
    """Three to five seconds of an engine that flares up and falls to its idle."""
    rng = np.random.default_rng(seed)
    size = round(rng.uniform(3, 5) * RATE)
    time = np.arange(size) / RATE
    idle = rng.uniform(24, 40)
    flare = np.exp(-time / rng.uniform(0.3, 1.0)) * np.minimum(1, time / 0.15 + 0.3)
    firing = idle * (1 + rng.uniform(0.4, 1.4) * flare)
    firing *= 1 + 0.02 * _curve(rng, size, 8)
    turns = np.cumsum(firing) / RATE
    at = np.searchsorted(turns, np.arange(1, int(turns[-1])))
    late = rng.normal(0, 0.02 * RATE / idle, at.size).astype(int)
    pulses = np.zeros(size)
    # Four cylinders that are never quite alike, and no two strokes of one.
    cylinders = rng.lognormal(0, 0.25, 4)[np.arange(at.size) % 4]
    pulses[np.clip(at + late, 0, size - 1)] = cylinders * rng.lognormal(
        0, 0.25, at.size
    )
    fall = np.exp(-np.arange(RATE // 5) / RATE * idle * rng.uniform(0.8, 2.5))
    burst = _through(pulses, fall)
    burst /= np.max(burst)
    exhaust = _through(pulses, _ring(rng, 0.2, (60, 1500), 40, (1, 3)))
    low = [(20.0, -10.0), (100.0, 0.0), (400.0, -4.0), (2000.0, -12.0), (8000.0, -30.0)]
    high = [(20.0, -30.0), (800.0, -6.0), (2500.0, 0.0), (8000.0, -10.0)]
    wave = exhaust / np.std(exhaust)
    wave += rng.uniform(0.8, 2.0) * _shaped(rng, size, low) * (0.4 + burst)
    wave += rng.uniform(0.1, 0.5) * _shaped(rng, size, high) * (0.3 + burst)
    wave *= (0.5 + 0.5 * firing / np.max(firing)) * np.minimum(1, time / 0.1)
    return _scaled(wave, peak)


def engine_start(
    seed: int, running: Audio | None = None, *, peak: float = 0.4
) -> Audio:
    """A starter and then the engine: a generated one, or a recording that is given."""
    rng = np.random.default_rng((seed, 1))
    starter = crank(seed).astype(np.float64)
    runs = np.asarray(engine(seed) if running is None else running, np.float64)
    runs = runs * rng.uniform(0.8, 1.8) * np.std(starter) / max(1e-9, np.std(runs))
    join = min(round(rng.uniform(0.05, 0.3) * RATE), starter.size, runs.size)
    wave = np.zeros(starter.size + runs.size - join)
    fade = np.minimum(1, np.arange(starter.size)[::-1] / join)
    wave[: starter.size] += starter * fade
    wave[starter.size - join :] += runs
    return _scaled(wave, peak)


def traffic(seconds: float, seed: int = 0, *, rms: float = 0.02) -> Audio:
    """Cars that pass on a road near by: the rush of tyres, swelling and dying away."""
    rng = np.random.default_rng(seed)
    size = round(seconds * RATE)
    tyres = _shaped(
        rng, size, [(20.0, -10.0), (100.0, 0.0), (900.0, -2.0), (8000.0, -25.0)]
    )
    time = np.arange(size) / RATE
    swell = np.full(size, 0.1)
    for _ in range(max(1, round(seconds / 12))):
        at, width = rng.uniform(0, seconds), rng.uniform(0.8, 4.0)
        swell += rng.uniform(0.3, 1.0) * np.exp(-(((time - at) / width) ** 2))
    wave = tyres * swell
    wave *= rms / np.sqrt(np.mean(wave**2))
    return np.asarray(np.clip(wave, -1, 1), np.float32)


def _stroke(
    rng: _Rng,
    seconds: float,
    slope: Sequence[tuple[float, float]],
    rough: float,
    panel: _Wave,
) -> _Wave:
    """One stroke: friction whose strength follows the hand, and grains that snap."""
    size = round(seconds * RATE)
    speed = np.sin(np.pi * np.linspace(0, 1, size) ** rng.uniform(0.5, 1.5))
    grain = np.exp(
        rough * _curve(rng, size, rng.uniform(40, 250))
        + 0.4 * _curve(rng, size, rng.uniform(4, 15))
    )
    snaps = (rng.random(size) < rng.uniform(100, 900) / RATE).astype(np.float64)
    snaps *= rng.lognormal(0, 0.8, size) * rng.choice([-1, 1], size)
    wave = _shaped(rng, size, slope) * grain + rng.uniform(0, 12) * snaps
    # A hand never quite stops, so what it draws may end a hair below zero speed.
    wave *= np.maximum(0, speed) ** rng.uniform(0.3, 1.0)
    wave = _through(wave, panel)
    return wave / np.std(wave) * rng.uniform(0.5, 1)


def _blow(rng: _Rng, body: _Wave) -> _Wave:
    """One second: the body struck for a few milliseconds, a thud and a crack."""
    time = np.arange(RATE) / RATE
    width = rng.uniform(0.0005, 0.004)
    push = np.exp(-0.5 * ((time - 3 * width) / width) ** 2)
    hit = _through(push * (1 + 0.5 * rng.standard_normal(RATE)), body)
    slope = [
        (20.0, -6.0),
        (rng.uniform(60, 150), 0.0),
        (rng.uniform(250, 700), -6.0),
        (2000.0, rng.uniform(-30, -14)),
        (8000.0, -45.0),
    ]
    thud = _shaped(rng, RATE, slope) * np.exp(-time / rng.uniform(0.02, 0.09))
    crack = rng.standard_normal(RATE) * np.exp(-time / rng.uniform(0.002, 0.012))
    shares = (rng.uniform(0.3, 1), rng.uniform(0.3, 1.2), rng.uniform(0.05, 0.5))
    wave = np.zeros(RATE)
    for share, one in zip(shares, (hit, thud, crack), strict=True):
        wave += share * one / np.max(np.abs(one))
    return wave


def _ring(
    rng: _Rng,
    seconds: float,
    hertz: tuple[float, float],
    count: int,
    quality: tuple[float, float],
) -> _Wave:
    """How a body answers a blow: so many modes between two frequencies, with some Q each."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.zeros(time.size)
    low, high = float(np.log(hertz[0])), float(np.log(hertz[1]))
    for mode in np.exp(rng.uniform(low, high, count)):
        decay = np.exp(-time * np.pi * mode / rng.uniform(*quality))
        wave += (
            rng.normal() * decay * np.sin(2 * np.pi * mode * time + rng.uniform(0, 6.3))
        )
    return wave


def _shaped(rng: _Rng, size: int, slope: Sequence[tuple[float, float]]) -> _Wave:
    """Noise of RMS 1 whose spectrum passes through points of (Hz, dB)."""
    hertz, decibels = zip(*slope, strict=True)
    lines = np.fft.rfft(rng.standard_normal(size))
    at = np.log(np.maximum(np.fft.rfftfreq(size, 1 / RATE), hertz[0]))
    lines *= 10 ** (np.interp(at, np.log(hertz), decibels) / 20)
    wave = np.fft.irfft(lines, size)
    return np.asarray(wave / np.std(wave))


def _curve(rng: _Rng, size: int, hertz: float) -> _Wave:
    """A random curve of mean 0 and spread 1 that moves about so fast."""
    count = max(4, int(2 * size / RATE * hertz) + 3)
    return np.interp(
        np.linspace(0, count - 1, size), np.arange(count), rng.standard_normal(count)
    )


def _through(wave: _Wave, body: _Wave) -> _Wave:
    """What of a wave comes out of a body with this impulse response, cut to its length."""
    size = wave.size + body.size
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(body, size), size)[
        : wave.size
    ]


def _scaled(wave: _Wave, peak: float) -> Audio:
    return np.asarray(wave * peak / np.max(np.abs(wave)), np.float32)
