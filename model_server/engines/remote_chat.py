"""One question about audio to a server that speaks OpenAI's chat API, answered in pieces.

Whatever the server does costs a bounded time and a bounded amount of memory, ends in
an answer or in an EngineError, and stands in no log: it may repeat what was heard.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
import io
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final
import wave

import httpx2
import openai

from model_server.audio import SAMPLE_RATE

from .base import EngineBusyError, EngineError, Pcm, UnusableRequestError
from .bounded_http import BoundedTransport, Budget, TooMuchError
from .circuit import Circuit, CircuitOpenError
from .remote_address import Address
from .remote_errors import FAILURES, MalformedError, retriable, translate

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionContentPartParam

    from model_server.settings import RemoteSettings

CONNECT_S: Final = 1.5
"""A machine of the house answers in milliseconds; a lost packet is sent again after 1 s."""

TRIAL_CONNECT_S: Final = 0.3
"""For the call that finds out whether a machine that was away is back: a person waits."""

STALL_S: Final = 5.0
"""Longest silence within an answer that has begun."""

ATTEMPTS: Final = 3
BACKOFF_S: Final = 0.25
"""Before the second attempt, twice as much before the third; less by up to half."""

MAX_RETRY_AFTER_S: Final = 2.0
"""A server that wants more time is busy: nobody waits that long for a lamp."""

FAILED_CALLS: Final = 3
REST_S: Final = 15.0
"""After so many failures in a row nobody waits for the server, for so long."""

BYTES_PER_TOKEN: Final = 2048
"""An event of one token with its log-probability takes about 500 bytes in vLLM."""

BYTES_BESIDE: Final = 1 << 16
"""Headers, the first event and keep-alive comments."""

CHARACTERS_PER_TOKEN: Final = 32
"""No token of Qwen's vocabulary but runs of spaces is longer."""


LEAST: Final = -1000.0
"""A log-probability below this is as good as this."""


@dataclass(frozen=True)
class Question:
    """What is asked about a clip, (samples,). With a schema the answer is JSON."""

    pcm: Pcm
    instruction: str
    max_tokens: int
    schema: Mapping[str, Any] | None = None
    logprobs: bool = False


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    `tokens` are texts with their log-probabilities, where the server gives them.
    `cut` is true on the last piece of an answer that reached `max_tokens`.
    """

    text: str
    tokens: tuple[tuple[str, float], ...] = ()
    cut: bool = False


NOTHING: Final = Piece("")


class ChatServer:
    """A server elsewhere. Each question has a connection of its own, from any thread.

    Commands come minutes apart and servers close idle connections after seconds:
    keeping one open would mostly bring the error of writing to a closed one.
    """

    def __init__(
        self,
        settings: RemoteSettings,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Nothing is sent yet. Raises EngineError for settings that cannot work."""
        self.address = Address.of(settings)
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._circuit = Circuit(FAILED_CALLS, REST_S, clock)
        self.name = f"The remote engine at {self.address.name}"
        # At debug level these write requests, headers and events.
        for name in ("openai", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def ask(self, question: Question) -> Generator[Piece]:
        """The answer's pieces as they come; closing it ends the exchange.

        Raises EngineError: EngineBusyError if the server has too much to do,
        UnusableRequestError if it refuses what is asked.
        """
        try:
            trial = self._circuit.enter()
        except CircuitOpenError as error:
            raise EngineError(
                f"{self.name} has failed {FAILED_CALLS} times and is left alone for "
                f"another {error.seconds:.0f} s: check that it runs."
            ) from None
        failed = True
        try:
            yield from self._answer(question, trial)
            failed = False
        except (GeneratorExit, EngineBusyError, UnusableRequestError):
            # It is there, and answers.
            failed = False
            raise
        finally:
            self._circuit.leave(trial, failed=failed)

    def _answer(self, question: Question, trial: bool) -> Generator[Piece]:
        """Ask within one budget, and take the answer apart."""
        budget = Budget(
            self._settings.timeout_s,
            BYTES_BESIDE + BYTES_PER_TOKEN * question.max_tokens,
            self._clock,
        )
        room = CHARACTERS_PER_TOKEN * question.max_tokens
        attempts = 1 if trial else ATTEMPTS
        try:
            with (
                self._client(budget, trial) as client,
                self._begin(client, question, budget, attempts) as stream,
            ):
                for chunk in _chunks(stream):
                    budget.patience = STALL_S
                    choice = _choice(chunk)
                    piece = _piece(choice)
                    room -= len(piece.text)
                    if room < 0:
                        raise TooMuchError
                    if piece != NOTHING:
                        yield piece
                    if choice.get("finish_reason") is not None:
                        return
        except FAILURES as error:
            raise translate(error, self.name, self._settings) from None
        raise EngineError(
            f"{self.name} ended its answer in the middle: look at its log."
        )

    @contextmanager
    def _client(self, budget: Budget, trial: bool) -> Generator[openai.OpenAI]:
        """A client for one exchange, which takes nothing from the environment."""
        transport = BoundedTransport(
            budget, self.address.tls, self.address.authorization
        )
        timeout = httpx2.Timeout(
            self._settings.timeout_s, connect=TRIAL_CONNECT_S if trial else CONNECT_S
        )
        http = httpx2.Client(
            transport=transport, trust_env=False, follow_redirects=False
        )
        with openai.OpenAI(
            # The transport has the key; an empty one would be taken from the environment.
            api_key="-",
            base_url=self.address.url,
            timeout=timeout,
            max_retries=0,
            http_client=http,
        ) as client:
            yield client

    def _begin(
        self, client: openai.OpenAI, question: Question, budget: Budget, attempts: int
    ) -> openai.Stream[Any]:
        """Send the question until the server begins to answer, or shall not be asked."""
        content = _content(question)
        options: dict[str, Any] = {}
        if question.schema is not None:
            described = {"name": "answer", "schema": question.schema, "strict": True}
            options["response_format"] = {
                "type": "json_schema",
                "json_schema": described,
            }
        if question.logprobs:
            options["logprobs"] = True
        while True:
            attempts -= 1
            try:
                stream: openai.Stream[Any] = client.chat.completions.create(
                    model=self._settings.model,
                    messages=[{"role": "user", "content": content}],
                    max_tokens=question.max_tokens,
                    temperature=0,
                    stream=True,
                    **options,
                )
            except FAILURES as error:
                wait = retriable(error)
                if wait is None or attempts == 0:
                    raise
                tried = ATTEMPTS - attempts
                backoff = BACKOFF_S * 2 ** (tried - 1) * random.uniform(0.5, 1)
                pause = max(wait, backoff)
                if wait > MAX_RETRY_AFTER_S or pause >= budget.left():
                    raise
                self._sleep(pause)
            else:
                return stream


def _content(question: Question) -> list[ChatCompletionContentPartParam]:
    """Audio before the instruction, the order in which the model was trained."""
    audio = base64.b64encode(wav(question.pcm)).decode()
    return [
        {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}},
        {"type": "text", "text": question.instruction},
    ]


def wav(pcm: Pcm) -> bytes:
    """Samples, (samples,), as a WAV file in memory."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


def _chunks(stream: openai.Stream[Any]) -> Iterator[object]:
    """The events of an answer; MalformedError for what is no event."""
    try:
        yield from stream
    except (ValueError, TypeError, AttributeError, RecursionError):
        # The client builds objects from what it is sent and checks little of it.
        raise MalformedError from None


def _choice(chunk: object) -> Mapping[str, Any]:
    """The one choice of an event; empty for an event without any, such as usage."""
    if not isinstance(chunk, openai.BaseModel):
        raise MalformedError
    choices = getattr(chunk, "choices", None)
    if not choices:
        return {}
    first = choices[0] if isinstance(choices, list) else None
    if not isinstance(first, openai.BaseModel):
        raise MalformedError
    try:
        return first.to_dict(mode="json", warnings=False)
    except (ValueError, RecursionError):
        raise MalformedError from None


def _piece(choice: Mapping[str, Any]) -> Piece:
    """Text and tokens of a choice; MalformedError if it has something else."""
    delta = choice.get("delta") or {}
    if not isinstance(delta, dict):
        raise MalformedError
    text = delta.get("content") or ""
    if not isinstance(text, str):
        raise MalformedError
    cut = choice.get("finish_reason") == "length"
    return Piece(text, tuple(_tokens(choice.get("logprobs"))), cut)


def _tokens(logprobs: object) -> Iterator[tuple[str, float]]:
    """Tokens with log-probabilities, as far as they are what they should be."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    for each in content if isinstance(content, list) else ():
        if not isinstance(each, dict):
            continue
        token, logprob = each.get("token"), each.get("logprob")
        if isinstance(token, str) and isinstance(logprob, int | float):
            yield token, float(max(LEAST, min(0.0, logprob)))
