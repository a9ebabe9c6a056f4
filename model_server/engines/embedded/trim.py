"""The part of an utterance that is speech, with a little quiet around it."""

from __future__ import annotations

import numpy as np
from pymicro_vad import MicroVad

from model_server.engines.base import Pcm

_RATE = 16_000
_FRAME = _RATE // 100
_SPEECH = 0.5
_SHORTEST = 10
"""Frames of speech, 0.1 s, below which nothing was said."""

# The detector needs about 0.1 s to be sure that somebody began.
_BEFORE = 0.35
_AFTER = 0.25


def trim(pcm: Pcm) -> Pcm:
    """Cut an utterance, (samples,), to its speech; empty if there is none.

    Quiet at the ends costs a grammar its short words: they find room there.
    """
    detector = MicroVad()
    frames = len(pcm) // _FRAME
    speech = [
        frame
        for frame in range(frames)
        if detector.process_10ms(pcm[frame * _FRAME : (frame + 1) * _FRAME].tobytes())
        > _SPEECH
    ]
    if len(speech) < _SHORTEST:
        return np.empty(0, np.int16)
    start = max(0, speech[0] * _FRAME - int(_BEFORE * _RATE))
    end = (speech[-1] + 1) * _FRAME + int(_AFTER * _RATE)
    return pcm[start:end]
