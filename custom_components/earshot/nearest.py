"""One sentence that several microphones heard: the nearest of them is obeyed, once."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from homeassistant.core import HomeAssistant, callback

from .client import Transcript
from .confirm import Question, answer, plain

WAIT_S = 0.1
"""So long what was heard first waits for a better microphone: the limit of what feels
instantaneous (Nielsen, Usability Engineering, 1993, chapter 5)."""

APART = timedelta(seconds=1)
"""Microphones tell times that differ by what their cameras and networks delay."""

KEEP_S = 120.0
"""A stream that was away may tell so late of what another microphone was obeyed for."""
MOST = 100


@dataclass(frozen=True)
class Heard:
    """What one microphone heard; `outdoor`: anybody may have said it."""

    microphone: str
    transcript: Transcript
    outdoor: bool
    question: Question

    @property
    def level(self) -> float | None:
        """Return how loud it was."""
        return self.transcript.level_dbfs


@dataclass
class Sentence:
    """Something said once, and who heard it; who is chosen stays it once settled."""

    text: str
    until: float
    heard: list[Heard]
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    chosen: Heard | None = None
    settled: bool = False


class Nearest:
    """Chooses among the microphones of one server; `listeners` are those that hear."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Start with nothing said."""
        self._hass = hass
        self._sentences: deque[Sentence] = deque(maxlen=MOST)
        self.listeners: Final[set[str]] = set()

    @callback
    def hear(self, heard: Heard) -> Sentence:
        """Take what a microphone heard, in the order of its sentences."""
        now = self._hass.loop.time()
        while self._sentences and self._sentences[0].until + KEEP_S < now:
            self._sentences.popleft()
        sentence = self._same(heard)
        if sentence is None:
            sentence = Sentence(plain(heard.transcript.text), now + WAIT_S, [])
            self._sentences.append(sentence)
        sentence.heard.append(heard)
        told = {each.microphone for each in sentence.heard}
        if self.listeners <= told:
            sentence.complete.set()
        if (chosen := sentence.chosen) is not None and _outside(sentence.heard):
            # It came too late to be asked, and now it seems to be a stranger's.
            chosen.question.withdraw(chosen.transcript)
        return sentence

    async def async_chosen(self, sentence: Sentence, heard: Heard) -> bool:
        """Tell whether this microphone is to be obeyed; waits for others, but not long."""
        loop = self._hass.loop
        if not sentence.settled and loop.time() < sentence.until:
            try:
                async with asyncio.timeout_at(sentence.until):
                    await sentence.complete.wait()
            except TimeoutError:
                pass
        if not sentence.settled:
            chosen = sentence.chosen = _choose(self._hass, sentence.heard)
            # An answer that nobody had asked for led to nothing: who asked may be late.
            sentence.settled = answer(
                chosen.transcript
            ) is None or chosen.question.fits(self._hass, chosen.transcript)
        return sentence.chosen is heard

    def _same(self, heard: Heard) -> Sentence | None:
        """Return the sentence that another microphone heard, nearest in time."""
        text = plain(heard.transcript.text)
        same = [
            (apart, sentence)
            for sentence in self._sentences
            if sentence.text == text
            and all(each.microphone != heard.microphone for each in sentence.heard)
            and (apart := _apart(sentence.heard[0].transcript, heard.transcript))
            is not None
        ]
        return min(same, key=lambda each: each[0])[1] if same else None


def _apart(one: Transcript, other: Transcript) -> timedelta | None:
    """Return how far the beginnings are apart; None if both cannot be the same."""
    gap = max(one.start, other.start) - min(one.end, other.end)
    return None if gap > APART else abs(one.start - other.start)


def _loudness(heard: Heard) -> float:
    """Return what the best microphone has most of."""
    return float("-inf") if heard.level is None else heard.level


def _outside(all_heard: list[Heard]) -> bool:
    """Tell whether it may have been said outdoors; where that is unclear, it may."""
    out = [each.level for each in all_heard if each.outdoor]
    inside = max(
        (_loudness(each) for each in all_heard if not each.outdoor),
        default=float("-inf"),
    )
    return any(level is None or level >= inside for level in out)


def _choose(hass: HomeAssistant, all_heard: list[Heard]) -> Heard:
    """Return who is obeyed: the loudest, but an answer is for who asked.

    What may have been said outdoors has no rights but those of outdoors, and is no
    answer.
    """
    inside = [each for each in all_heard if not each.outdoor]
    if not inside or _outside(all_heard):
        return max((each for each in all_heard if each.outdoor), key=_loudness)
    if answer(all_heard[0].transcript) is not None:
        asked = [each for each in inside if each.question.fits(hass, each.transcript)]
        inside = asked or inside
    return max(inside, key=_loudness)
