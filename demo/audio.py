"""The sounds of the scenes: Debian's synthesisers speak, the repository's generator sounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import io
from pathlib import Path
import subprocess
import tempfile
from typing import Literal

import numpy as np
import soundfile
import soxr

from demo.air import RATE, Audio
from model_server.evaluation import synthesis

_SPEECH_PEAK = 0.35
_SPEAK_S = 30


class AudioError(RuntimeError):
    """A sound could not be made or read; the message says what to do."""


@dataclass(frozen=True)
class Voice:
    """A voice of one of Debian's two small synthesisers."""

    program: Literal["espeak-ng", "flite"]
    name: str

    def __str__(self) -> str:
        """Name program and voice."""
        return f"{self.program} {self.name}"


VOICES = (
    Voice("flite", "slt"),
    Voice("espeak-ng", "en-us+f2"),
    Voice("flite", "rms"),
    Voice("flite", "kal16"),
)


def household(seconds: float = 61.0) -> Audio:
    """A quiet home's noise, which lies under everything: about -54 dBFS.

    It is longer than the server looks back for sound that repeats.
    """
    return synthesis.household(seconds, seed=2, rms=0.002)


def read(path: Path) -> Audio:
    """Read a recording as 16 kHz mono. Raises AudioError."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"cannot read {path.name}: {error}") from error
    return resampled(samples.mean(axis=1), rate)


def resampled(samples: Audio, rate: int) -> Audio:
    """Bring mono samples to 16 kHz."""
    if rate == RATE:
        return samples
    return np.asarray(soxr.resample(samples, rate, RATE), dtype=np.float32)


def speak(text: str, voice: Voice) -> Audio:
    """Speak a sentence; the first and last samples are speech. Raises AudioError."""
    with tempfile.TemporaryDirectory(prefix="earshot-voice-") as folder:
        spoken = Path(folder) / "spoken.wav"
        if voice.program == "flite":
            command = ["flite", "-voice", voice.name, "-t", text, "-o", str(spoken)]
        else:
            command = ["espeak-ng", "-v", voice.name, "-w", str(spoken), text]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_SPEAK_S)
        except FileNotFoundError as error:
            raise AudioError(
                f"{voice.program} is not installed: run scripts/setup --demo"
            ) from error
        except subprocess.SubprocessError as error:
            raise AudioError(f"{voice} cannot speak: {error}") from error
        samples, rate = soundfile.read(io.BytesIO(spoken.read_bytes()), dtype="float32")
    return loud(trimmed(resampled(samples, rate)), _SPEECH_PEAK)


def trimmed(audio: Audio) -> Audio:
    """Cut what is 40 dB and more below the peak from both ends."""
    sounding = np.flatnonzero(np.abs(audio) > 0.01 * np.max(np.abs(audio), initial=0.0))
    return audio[sounding[0] : sounding[-1] + 1] if sounding.size else audio


def loud(audio: Audio, peak: float) -> Audio:
    """Scale to a peak."""
    highest = float(np.max(np.abs(audio), initial=0.0))
    return (audio * (peak / highest)).astype(np.float32) if highest else audio


def smoke_alarm(seconds: float = 14.0) -> Audio:
    """A smoke alarm's T3 in a room, over the noise of a busy household."""
    return _in_a_busy_room(synthesis.t3(seconds, amplitude=0.6))


def co_alarm(seconds: float = 20.0) -> Audio:
    """A carbon monoxide alarm's T4 in a room, over the noise of a busy household."""
    return _in_a_busy_room(synthesis.t4(seconds, amplitude=0.6))


def _in_a_busy_room(alarm: Audio) -> Audio:
    noise = synthesis.household(alarm.size / RATE, seed=5, rms=0.02)
    return synthesis.mix(synthesis.room(alarm, 0.4, seed=3), noise, 15)


def talk(sentences: tuple[str, ...]) -> Audio:
    """Two voices that talk with each other, with half a second between their sentences."""
    return one_after_the_other(
        [
            speak(sentence, VOICES[number % len(VOICES)])
            for number, sentence in enumerate(sentences)
        ]
    )


def one_after_the_other(sounds: Sequence[Audio]) -> Audio:
    """Join sounds, with half a second of silence between them."""
    pause = np.zeros(RATE // 2, dtype=np.float32)
    parts = [part for sound in sounds for part in (sound, pause)]
    return np.concatenate(parts[:-1])


def music(seconds: float = 10.0) -> Audio:
    """A piece of simple music."""
    return synthesis.music(seconds, seed=4, rms=0.08)


def noise(seconds: float = 10.0) -> Audio:
    """A vacuum cleaner's kind of noise."""
    return synthesis.noise(seconds, "pink", seed=6, rms=0.05)
