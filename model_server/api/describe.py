"""`POST /v1/describe`: a caption, an answer to a question, or JSON about a clip."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic_core import from_json
from starlette.responses import JSONResponse, Response

from model_server.api.answers import (
    Answer,
    EventStream,
    Question,
    decoded,
    describer_of,
    event,
    joined,
)
from model_server.api.messages import Engine, JsonDescription, TextDescription
from model_server.api.refusals import (
    EngineFailedError,
    Refusal,
    RefusedError,
    error_body,
    refused,
)
from model_server.api.service import Service, engine_message
from model_server.api.uploads import Form, attended, read_form
from model_server.audio import SAMPLE_RATE
from model_server.engines.base import EngineError
from model_server.engines.prompts import CAPTION, INSTRUCTIONS, question

PATH: Final = "/v1/describe"

MAX_TOKENS: Final = 256

_OPENAPI: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "task": {"enum": list(INSTRUCTIONS)},
                        "question": {"type": "string"},
                        "schema": {"type": "string"},
                        "stream": {"type": "boolean", "default": False},
                    },
                }
            }
        },
    }
}


def instruction_of(
    task: str | None, asked: str | None, schema: Mapping[str, Any] | None
) -> str:
    """What the engine is asked: a ready-made task, a question, or else a caption.

    Raises ValueError for both, or a task that there is not.
    """
    if task and asked:
        raise ValueError("give a task or a question, not both")
    if asked:
        return asked if schema is not None else question(asked)
    if task and task not in INSTRUCTIONS:
        raise ValueError(f"task is one of {', '.join(INSTRUCTIONS)}")
    return INSTRUCTIONS[task] if task else CAPTION


def read_schema(text: str | bytes) -> dict[str, Any]:
    """A JSON Schema. Raises ValueError for anything else."""
    try:
        schema = from_json(text, allow_inf_nan=False)
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        # TRY004 would have a TypeError; it is the text that is wrong.
        raise ValueError("schema is no JSON object")  # noqa: TRY004
    return schema


def describe_router(service: Service) -> APIRouter:
    """The route of descriptions."""
    router = APIRouter()
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal} for status in (400, 401, 413, 422, 429, 501, 503)
    }

    @router.post(
        PATH,
        responses={200: {"model": TextDescription | JsonDescription}, **refusals},
        openapi_extra=_OPENAPI,
    )
    async def describe(request: Request) -> Response:
        """Tell what is heard in a clip."""
        describer = describer_of(service)
        settings = service.settings
        async with AsyncExitStack() as stack:
            stack.enter_context(service.requests.entered())
            form = await read_form(request, settings.max_upload_bytes, settings.idle_s)
            audio, instruction, schema = _read(form)
            pcm = await attended(
                request, decoded(service, audio, describer.max_seconds)
            )
            asked = Question(pcm, instruction, schema, MAX_TOKENS)
            pieces = Answer(service, describer, asked).pieces()
            await stack.enter_async_context(aclosing(pieces))
            # Before the answer begins, so that a refusal still has its HTTP status.
            first = await attended(request, anext(pieces, ""))
            author = engine_message(describer.info)
            seconds = pcm.size / SAMPLE_RATE
            if (form.last("stream") or "false").lower() == "true":
                events = _events(first, pieces, author, seconds)
                return EventStream(events, stack.pop_all())
            text = first + await attended(request, joined(pieces))
        described: TextDescription | JsonDescription
        if schema is None:
            described = TextDescription(text=text, engine=author, seconds=seconds)
        else:
            fields = {"json": _valid(text), "engine": author, "seconds": seconds}
            described = JsonDescription.model_validate(fields)
        return JSONResponse(described.model_dump(mode="json"))

    return router


def _read(form: Form) -> tuple[bytes, str, dict[str, Any] | None]:
    """Audio, instruction and schema. Raises RefusedError."""
    if form.file is None:
        raise RefusedError(422, "no_file", "Send the audio as a `file`.")
    try:
        text = form.last("schema")
        schema = read_schema(text) if text else None
        asked = instruction_of(form.last("task"), form.last("question"), schema)
    except ValueError as error:
        message = str(error)
        message = f"{message[0].upper()}{message[1:]}."
        raise RefusedError(422, "bad_request", message) from None
    return form.file, asked, schema


def _valid(text: str) -> Any:
    """The JSON that an engine promised."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise RefusedError(
            502,
            "no_json",
            "The engine's answer is not JSON: it was cut, or the engine cannot follow "
            "a schema; ask for less.",
        ) from None


async def _events(
    first: str, pieces: AsyncIterator[str], author: Engine, seconds: float
) -> AsyncGenerator[str]:
    """Server-sent events: the answer in pieces, then who gave it about how much."""
    try:
        yield event({"text": first})
        async for piece in pieces:
            yield event({"text": piece})
    except (EngineError, EngineFailedError) as error:
        yield event({"error": error_body(PATH, refused(error))})
    else:
        yield event({"engine": author.model_dump(), "seconds": seconds})
