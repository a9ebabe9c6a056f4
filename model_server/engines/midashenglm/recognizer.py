"""Speech to text, and to an intent of one home in the same pass."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
import json
import logging
import math
import threading
import time
from typing import Any, Final

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.vad import SileroVoice
from model_server.engines.base import (
    EngineError,
    Recognition,
    UnusableRequestError,
    Vocabulary,
    VocabularyReport,
)
from model_server.engines.prompts import NO_SPACES, SPEECH_LANGUAGES, words_room
from model_server.engines.understanding import (
    intent_instruction,
    intent_schema,
    read_intent,
)

from .answers import Question, Written
from .clips import Clip
from .constraints import Grammar
from .core import Core
from .prompt import Prompt
from .repetition import Repetition
from .segments import LONGEST_S, cut

MAX_S: Final = 600.0
"""Seconds of an utterance that is still recognised, in pieces."""
INTENT_TOKENS: Final = 128
"""What JSON and an intent may add to the words."""

SURE: Final = 0.6
"""Confidence from which an intent is passed on. Not measured: that takes the real
weights and many speakers. It is on the side of asking again."""

_ON, _OFF, _VOICED = 0.4, 0.2, 3
"""Voice as the endpointer finds it, which has cut most utterances before: 0.1 s."""

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Home:
    """A vocabulary, and what was made of it once."""

    vocabulary: Vocabulary
    prompt: Prompt
    grammar: Grammar


class MiDashengRecognizer:
    """Recognises five languages; with a vocabulary it also understands its language.

    The confidence of a text is the geometric mean of the probabilities of its tokens,
    among those that could stand there. It says how little the model hesitated, and
    was not calibrated on real weights.
    """

    languages: tuple[str, ...] = SPEECH_LANGUAGES

    def __init__(self, core: Core) -> None:
        """Recognise free speech until there is a vocabulary."""
        self._core = core
        self._home: _Home | None = None
        self._voices = threading.local()
        self.info = core.info
        self.parallel = core.parallel
        self.load = core.load
        self.close = core.close

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Compile and swap in a vocabulary; the old one serves until then.

        All speech is still written down, so there are no `sentences` to count:
        `words` are those of the names. A home that is too large to be asked about is
        not understood, which a warning says: its commands are written down only.
        Raises ValueError for another language than SPEECH_LANGUAGES.
        """
        _check(vocabulary.language)
        start = time.perf_counter()
        schema = intent_schema(vocabulary)
        instruction = intent_instruction(vocabulary)
        self._home = self._fitting(vocabulary, schema, instruction)
        version = blake2b(digest_size=8)
        for part in (json.dumps(schema), instruction, self.info.version):
            version.update(part.encode() + b"\0")
        words = {
            word.casefold()
            for named in (vocabulary.entities, vocabulary.areas, vocabulary.floors)
            for each in named
            for name in each.names
            for word in name.split()
        }
        return VocabularyReport(
            version=version.hexdigest(),
            sentences=0,
            words=len(words),
            guessed=(),
            seconds=time.perf_counter() - start,
        )

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise an utterance, (samples,); more than 30 s of it in pieces.

        Without a voice nothing is asked of the model. Raises EngineError, ValueError
        for another language than SPEECH_LANGUAGES.
        """
        _check(language)
        if pcm.size > MAX_S * SAMPLE_RATE:
            return Recognition("", 0.0, rejected="too_long")
        if not self._voiced(pcm):
            return Recognition("", 0.0, rejected="silence")
        home = self._home
        pieces = cut(pcm)
        if home and home.vocabulary.language == language and len(pieces) == 1:
            return self._understood(pcm, home)
        return self._transcribed([pcm[piece] for piece in pieces], language)

    def foresee(self, pcm: Pcm) -> None:
        """Encode the finished chunks of an utterance that goes on, (samples,) so far.

        Returns at once; the work is done when nothing more urgent is.
        """
        if pcm.size <= LONGEST_S * SAMPLE_RATE:
            self._core.ahead(Clip.of(pcm, open=True))

    def _fitting(
        self, vocabulary: Vocabulary, schema: dict[str, Any], instruction: str
    ) -> _Home | None:
        """A home, if the longest piece fits in a row with what is asked about it."""
        try:
            grammar = self._core.grammar(schema)
            prompt = self._core.prompts.instruction(instruction)
            home = _Home(vocabulary, prompt, grammar)
            longest = np.zeros(round(LONGEST_S * SAMPLE_RATE), np.int16)
            question = _understand(home, Clip.of(longest))
            if self._core.room(question) >= question.max_tokens:
                return home
            reason = f"its instruction has {len(prompt.after)} tokens."
        except UnusableRequestError as error:
            reason = str(error)
        _LOGGER.warning(
            "This home is too large to be understood in one pass, so its commands are "
            "only written down; expose fewer entities: %s",
            reason,
        )
        return None

    def _understood(self, pcm: Pcm, home: _Home) -> Recognition:
        question = _understand(home, Clip.of(pcm))
        written = self._core.ask("commands", question).result()
        try:
            text, intent = read_intent(written.text, home.vocabulary)
        except ValueError:
            raise EngineError("The model's answer was no intent.") from None
        if written.looped:
            text, intent = _once(text), None
        if not text:
            return Recognition("", 0.0, rejected="silence")
        confidence = _confidence([written])
        sure = confidence >= SURE
        return Recognition(text, confidence, intent=intent if sure else None)

    def _transcribed(self, pieces: list[Pcm], language: str) -> Recognition:
        prompt = self._core.prompts.transcription(language)
        # The pieces of one utterance are decoded together, a few at a time.
        written: list[Written] = []
        step = self._core.parallel
        for first in range(0, len(pieces), step):
            calls = [
                self._core.ask(
                    "commands",
                    Question(
                        Clip.of(piece), prompt, words_room(piece.size / SAMPLE_RATE)
                    ),
                )
                for piece in pieces[first : first + step]
            ]
            try:
                written += [call.result() for call in calls]
            finally:
                for call in calls:
                    call.cancel()
        said = [" ".join(one.text.split()) for one in written]
        text = ("" if language in NO_SPACES else " ").join(one for one in said if one)
        if not text:
            return Recognition("", 0.0, rejected="silence")
        return Recognition(text, _confidence(written))

    def _voiced(self, pcm: Pcm) -> bool:
        """Whether there is a voice; what speaks at once is not heard to its end."""
        voice = getattr(self._voices, "voice", None)
        if voice is None:
            voice = self._voices.voice = SileroVoice()
        voice.reset()
        voiced = 0
        for first in range(0, pcm.size - voice.chunk + 1, voice.chunk):
            probability = voice(pcm[first : first + voice.chunk])
            voiced += probability >= (_OFF if voiced else _ON)
            if voiced >= _VOICED:
                return True
        return False


def _check(language: str) -> None:
    if language not in SPEECH_LANGUAGES:
        spoken = ", ".join(SPEECH_LANGUAGES)
        raise ValueError(f"MiDashengLM recognises {spoken}, not {language!r}")


def _understand(home: _Home, clip: Clip) -> Question:
    seconds = clip.waveform.size / SAMPLE_RATE
    return Question(
        clip, home.prompt, words_room(seconds) + INTENT_TOKENS, home.grammar
    )


def _confidence(written: list[Written]) -> float:
    logprobs = [logprob for one in written for logprob in one.logprobs]
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 0.0


def _once(text: str) -> str:
    """A text up to where it goes in circles."""
    return text[: Repetition().add([ord(sign) for sign in text])].strip()
