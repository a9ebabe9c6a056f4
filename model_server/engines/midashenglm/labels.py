"""How sure the model is of each sound label, without a word being written.

Every label's name is scored as the answer to "Which labels describe the sound?", all in
one forward over the clip's keys and values. A name's mean log-probability per token
says how common the name is, above all; so the same is measured once on silence, and
what counts is how much a clip raises it (contextual calibration; Zhao and others,
arXiv 2102.09690).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE

WINDOW: Final = 4 * SAMPLE_RATE
"""Samples of a window: 20 tokens. The model learnt from clips of about 10 s, and two
seconds of them tell it little; in ten a bark is lost, and an end is noticed late."""
HOP: Final = SAMPLE_RATE
"""Each second is heard four times, which is what `k` of `n` in `sounds.yaml` need."""

MIDDLE: Final = 1.0
"""Nats per token by which a clip makes a name likelier, for a score of 0.5."""
SLOPE: Final = 2.0
"""Steepness of the score there, per nat: half a nat more gives 0.73. This and MIDDLE
are not measured: that takes the real weights and real sounds."""


def scores(found: Sequence[float], prior: Sequence[float]) -> npt.NDArray[np.float32]:
    """Scores from 0 to 1 of mean log-probabilities, against those of silence."""
    raised = np.asarray(found, np.float64) - np.asarray(prior, np.float64)
    return np.asarray(1 / (1 + np.exp(-SLOPE * (raised - MIDDLE))), np.float32)
