"""What was said in a home by pocketsphinx, where the better network is not installed."""

from __future__ import annotations

from dataclasses import dataclass

from model_server.engines.base import Hypothesis, Pcm, Recognition

from .cleaning import clean
from .decoder import GrammarDecoder
from .home import Home
from .opposites import Opposition, oppose, opposes
from .rejection import (
    ACCEPTED,
    ACCEPTED_IN_NOISE,
    POSSIBLE,
    Evidence,
    confidence,
    weigh,
)
from .sentences import DECLINING
from .trim import dither, loudness, trim


class PhoneticEar:
    """Hears one home's sentences by their phones."""

    def __init__(self, home: Home) -> None:
        """Load the acoustic model and the home; half a second."""
        self._decoder = GrammarDecoder(home)

    def recognize(self, pcm: Pcm) -> Recognition:
        """Recognise one utterance, (samples,)."""
        finding = look(self._decoder, pcm)
        if finding is None:
            return Recognition(text="", confidence=0.0, rejected="silence")
        return judge(finding)


@dataclass(frozen=True)
class Finding:
    """What was found in an utterance, before anybody decides about it.

    `noisy`: speech hardly stood out. `opposites` is how surely its on or off was heard,
    None without such a word.
    """

    text: str
    evidence: Evidence | None
    noisy: bool
    opposites: Opposition | None = None


def look(decoder: GrammarDecoder, pcm: Pcm) -> Finding | None:
    """Find the best sentence in an utterance, and what speaks for it; None in silence."""
    cleaned = clean(pcm)
    noisy = cleaned is not pcm
    speech = trim(cleaned)
    if not len(speech):
        return None
    speech = dither(speech)
    path = decoder.decode(speech)
    if not path.words:
        return Finding("", None, noisy)
    found = weigh(path, decoder.phones(speech), loudness(speech))
    if confidence(found) < POSSIBLE or not opposes(decoder, path):
        return Finding(path.text, found, noisy)
    return Finding(path.text, found, noisy, oppose(decoder, path, speech))


def judge(finding: Finding) -> Recognition:
    """Accept a finding, or say that it is no command, and which it might have been.

    A house that does nothing is asked again; one that does the opposite is not
    forgiven. So a thin margin between on and off is no command either.
    """
    if finding.evidence is None:
        return Recognition(text="", confidence=0.0, rejected="no_command")
    sure = confidence(finding.evidence)
    unsure = finding.opposites is not None and not finding.opposites.settled(sure)
    if unsure or sure < POSSIBLE:
        return Recognition(text="", confidence=sure, rejected="no_command")
    # To decline does nothing, so it may be less sure.
    needed = ACCEPTED_IN_NOISE if finding.noisy else ACCEPTED
    if sure < needed and finding.text not in DECLINING:
        perhaps = Hypothesis(finding.text, sure)
        return Recognition("", sure, alternatives=(perhaps,), rejected="no_command")
    return Recognition(text=finding.text, confidence=sure)
