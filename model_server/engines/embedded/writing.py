"""What was said in a home, by a network that may only write sentences of its grammar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import takewhile
import math
import re

import numpy as np
import numpy.typing as npt

from model_server.audio import SAMPLE_RATE
from model_server.engines.base import Hypothesis, Pcm, Recognition

from .decoder import GrammarDecoder
from .grammar import Grammar
from .home import Home
from .moonshine import FIRST, LAST, Moonshine, Writing
from .network import OPEN
from .opposites import LOCK_MARGIN, OPPOSITE
from .rejection import POSSIBLE, probability
from .spelling import Places, Spelling, letters
from .trim import cut, dither, speech_in, trim

_BEAM = 8
"""Texts that grow side by side."""

_TRIED = 256
"""The likeliest tokens after each text that are tried; hardly ever is the true one later."""

_LONGEST_S = 10
"""Who speaks longer gives no command."""

_TWINS = 2
"""Texts that have come to the same place in the grammar, and differ in their spelling."""

_QUIET = SAMPLE_RATE // 2
"""Samples of silence on either side: without them short sentences are hardly understood."""

_MARGINS = (SAMPLE_RATE // 2, SAMPLE_RATE // 4)
"""Samples of the room around the speech, as it is heard first, and as it is heard again if
that made no command of it. The network errs by chance: of 258 commands over a household
12 dB below 86 % are found by the first, 91 % by either, at the same false accepts."""

OPPOSITES = OPPOSITE | {"open": "close", "close": "open", "up": "down", "down": "up"}
"""Words that must never be confused."""

_LOCKS = frozenset({"lock", "unlock"})

# What may follow a command and changes nothing: any, one that names a thing, one that
# ends with a lamp.
_POLITE = frozenset({"like", "now", "percent", "please", "right", "today"})
_WHERE = frozenset({"at", "in", "of", "on", "scene", "script"})
_LAMPS = frozenset({"lamp", "lamps", "light", "lights"})

# What Home Assistant understands the same without.
_FUNCTION_WORDS = frozenset(
    {"a", "all", "an", "are", "at", "for", "in", "is", "my", "of", "our", "please"}
    | {"the", "to", "what", "what's"}
)


@dataclass(frozen=True)
class Sentence:
    """A sentence of the grammar: its words, tokens (the last included), log likelihood."""

    words: tuple[str, ...]
    tokens: int
    score: float

    @property
    def text(self) -> str:
        """What was said."""
        return " ".join(self.words).replace(OPEN, "")

    @property
    def known(self) -> str:
        """What was said before the first of any words."""
        return " ".join(takewhile(lambda word: not word.startswith(OPEN), self.words))

    @property
    def own(self) -> frozenset[str]:
        """Its words that are the grammar's own."""
        return frozenset(word for word in self.words if not word.startswith(OPEN))


@dataclass(frozen=True)
class Finding:
    """The likeliest sentence, and what speaks for it, before anybody decides about it.

    `lead` is how much likelier it is than the next that means something else, in nats,
    `opposed` the same for one that differs in a word that must not be confused; `_FAR`
    where there is none. `seconds` is how long somebody spoke, with what is around it.
    """

    best: Sentence
    lead: float
    opposed: float
    seconds: float

    def features(self) -> npt.NDArray[np.float64]:
        """The terms of the confidence, (5,)."""
        score, tokens = self.best.score, self.best.tokens
        return np.array(
            [
                score,
                max(score / tokens, _LEAST_EACH),
                self.lead,
                math.log(tokens),
                math.log(self.seconds),
            ]
        )


_FAR = 8.0

# Fitted by `python -m benchmarks.commands --fit`, which prints these lines.
_BIAS = 1.235
_WEIGHTS = (0.131, 2.260, 0.252, 2.172, -0.085)
ACCEPTED = 0.7
"""Confidence below which an utterance of a listening house is no command."""
_ACCEPTED_OPEN = 0.95
"""The same of a sentence with any words in it: more fits that."""
_MARGIN = 4.0
"""Nats by which on has to be likelier than off: for a recorded "on" off was 3.9 ahead."""
_BEGUN_EACH = -1.0
"""Nats per token from which the beginning of a sentence is shown; talk hardly has it."""
# Nats below which the phones are asked, and what one of theirs weighs: "unlock" is longer
# than "lock", so their phones lie far apart; those of on and off err in one of seven, and
# changed nothing of 180 commands where the network was 6 nats sure.
_PHONES = {
    _LOCKS: (8.0, _MARGIN / LOCK_MARGIN),
    frozenset({"on", "off"}): (6.0, 0.15),
}
# What fits so badly is wrong.
_LEAST, _LEAST_EACH = -25.0, -4.0


class WritingEar:
    """Hears one home's sentences by writing them down."""

    def __init__(self, model: Moonshine, home: Home) -> None:
        """Take the network and the sentences; half a second."""
        self._model = model
        self._spelling = Spelling(home.grammar)
        self._names = tuple(f" {name} " for name in home.names)
        self._own = frozenset(home.own)
        self._phones = GrammarDecoder(home)
        self._letters = _pieces(model)

    def recognize(self, pcm: Pcm) -> Recognition:
        """Recognise one utterance, (samples,)."""
        speech = speech_in(pcm)
        if speech is None:
            return Recognition("", 0.0, rejected="silence")
        said = decide(self.looks(pcm, speech))
        return replace(said, final=self.is_final(said.text)) if said.text else said

    def is_final(self, text: str) -> bool:
        """Tell whether a command means the same whatever else may be said."""
        last = text.rsplit(maxsplit=1)[-1]
        if last[0].isdigit():
            # Twenty … five.
            return False
        same = _POLITE
        if any(name in f" {text} " for name in self._names):
            same |= _WHERE
        if last in _LAMPS:
            same |= _LAMPS
        # In a sentence of the home's own they may mean anything.
        return self._spelling.after(text) <= same - self._own

    def overhear(self, pcm: Pcm) -> str:
        """Return how an utterance begins that goes on, (samples,); nothing if unsure."""
        speech = speech_in(pcm)
        if speech is None or speech[1] - speech[0] > _LONGEST_S * SAMPLE_RATE:
            return ""
        heard = self._listen(cut(pcm, speech, _MARGINS[0]))
        begun = self.sentences(heard, self._spelling, self._spelling.begun)
        if not begun or begun[0].score / begun[0].tokens < _BEGUN_EACH:
            return ""
        best = begun[0]
        # Any words fit any talk, which is told nobody.
        return best.text if _telling(best) else best.known

    def looks(self, pcm: Pcm, speech: tuple[int, int]) -> Iterator[Finding]:
        """Yield what is found between two samples of an utterance, one look after another.

        What is the opposite of what was found before is left out.
        """
        start, end = speech
        if end - start > _LONGEST_S * SAMPLE_RATE:
            return
        first: Finding | None = None
        for margin in _MARGINS:
            finding = self._look(cut(pcm, speech, margin))
            if finding and not (first and _opposed(first.best, finding.best)):
                yield finding
            first = first or finding

    def _look(self, speech: Pcm) -> Finding | None:
        """Find the likeliest sentence in trimmed speech, (samples,), if one fits."""
        heard = self._listen(speech)
        found = self.sentences(heard, self._spelling)
        if not found:
            return None
        best = found[0]
        opposed = [one for one in found if _opposed(one, best)]
        if not opposed:
            # Others have crowded it out, or it is not worth a thought.
            for text in filter(self._spelling.says, _opposites(best)):
                opposed += self.sentences(heard, Spelling(_only(text)))
        gap = _lead(best, opposed)
        if opposed:
            other = max(opposed, key=lambda one: one.score)
            these, those = _apart(best, other)
            unsure, weight = _PHONES.get(these | those, (-math.inf, 0.0))
            if gap < unsure:
                gap += self._ahead(best, other, speech) * weight
                if gap < 0:
                    best, gap = other, -gap
        return Finding(
            best,
            lead=_lead(best, [one for one in found if not _alike(one, best)]),
            opposed=gap,
            seconds=len(speech) / SAMPLE_RATE,
        )

    def _listen(self, speech: Pcm) -> Writing:
        return self._model.listen(dither(np.pad(speech, _QUIET)))

    def _ahead(self, one: Sentence, other: Sentence, speech: Pcm) -> float:
        """Return by how much more the phones speak for one than for the other, in nats.

        The network writes "and lock" for "unlock" readily; the phones tell them apart. Of
        words that nobody told they know nothing.
        """
        words = one.text.split(), other.text.split()
        if not all(self._phones.knows(word) for some in words for word in some):
            return 0.0
        trimmed = trim(speech)
        speech = dither(trimmed if len(trimmed) else speech)
        first, second = (self._phones.align(some, speech).score for some in words)
        # One of them cannot be laid out at all.
        return first - second if math.isfinite(first - second) else 0.0

    def sentences(
        self,
        writing: Writing,
        spelling: Spelling,
        whole_at: Callable[[Places], tuple[str, ...] | None] | None = None,
    ) -> list[Sentence]:
        """Return the sentences that were possibly said, likeliest first.

        `whole_at` tells where a text may end, if not at a sentence's end only.
        """
        ends = whole_at or spelling.whole
        writing.begin()
        texts: list[_Text] = [_Text(0.0, spelling.begin)]
        tokens, after = [FIRST], [0]
        whole: dict[tuple[str, ...], Sentence] = {}
        for length in range(1, writing.longest):
            scores = writing.write(tokens, after)
            for text, row in zip(texts, scores, strict=True):
                if (words := ends(text.places)) is not None:
                    score = text.score + float(row[LAST])
                    if words not in whole or whole[words].score < score:
                        whole[words] = Sentence(words, length, score)
            texts, tokens, after = self._grow(texts, scores, spelling)
            best = max((one.score for one in whole.values()), default=-math.inf)
            if not texts or texts[0].score < max(best, _LEAST) - _FAR:
                break
        return sorted(whole.values(), key=lambda one: -one.score)

    def _grow(
        self, texts: list[_Text], scores: npt.NDArray[np.float32], spelling: Spelling
    ) -> tuple[list[_Text], list[int], list[int]]:
        """Return the likeliest texts of one token more, these tokens, and after which."""
        grown = []
        for number, (text, row) in enumerate(zip(texts, scores, strict=True)):
            follows = spelling.follows(text.places)
            found = 0
            likely = np.argpartition(-row, _TRIED)[:_TRIED]
            for token in likely[np.argsort(-row[likely])].tolist():
                piece = self._letters[token]
                if not piece or piece[0] not in follows:
                    continue
                if places := spelling.go(text.places, piece):
                    score = text.score + float(row[token])
                    grown.append((_Text(score, places), token, number))
                    found += 1
                    if found == _TWINS * _BEAM:
                        break
        grown.sort(key=lambda one: -one[0].score)
        kept, twins = [], dict[frozenset[tuple[int, int, str]], int]()
        for one in grown:
            # Where any words are, what they are tells texts apart.
            key = frozenset(
                (*place, words[-1] if words and words[-1].startswith(OPEN) else "")
                for place, words in one[0].places.items()
            )
            twins[key] = twins.get(key, 0) + 1
            if twins[key] <= _TWINS:
                kept.append(one)
            if len(kept) == _BEAM:
                break
        return (
            [one[0] for one in kept],
            [one[1] for one in kept],
            [one[2] for one in kept],
        )


@cache
def _pieces(model: Moonshine) -> tuple[str | None, ...]:
    """Return the letters of each token: whatever home it hears, they are the same."""
    return tuple(
        None if token is None or token.isspace() else letters(token)
        for token in model.tokens
    )


def confidence(finding: Finding) -> float:
    """Probability that the sentence is what was said, 0 to 1."""
    return probability(finding.features(), _BIAS, _WEIGHTS)


def judge(finding: Finding) -> Recognition:
    """Accept a finding, or say that it is no command, and which it might have been.

    A house that does nothing is asked again; one that does the opposite is not
    forgiven. So a thin margin between on and off is no command either.
    """
    sure = confidence(finding)
    unlikely = finding.best.score < _LEAST or sure < POSSIBLE
    if unlikely or finding.opposed < _MARGIN:
        return Recognition(text="", confidence=sure, rejected="no_command")
    best = finding.best
    text = best.text
    is_open = best.own != {*best.words}
    # "Play …" is hardly anything but any words.
    vague = is_open and not _telling(best)
    if vague or sure < (_ACCEPTED_OPEN if is_open else ACCEPTED):
        perhaps = Hypothesis(text, sure)
        return Recognition("", sure, alternatives=(perhaps,), rejected="no_command")
    return Recognition(text=text, confidence=sure)


def decide(findings: Iterable[Finding]) -> Recognition:
    """Take the first finding that is a command, or tell which it might have been."""
    best = Recognition("", 0.0, rejected="no_command")
    for finding in findings:
        heard = judge(finding)
        if heard.text:
            return heard
        best = max(best, heard, key=lambda one: (len(one.alternatives), one.confidence))
    return best


@dataclass(frozen=True)
class _Text:
    """A beginning, and where it has come to in the grammar."""

    score: float
    places: Places


def _lead(best: Sentence, others: list[Sentence]) -> float:
    return min(_FAR, *(best.score - one.score for one in others)) if others else _FAR


def _core(sentence: Sentence) -> tuple[str, ...]:
    """Return what tells a sentence from others that mean the same."""
    words = sentence.text.replace("'s", "").split()
    return tuple(word.rstrip("s") for word in words if word not in _FUNCTION_WORDS)


def _alike(one: Sentence, other: Sentence) -> bool:
    """Tell whether two sentences mean the same, whatever is said where any words are."""
    return _core(one) == _core(other) or any(
        re.fullmatch(_pattern(each), another.text)
        for each, another in ((one, other), (other, one))
    )


def _pattern(sentence: Sentence) -> str:
    return " ".join(
        ".+" if word.startswith(OPEN) else re.escape(word) for word in sentence.words
    )


def _telling(sentence: Sentence) -> bool:
    """Tell whether the grammar's own words say something, whatever else is said."""
    return len(sentence.own - _FUNCTION_WORDS) > 1


def _opposites(sentence: Sentence) -> Iterator[str]:
    """Yield a sentence with each word that must not be confused turned round."""
    words = sentence.text.split()
    for place, word in enumerate(words):
        if word in OPPOSITES:
            yield " ".join([*words[:place], OPPOSITES[word], *words[place + 1 :]])


def _only(text: str) -> Grammar:
    """Return a grammar of one sentence."""
    words = text.split()
    arcs = tuple((place, place + 1, word) for place, word in enumerate(words))
    return Grammar(len(words) + 1, arcs, (len(words),), 1)


def _opposed(one: Sentence, other: Sentence) -> bool:
    """Tell whether two sentences have opposite words."""
    these, those = _apart(one, other)
    return any(OPPOSITES.get(word) in those for word in these)


def _apart(one: Sentence, other: Sentence) -> tuple[frozenset[str], frozenset[str]]:
    """Return the words that only the one, and only the other of two sentences has."""
    these, those = Counter(one.text.split()), Counter(other.text.split())
    return frozenset(these - those), frozenset(those - these)
