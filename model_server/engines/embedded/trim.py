"""The part of an utterance that is speech, with a little quiet around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_server.audio.vad import SileroVoice
from model_server.engines.base import Pcm

_RATE = 16_000
_HOP = _RATE // 100
_WINDOW = 400
_MARGIN = int(0.25 * _RATE)

_SPEECH = 0.4
_SHORTEST = 8
"""Loud frames, 80 ms, below which nothing was said."""

# Soft consonants score low as voice: so many frames before the first voice may be speech.
# From there loudness decides: this share of the way from the background to the loudest,
# but at least as many dB above the background.
_BEFORE = 15
_SHARE = 0.3
_ABOVE_DB = 6.0


def trim(pcm: Pcm) -> Pcm:
    """Cut an utterance, (samples,), to its speech and 0.25 s around; empty if none.

    Long quiet at the ends costs a grammar its short words: its last word would
    stretch over it.
    """
    speech = speech_in(pcm)
    return np.empty(0, np.int16) if speech is None else cut(pcm, speech, _MARGIN)


def cut(pcm: Pcm, speech: tuple[int, int], margin: int) -> Pcm:
    """Cut an utterance to what lies between two samples, and a margin of samples around."""
    start, end = speech
    return pcm[max(0, start - margin) : end + margin]


def speech_in(pcm: Pcm) -> tuple[int, int] | None:
    """Return between which samples of an utterance, (samples,), somebody speaks."""
    first = _first_voice(pcm)
    if first is None:
        return None
    levels = loudness(pcm)
    low, high = np.percentile(levels, (10, 95))
    loud = levels > low + max(_ABOVE_DB, _SHARE * (high - low))
    loud[: max(0, first - _BEFORE)] = False
    frames = np.flatnonzero(loud)
    if len(frames) < _SHORTEST:
        return None
    middle = _WINDOW // 2
    return int(frames[0]) * _HOP + middle, int(frames[-1]) * _HOP + middle


def dither(pcm: Pcm) -> Pcm:
    """Add the least noise there is, always the same: digital silence has no logarithm."""
    noise = np.random.default_rng(0).integers(-1, 2, len(pcm))
    return np.asarray(np.clip(pcm + noise, -32768, 32767), np.int16)


def loudness(pcm: Pcm) -> npt.NDArray[np.float64]:
    """Level of 190 Hz to 4 kHz in dB, (frames,), 10 ms apart, smoothed over 50 ms."""
    levels: npt.NDArray[np.float64] = band_levels(pcm, ((190, 4000),))[0]
    if len(levels) < 5:
        return levels
    smooth: npt.NDArray[np.float64] = np.convolve(levels, np.full(5, 0.2), "same")
    return smooth


def clearness(levels: npt.NDArray[np.float64]) -> float:
    """How far the loudest stands out of the background, in dB."""
    low, high = np.percentile(levels, (10, 95))
    return float(high - low)


def band_levels(
    pcm: Pcm, bands: tuple[tuple[int, int], ...]
) -> npt.NDArray[np.float64]:
    """Levels of frequency bands (Hz) in dB, (bands, frames); frames of 25 ms."""
    frames = max(0, (len(pcm) - _WINDOW) // _HOP + 1)
    starts = _HOP * np.arange(frames)[:, None]
    windowed = pcm[starts + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(windowed, 512)) ** 2
    bins = [(low * 512 // _RATE, high * 512 // _RATE) for low, high in bands]
    return np.array(
        [10 * np.log10(power[:, low:high].sum(axis=1) + 1) for low, high in bins]
    )


def _first_voice(pcm: Pcm) -> int | None:
    """The frame with which somebody begins to speak; None if nobody does.

    Voice activity takes most of the time of a trim, so it is asked no further.
    """
    voice = SileroVoice()
    for start in range(0, len(pcm) - voice.chunk + 1, voice.chunk):
        if voice(pcm[start : start + voice.chunk]) >= _SPEECH:
            return start // _HOP
    return None
