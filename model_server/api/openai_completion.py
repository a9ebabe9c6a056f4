"""The answers of `POST /v1/chat/completions`: whole, or in server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
import time
from typing import Any, Final

from model_server.api.answers import Answer, event
from model_server.api.ids import uuid7
from model_server.api.refusals import EngineFailedError, error_body, refused
from model_server.engines.base import EngineError

PATH: Final = "/v1/chat/completions"


async def until_stop(
    pieces: AsyncIterator[str], stops: tuple[str, ...]
) -> AsyncGenerator[str]:
    """Pieces up to the first of some texts, which may lie across two pieces."""
    keep = max((len(stop) for stop in stops), default=1) - 1
    held = ""
    async for piece in pieces:
        held += piece
        found = [at for stop in stops if (at := held.find(stop)) >= 0]
        if found:
            yield held[: min(found)]
            return
        ready = len(held) - keep
        if ready > 0:
            yield held[:ready]
            held = held[ready:]
    if held:
        yield held


def _head(model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid7()}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _finish(answer: Answer) -> str:
    return "length" if answer.cut else "stop"


def completion(model: str, answer: Answer, text: str) -> dict[str, Any]:
    """The whole answer, once it is over. There is no `usage`: an engine does not tell its tokens."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish(answer),
    }
    return {**_head(model, "chat.completion"), "choices": [choice]}


async def completion_events(
    model: str, answer: Answer, first: str, pieces: AsyncIterator[str]
) -> AsyncGenerator[str]:
    """Server-sent events: the answer in pieces; an error ends it where it happens."""
    head = _head(model, "chat.completion.chunk")

    def chunk(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish,
        }
        return event({**head, "choices": [choice]})

    yield chunk({"role": "assistant", "content": first})
    try:
        async for piece in pieces:
            yield chunk({"content": piece})
    except (EngineError, EngineFailedError) as error:
        yield event(error_body(PATH, refused(error)))
        return
    yield chunk({}, _finish(answer))
    yield "data: [DONE]\n\n"
