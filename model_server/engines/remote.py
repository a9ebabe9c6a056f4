"""MiDashengLM on another machine: vLLM, llama.cpp's server or another Earshot.

Audio goes to the one address in the settings and nowhere else. What comes back is
checked here again: a server may be broken, of another version or not ours at all.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

from model_server.audio import SAMPLE_RATE
from model_server.audio.vad import SileroVoice

from . import prompts
from .base import (
    CUT,
    EngineError,
    EngineInfo,
    Intent,
    Pcm,
    Recognition,
    UnusableRequestError,
    Vocabulary,
    VocabularyReport,
)
from .midashenglm.segments import cut
from .remote_answers import confidence, readable, spoken_words, within
from .remote_chat import ChatServer, Piece, Question
from .schemas import check_schema, read_json
from .understanding import intent_instruction, intent_schema, read_intent

if TYPE_CHECKING:
    from model_server.settings import RemoteSettings

MAX_SECONDS: Final = 60.0
"""Longest clip that is described: 1.9 MB of WAV, 300 audio tokens."""

VOICE: Final = 0.4
"""Probability from which a stretch of sound counts as a voice, as in `listen`."""

INTENT_TOKENS: Final = 192
"""What JSON, an intent and its names add."""

SURE: Final = 0.6
"""Confidence from which an intent is passed on, where it is known; not measured."""


class RemoteEngine:
    """The engines of one address. Raises EngineError for settings that cannot work."""

    def __init__(self, settings: RemoteSettings) -> None:
        """Ask nothing yet: the other machine may be started later."""
        # The server's own version is unknown; what it serves is what was asked for.
        info = EngineInfo(name="remote", version=settings.model)
        # A circuit for each: descriptions that take too long must not cost commands.
        hearing, describing = ChatServer(settings), ChatServer(settings)
        self.recognizer = RemoteRecognizer(hearing, info, settings.parallel)
        self.describer = RemoteDescriber(describing, info, settings.parallel)


@dataclass(frozen=True)
class _Home:
    """A vocabulary, and what it makes of the question."""

    vocabulary: Vocabulary
    instruction: str
    schema: dict[str, Any]


class RemoteRecognizer:
    """Speech to text; with a vocabulary also to an intent, in the same question."""

    languages: tuple[str, ...] = prompts.SPEECH_LANGUAGES

    def __init__(self, server: ChatServer, info: EngineInfo, parallel: int) -> None:
        """Know no home yet: any words are heard, and nothing is understood."""
        self.info = info
        self.parallel = parallel
        self._server = server
        self._home: _Home | None = None

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        """Ask for this home's intents and names from the next utterance on.

        Raises ValueError for a language that the model does not speak. The server
        makes a grammar of it, with the first utterance.
        """
        _check(vocabulary.language)
        start = time.perf_counter()
        schema = intent_schema(vocabulary)
        self._home = _Home(vocabulary, intent_instruction(vocabulary), schema)
        content = json.dumps([asdict(vocabulary), schema], sort_keys=True)
        places = (*vocabulary.areas, *vocabulary.floors)
        names = [name for each in vocabulary.entities for name in each.names]
        names += [name for each in places for name in each.names]
        return VocabularyReport(
            version=hashlib.sha256(content.encode()).hexdigest()[:16],
            sentences=0,
            words=len({word.casefold() for name in names for word in name.split()}),
            guessed=(),
            seconds=time.perf_counter() - start,
        )

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        """Recognise one utterance, (samples,); more than 30 s of it in pieces.

        The confidence is the geometric mean of the probabilities of the text's
        tokens, where the server gives them. Raises EngineError, and ValueError for
        a language that the model does not speak.
        """
        spoken = _check(language)
        if _silent(pcm):
            return Recognition("", 0.0, rejected="silence")
        pieces = cut(pcm)
        home = self._home
        if home and _primary(home.vocabulary.language) == spoken and len(pieces) == 1:
            return self._understand(pcm, home)
        instruction = prompts.transcribe(spoken)
        answers = [
            self._ask(Question(each, instruction, _tokens(each), logprobs=True))
            for each in (pcm[piece] for piece in pieces)
        ]
        texts = [spoken_words(answer.text) for answer in answers]
        text = ("" if spoken in prompts.NO_SPACES else " ").join(filter(None, texts))
        tokens = tuple(token for answer in answers for token in answer.tokens)
        return _recognition(text, confidence(tokens))

    def foresee(self, pcm: Pcm) -> None:
        """The audio goes out once, when it is complete."""

    def _understand(self, pcm: Pcm, home: _Home) -> Recognition:
        """Words and meaning in one pass, both held to the home again."""
        tokens = _tokens(pcm) + INTENT_TOKENS
        question = Question(pcm, home.instruction, tokens, home.schema, logprobs=True)
        answer = self._ask(question)
        try:
            text, intent = read_intent(answer.text, home.vocabulary)
        except ValueError:
            raise EngineError(
                f"{self._server.name} answered with something else than the JSON it "
                "was asked for: take a server that follows JSON schemas."
            ) from None
        spoken = within(answer)
        sure = confidence(spoken)
        if spoken and sure < SURE:
            intent = None
        return _recognition(text, sure, intent)

    def _ask(self, question: Question) -> Piece:
        """The whole answer as one piece. Raises EngineError if it was cut."""
        pieces = list(self._server.ask(question))
        if any(piece.cut for piece in pieces):
            raise EngineError(
                f"{self._server.name} found more words than anybody says in that "
                "time: nothing of it is believed."
            )
        return Piece(
            "".join(piece.text for piece in pieces),
            tuple(token for piece in pieces for token in piece.tokens),
        )


class RemoteDescriber:
    """Captions, answers and JSON about a clip."""

    max_seconds = MAX_SECONDS

    def __init__(self, server: ChatServer, info: EngineInfo, parallel: int) -> None:
        """Describe through this server."""
        self.info = info
        self.parallel = parallel
        self._server = server

    def describe(
        self,
        pcm: Pcm,
        instruction: str,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
    ) -> Generator[str, None, str | None]:
        """Stream the answer about a clip, (samples,), up to `max_seconds` long.

        With a schema it comes in one piece, because it is checked first. Returns CUT
        where free text reached `max_tokens`. Raises UnusableRequestError for a clip
        that is too long, a schema with keywords that `schemas` cannot check or an
        empty instruction, else EngineError. Closing the iterator closes the connection.
        """
        if not instruction.strip():
            raise UnusableRequestError("The instruction is empty: say what to tell.")
        if not 0 < pcm.size <= self.max_seconds * SAMPLE_RATE:
            raise UnusableRequestError(
                f"The clip has {pcm.size / SAMPLE_RATE:.1f} s: up to "
                f"{self.max_seconds:g} s can be described."
            )
        # Servers make the model's own signs of what looks like them.
        plain = instruction.replace("<|", "< |")
        question = Question(pcm, plain, max_tokens, schema)
        if schema is not None:
            check_schema(schema)
            yield self._json(question, schema)
            return None
        said = cut_short = False
        for piece in self._server.ask(question):
            cut_short = piece.cut
            text = readable(piece.text)
            if text:
                said = True
                yield text
        if not said:
            raise EngineError(f"{self._server.name} gave an empty answer: ask again.")
        return CUT if cut_short else None

    def _json(self, question: Question, schema: Mapping[str, Any]) -> str:
        """An answer that was held to its schema."""
        pieces = list(self._server.ask(question))
        if pieces and pieces[-1].cut:
            raise UnusableRequestError(
                f"{question.max_tokens} tokens are not enough for an answer to this "
                "schema: allow more, or ask for less."
            )
        try:
            value = read_json("".join(piece.text for piece in pieces), schema)
        except ValueError:
            raise EngineError(
                f"{self._server.name} did not follow the schema: take a server that "
                "does (vLLM from 0.14, llama.cpp's server)."
            ) from None
        return json.dumps(value, ensure_ascii=False)


def _primary(language: str) -> str:
    return language.replace("_", "-").partition("-")[0].casefold()


def _check(language: str) -> str:
    """The language as the model names it."""
    primary = _primary(language)
    if primary not in prompts.SPEECH_LANGUAGES:
        spoken = ", ".join(prompts.SPEECH_LANGUAGES)
        raise ValueError(f"The remote model speaks {spoken}, not {language!r}")
    return primary


def _silent(pcm: Pcm) -> bool:
    """Whether there is no voice in an utterance, (samples,): a model would invent one."""
    voice = SileroVoice()
    chunks = range(0, pcm.size - voice.chunk + 1, voice.chunk)
    return not any(voice(pcm[first : first + voice.chunk]) >= VOICE for first in chunks)


def _tokens(pcm: Pcm) -> int:
    """Tokens that the words of an utterance may take."""
    return prompts.words_room(pcm.size / SAMPLE_RATE)


def _recognition(text: str, sure: float, intent: Intent | None = None) -> Recognition:
    if not text:
        return Recognition("", 0.0, rejected="silence")
    return Recognition(text, sure, intent=intent)
