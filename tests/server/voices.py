"""Speech made on the spot by Debian's synthesiser: 16 kHz mono PCM."""

from __future__ import annotations

from functools import cache
from pathlib import Path
import subprocess
import tempfile

import numpy as np
import soundfile
import soxr

from model_server.audio import SAMPLE_RATE, Pcm


@cache
def say(text: str, voice: str = "slt") -> Pcm:
    """A sentence as flite says it, (samples,); voices slt, rms, awb, kal16."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        subprocess.run(
            ["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True
        )
        audio, rate = soundfile.read(path, dtype="float32")
    scaled = soxr.resample(audio, rate, SAMPLE_RATE) * 32767
    return np.asarray(np.clip(scaled, -32768, 32767), np.int16)


def silence(seconds: float) -> Pcm:
    """Digital silence."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)
