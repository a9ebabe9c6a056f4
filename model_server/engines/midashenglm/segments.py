"""Long audio in pieces that the model was made for, cut where nobody speaks."""

from __future__ import annotations

from typing import Final

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm

LONGEST_S: Final = 30.0
"""Seconds of one piece: the longest audio that the technical report (arXiv 2508.03983)
measures speech recognition with; a user saw text go in circles after 3.5 minutes
(xiaomi-research/dasheng-lm, issue 20)."""
EARLIEST_S: Final = 15.0
"""A piece is cut in its second half: fewer cuts, fewer words at an edge."""
_FRAME: Final = SAMPLE_RATE // 50
_PAUSE: Final = 15
"""Frames of 20 ms, 0.3 s: what is quiet for so long is between words, not inside one."""


def cut(pcm: Pcm, longest_s: float = LONGEST_S) -> list[slice]:
    """Pieces of at most `longest_s` that together are all samples, (samples,).

    A cut is the middle of the quietest 0.3 s in the second half of what may still
    be taken.
    """
    longest = round(longest_s * SAMPLE_RATE)
    earliest = round(longest_s * EARLIEST_S / LONGEST_S * SAMPLE_RATE)
    pieces = []
    start = 0
    while pcm.size - start > longest:
        stop = start + earliest + quietest(pcm[start + earliest : start + longest])
        pieces.append(slice(start, stop))
        start = stop
    return [*pieces, slice(start, pcm.size)]


def quietest(pcm: Pcm) -> int:
    """The sample in the middle of the quietest 0.3 s, (samples,) with 0.3 s or more."""
    frames = pcm.size // _FRAME
    squares = pcm[: frames * _FRAME].astype(np.float64).reshape(frames, _FRAME) ** 2
    energy = np.concatenate([[0.0], np.cumsum(squares.sum(axis=1))])
    span = min(_PAUSE, frames)
    return int((np.argmin(energy[span:] - energy[:-span]) + span / 2) * _FRAME)
