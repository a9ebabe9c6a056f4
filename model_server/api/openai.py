"""OpenAI's doors, for programs that speak its API: models, transcriptions, chat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from model_server.api.answers import Answer, EventStream, decoded, describer_of, joined
from model_server.api.openai_chat import ChatBody, read_chat
from model_server.api.openai_completion import completion, completion_events, until_stop
from model_server.api.openai_transcription import (
    FIELDS,
    Segment,
    Transcript,
    read_transcription,
    segments,
    transcript_events,
)
from model_server.api.refusals import RefusedError
from model_server.api.service import Service
from model_server.api.uploads import attended, read_body, read_form
from model_server.engines.base import AudioDescriber

WHISPER = "whisper-1"
"""What many clients call any speech recognition."""

_FORM = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": FIELDS}},
    }
}
_CHAT = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ChatBody.model_json_schema()}},
    }
}


def openai_router(service: Service) -> APIRouter:
    """Routes under OpenAI's paths; every error has OpenAI's shape."""
    router = APIRouter()

    def models() -> dict[str, dict[str, Any]]:
        engines = (service.recognizer, service.describer)
        return {
            engine.info.name: {
                "id": engine.info.name,
                "object": "model",
                "created": service.began,
                "owned_by": "earshot",
            }
            for engine in engines
            if engine is not None
        }

    @router.get("/v1/models")
    async def list_models() -> Response:
        """The engines that the two doors below may be asked for."""
        return JSONResponse({"object": "list", "data": [*models().values()]})

    @router.get("/v1/models/{model}")
    async def retrieve_model(model: str) -> Response:
        """One of them."""
        check_model(model, list(models()))
        return JSONResponse(models()[model])

    @router.post("/v1/audio/transcriptions", openapi_extra=_FORM)
    async def transcribe(request: Request) -> Response:
        """What is said in a file, utterance by utterance."""
        settings = service.settings
        recognizer = service.recognizer
        if recognizer is None:
            raise RefusedError(501, "no_speech", "This server has no speech engine.")
        async with AsyncExitStack() as stack:
            stack.enter_context(service.requests.entered())
            form = await read_form(request, settings.max_upload_bytes, settings.idle_s)
            asked = read_transcription(form, service)
            name = recognizer.info.name
            check_model(asked.model or name, [name, WHISPER])
            transcript = Transcript(asked.language)
            found = segments(service, recognizer, asked, transcript)
            await stack.enter_async_context(aclosing(found))
            if asked.stream:
                first = await attended(request, anext(found, None))
                events = transcript_events(transcript, first, found)
                return EventStream(events, stack.pop_all())
            await attended(request, _exhausted(found))
        match asked.format:
            case "json":
                return JSONResponse(transcript.brief())
            case "verbose_json":
                return JSONResponse(transcript.verbose())
            case "text":
                return PlainTextResponse(transcript.text + "\n")
            case "srt":
                return PlainTextResponse(transcript.srt())
            case "vtt":
                return PlainTextResponse(transcript.vtt())

    @router.post("/v1/chat/completions", openapi_extra=_CHAT)
    async def chat(request: Request) -> Response:
        """An answer about one clip that a message carries."""
        describer = describer_of(service)
        async with AsyncExitStack() as stack:
            stack.enter_context(service.requests.entered())
            limit = _json_limit(service, describer)
            body = await read_body(request, limit, service.settings.idle_s)
            asked = await attended(request, read_chat(body))
            model = describer.info.name
            check_model(asked.model or model, [model])
            pcm = await attended(
                request, decoded(service, asked.audio, describer.max_seconds)
            )
            answer = Answer(service, describer, asked.about(pcm))
            answering = answer.pieces()
            await stack.enter_async_context(aclosing(answering))
            pieces = until_stop(answering, asked.stop)
            await stack.enter_async_context(aclosing(pieces))
            # Before the answer begins, so that a refusal still has its HTTP status.
            first = await attended(request, anext(pieces, ""))
            if asked.stream:
                events = completion_events(model, answer, first, pieces)
                return EventStream(events, stack.pop_all())
            rest = await attended(request, joined(pieces))
            return JSONResponse(completion(model, answer, first + rest))

    return router


def check_model(model: str, known: list[str]) -> None:
    """Raise RefusedError for a model that a door does not have."""
    if model not in known:
        raise RefusedError(
            404,
            "model_not_found",
            f"There is no such model here: take one of {', '.join(known)}.",
            "model",
        )


def _json_limit(service: Service, describer: AudioDescriber) -> int:
    """Bytes of a JSON body: in base64 the largest upload, and some text.

    The longest clip as a stereo WAV file of 48 kHz fits, whatever is set.
    """
    longest = round(describer.max_seconds * 48_000 * 4)
    audio = max(service.settings.max_upload_bytes, longest)
    return audio * 4 // 3 + (1 << 20)


async def _exhausted(found: AsyncIterator[Segment]) -> None:
    async for _ in found:
        pass
