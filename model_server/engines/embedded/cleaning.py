"""Steady noise is taken out of an utterance in which speech hardly stands out."""

from __future__ import annotations

import numpy as np
from pyspeex_noise import AudioProcessor

from model_server.engines.base import Pcm

from .trim import clearness, loudness

# Of 258 commands over a household 12 dB below, 173 are found as they are and 205 cleaned;
# 20 dB below, cleaning costs five of 231. The least difference of levels at 20 dB is 24 dB
# for nearly all, the greatest at 12 dB 21 dB.
_CLEAR_DB = 22.0
_SUPPRESSION_DB = -12
_STEP = 160
_LEAD = 9600
"""Samples, 0.6 s: an utterance's pre-roll, from which the background is learnt first."""


def clean(pcm: Pcm) -> Pcm:
    """Return an utterance, (samples,), with less noise if it is noisy, else itself."""
    levels = loudness(pcm)
    if not len(levels) or clearness(levels) >= _CLEAR_DB:
        return pcm
    processor = AudioProcessor(auto_gain=0, noise_suppression=_SUPPRESSION_DB)
    padded = np.concatenate([pcm, np.zeros(-len(pcm) % _STEP, np.int16)])
    steps = [padded[at : at + _STEP].tobytes() for at in range(0, len(padded), _STEP)]
    for step in steps[: _LEAD // _STEP]:
        processor.process_10ms(step)
    cleaned = b"".join(processor.process_10ms(step) for step in steps)
    return np.frombuffer(cleaned, np.int16)[: len(pcm)]
