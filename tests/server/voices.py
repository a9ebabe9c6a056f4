"""Speech made on the spot by Debian's synthesiser: 16 kHz mono PCM."""

from __future__ import annotations

from functools import cache
import io
import subprocess

import numpy as np
import soundfile
import soxr

from model_server.audio import SAMPLE_RATE, Pcm


@cache
def say(text: str, voice: str = "en-us", speed: int = 150) -> Pcm:
    """espeak-ng's rendering of a sentence, (samples,)."""
    wav = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", text],
        check=True,
        capture_output=True,
    ).stdout
    audio, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    scaled = soxr.resample(audio, rate, SAMPLE_RATE) * 32767
    return np.asarray(np.clip(scaled, -32768, 32767), np.int16)


def silence(seconds: float) -> Pcm:
    """Digital silence."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)
