"""PCM in, features out."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Hz; the one rate on the wire and in every engine."""

Pcm: TypeAlias = npt.NDArray[np.int16]
"""Samples of 16-bit signed audio, (samples,), 16 kHz mono."""
