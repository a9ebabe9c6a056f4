"""Alarms, household sounds that resemble them, music, noise and rooms, made with numpy.

Every function returns float32 samples, (samples,), at 16 kHz, with a peak of at
most 1, and the same seed always gives the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

RATE = 16_000

Audio: TypeAlias = npt.NDArray[np.float32]
Colour = Literal["white", "pink", "brown"]
Waveform = Literal["sounder", "square", "sine"]

# A piezo sounder's second and third harmonics, relative to its fundamental.
_SOUNDER = ((1, 1.0), (2, 0.25), (3, 0.15))
_NOTE_A4 = 440.0


def silence(seconds: float) -> Audio:
    """Digital silence."""
    return np.zeros(round(seconds * RATE), dtype=np.float32)


def tone(seconds: float, frequency: float, waveform: Waveform = "sine") -> Audio:
    """A steady tone of Hz; harmonics above 8 kHz are left out, as a microphone's filter does."""
    time = np.arange(round(seconds * RATE)) / RATE
    if waveform == "square":
        partials: Sequence[tuple[int, float]] = [(k, 1 / k) for k in range(1, 40, 2)]
    else:
        partials = _SOUNDER if waveform == "sounder" else ((1, 1.0),)
    wave = np.zeros(time.size)
    for number, amplitude in partials:
        if number * frequency < RATE / 2:
            wave += amplitude * np.sin(2 * np.pi * number * frequency * time)
    peak = float(np.max(np.abs(wave), initial=0.0))
    return (wave / peak if peak else wave).astype(np.float32)


def beeps(
    seconds: float,
    frequency: float,
    pattern: Sequence[tuple[float, float]],
    *,
    waveform: Waveform = "sounder",
    missing: Sequence[int] = (),
    start: float = 0.0,
    amplitude: float = 0.5,
    ramp: float = 0.005,
) -> Audio:
    """A tone keyed by a repeated pattern of (on, off) seconds.

    `missing` are indices, from the first beep on, of beeps that stay silent; `start`
    below zero joins the pattern when it has already begun;
    `ramp` is the rise and fall of each beep in seconds.
    """
    if not pattern or any(on < 0 or off < 0 for on, off in pattern):
        raise ValueError(
            "a pattern needs at least one pair of seconds, none below zero"
        )
    if sum(on + off for on, off in pattern) <= 0:
        raise ValueError("a pattern must last longer than zero seconds")
    gate = np.zeros(round(seconds * RATE), dtype=np.float32)
    at, beep = start, 0
    while at < seconds:
        on, off = pattern[beep % len(pattern)]
        if beep not in missing:
            gate[max(0, round(at * RATE)) : max(0, round((at + on) * RATE))] = 1
        at, beep = at + on + off, beep + 1
    length = max(1, round(ramp * RATE))
    gate = np.convolve(gate, np.full(length, 1 / length, dtype=np.float32))[: gate.size]
    return (amplitude * gate * tone(seconds, frequency, waveform)).astype(np.float32)


def t3(
    seconds: float,
    frequency: float = 3100.0,
    *,
    on: float = 0.5,
    off: float = 0.5,
    pause: float = 1.5,
    drift: float = 0.0,
    missing: Sequence[int] = (),
    start: float = 0.0,
    amplitude: float = 0.5,
    ramp: float = 0.005,
) -> Audio:
    """ISO 8201's evacuation signal: three beeps, then a pause; smoke alarms.

    `pause` is from the end of the third beep to the next group. `drift` is the
    sounder's clock error (0.02 is 2 % slow). Below 1 kHz the tone is a square
    wave, as the 520 Hz sounders for sleeping areas are.
    """
    slow = 1 + drift
    pattern = [(on * slow, off * slow)] * 2 + [(on * slow, pause * slow)]
    return beeps(
        seconds,
        frequency,
        pattern,
        waveform="square" if frequency < 1000 else "sounder",
        missing=missing,
        start=start,
        amplitude=amplitude,
        ramp=ramp,
    )


def t4(
    seconds: float,
    frequency: float = 3100.0,
    *,
    on: float = 0.1,
    off: float = 0.1,
    pause: float = 5.0,
    drift: float = 0.0,
    missing: Sequence[int] = (),
    start: float = 0.0,
    amplitude: float = 0.5,
    ramp: float = 0.005,
) -> Audio:
    """The carbon-monoxide signal: four short beeps, then about five seconds; otherwise as `t3`."""
    slow = 1 + drift
    pattern = [(on * slow, off * slow)] * 3 + [(on * slow, pause * slow)]
    return beeps(
        seconds,
        frequency,
        pattern,
        waveform="square" if frequency < 1000 else "sounder",
        missing=missing,
        start=start,
        amplitude=amplitude,
        ramp=ramp,
    )


def low_battery_chirp(
    seconds: float,
    frequency: float = 3100.0,
    *,
    every: float = 40.0,
    start: float = 1.0,
) -> Audio:
    """An alarm that asks for a battery: one short beep every so many seconds."""
    return beeps(seconds, frequency, [(0.08, every - 0.08)], start=start)


def reversing_beeper(
    seconds: float, frequency: float = 2800.0, *, start: float = 0.0
) -> Audio:
    """A lorry that reverses: half a second on, half a second off, without a pause."""
    return beeps(seconds, frequency, [(0.5, 0.5)], start=start)


def microwave(
    seconds: float, frequency: float = 2050.0, *, start: float = 1.0
) -> Audio:
    """A microwave oven: five long beeps when done, again a minute later."""
    pattern = [(0.6, 0.4)] * 4 + [(0.6, 55.4)]
    return beeps(seconds, frequency, pattern, waveform="square", start=start)


def kitchen_timer(
    seconds: float, frequency: float = 2700.0, *, start: float = 0.0
) -> Audio:
    """A kitchen timer or alarm clock: four quick beeps every second."""
    pattern = [(0.06, 0.07)] * 3 + [(0.06, 0.55)]
    return beeps(seconds, frequency, pattern, start=start)


def phone_ring(seconds: float, *, start: float = 0.0) -> Audio:
    """A telephone: a warble between two tones, two seconds of every six."""
    gate = beeps(
        seconds, 1.0, [(2.0, 4.0)], start=start, amplitude=1.0, waveform="sine"
    )
    time = np.arange(gate.size) / RATE
    first = np.sin(2 * np.pi * 1320 * time)
    second = np.sin(2 * np.pi * 1100 * time)
    ringing = ((time - start) % 6.0 < 2.0) & (time >= start)
    warble = np.where((time * 20).astype(int) % 2 == 0, first, second)
    return (0.4 * ringing * warble).astype(np.float32)


def noise(
    seconds: float, colour: Colour = "pink", *, seed: int = 0, rms: float = 0.05
) -> Audio:
    """White, pink (falling 3 dB an octave) or brown (6 dB) noise of the given RMS, clipped to 1."""
    samples = round(seconds * RATE)
    if not samples:
        return silence(0)
    white = np.random.default_rng(seed).standard_normal(samples)
    exponent = {"white": 0.0, "pink": 0.5, "brown": 1.0}[colour]
    # 20 Hz bounds the slope: below it no microphone hears and brown noise would be all of it.
    frequencies = np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 20.0)
    wave = np.fft.irfft(np.fft.rfft(white) / frequencies**exponent, samples)
    return _scaled(wave, rms)


def household(seconds: float, *, seed: int = 0, rms: float = 0.02) -> Audio:
    """A room at home: mains hum, a fan's rush, and now and then a knock of something put down."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    hum = sum(
        amplitude * np.sin(2 * np.pi * 50 * k * time + rng.uniform(0, 6.28))
        for k, amplitude in ((1, 1.0), (2, 0.6), (3, 0.3), (4, 0.2))
    )
    wave = (
        0.3 * np.asarray(hum)
        + noise(seconds, "pink", seed=seed, rms=1.0).astype(np.float64) * 3
    )
    for at in rng.uniform(0, seconds, size=rng.poisson(seconds / 4)):
        begin = int(at * RATE)
        knock = rng.standard_normal(min(RATE // 8, wave.size - begin))
        decay = np.exp(-np.arange(knock.size) / (0.015 * RATE))
        wave[begin : begin + knock.size] += 4 * np.convolve(
            knock * decay, np.ones(8) / 4, "same"
        )
    return _scaled(wave, rms)


def music(seconds: float, *, seed: int = 0, rms: float = 0.1) -> Audio:
    """Simple music: chords, a bass, a melody and a beat, in a key, tempo and timbre by seed."""
    rng = np.random.default_rng(seed)
    beat = 60 / rng.uniform(70, 150)
    key = int(rng.integers(-9, 6))
    brightness = rng.uniform(0.3, 0.9)
    chords = [(0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14)]
    scale = np.array([0, 2, 4, 7, 9, 12, 14, 16])
    wave = np.zeros(round(seconds * RATE))
    for number in range(int(seconds / beat) + 1):
        chord = chords[(number // 4) % 4]
        at = number * beat
        if number % 4 == 0:
            for interval in chord:
                _add_note(wave, at, 4 * beat, key + interval - 12, 0.25, brightness)
        _add_note(wave, at, beat, key + chord[0] - 24, 0.4, 0.3)
        for half in range(int(rng.integers(1, 3))):
            step = int(rng.choice(scale))
            _add_note(
                wave, at + half * beat / 2, beat * 0.7, key + step, 0.35, brightness
            )
        _add_drum(wave, at, rng, snare=number % 2 == 1)
    return _scaled(wave, rms)


def room(signal: Audio, rt60: float, *, seed: int = 0, direct: float = 0.7) -> Audio:
    """The signal in a room whose sound falls by 60 dB in `rt60` seconds.

    A stand-in of decaying noise after the direct sound, whose share of the
    energy `direct` is. `rt60` 0 returns the signal. Peak is kept below 1.
    """
    if rt60 <= 0 or not signal.size:
        return signal.copy()
    length = round(rt60 * RATE)
    decay = 10 ** (-3 * np.arange(length) / length)
    tail = np.random.default_rng(seed).standard_normal(length) * decay
    tail[: RATE // 200] = 0
    tail *= np.sqrt((1 - direct) / max(float(np.sum(tail**2)), 1e-12))
    tail[0] = np.sqrt(direct)
    size = signal.size + length
    wave = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(tail, size), size)[
        : signal.size
    ]
    return _below_one(wave)


def mix(signal: Audio, background: Audio, snr_db: float) -> Audio:
    """The signal over a background that is repeated or cut to its length.

    The ratio is between the RMS of the signal where it sounds (its loudest
    tenths of a second, so that pauses do not count) and the background's RMS.
    """
    if not signal.size or not background.size:
        return signal.copy()
    under = np.resize(background, signal.size).astype(np.float64)
    level = float(np.sqrt(np.mean(under**2)))
    if level == 0:
        return signal.copy()
    return _below_one(
        signal + under * (loudness(signal) / level) * 10 ** (-snr_db / 20)
    )


def loudness(signal: Audio) -> float:
    """RMS where the signal sounds: of those 0.1 s within 20 dB of the loudest one."""
    step = RATE // 10
    padded = np.pad(signal.astype(np.float64), (0, -signal.size % step)).reshape(
        -1, step
    )
    power = np.mean(padded**2, axis=1)
    sounding = power[power >= 0.01 * np.max(power, initial=0.0)]
    return float(np.sqrt(np.mean(sounding))) if sounding.size else 0.0


def pcm(signal: Audio) -> npt.NDArray[np.int16]:
    """Float samples as the 16-bit ones of a stream."""
    return np.round(np.clip(signal, -1, 1) * 32767).astype(np.int16)


def _add_note(
    wave: npt.NDArray[np.float64],
    at: float,
    seconds: float,
    semitones: int,
    amplitude: float,
    brightness: float,
) -> None:
    begin = round(at * RATE)
    size = min(round(seconds * RATE), wave.size - begin)
    if size <= 0:
        return
    time = np.arange(size) / RATE
    frequency = _NOTE_A4 * 2 ** (semitones / 12)
    envelope = np.minimum(time / 0.01, 1) * np.exp(-2.5 * time / seconds)
    for partial in range(1, 7):
        if partial * frequency < RATE / 2:
            strength = amplitude * brightness ** (partial - 1)
            wave[begin : begin + size] += (
                strength * envelope * np.sin(2 * np.pi * partial * frequency * time)
            )


def _add_drum(
    wave: npt.NDArray[np.float64], at: float, rng: np.random.Generator, *, snare: bool
) -> None:
    begin = round(at * RATE)
    size = min(RATE // 5, wave.size - begin)
    if size <= 0:
        return
    time = np.arange(size) / RATE
    if snare:
        hit = 0.3 * rng.standard_normal(size) * np.exp(-time / 0.04)
    else:
        hit = (
            0.8
            * np.sin(2 * np.pi * (50 * time + 3 * (1 - np.exp(-time / 0.02))))
            * np.exp(-time / 0.08)
        )
    wave[begin : begin + size] += hit


def _scaled(wave: npt.NDArray[np.float64], rms: float) -> Audio:
    level = float(np.sqrt(np.mean(wave**2))) if wave.size else 0.0
    return np.clip(wave * (rms / level) if level else wave, -1, 1).astype(np.float32)


def _below_one(wave: npt.NDArray[np.float64]) -> Audio:
    peak = float(np.max(np.abs(wave), initial=0.0))
    return (wave / peak if peak > 1 else wave).astype(np.float32)
