"""The HTTP doors: health, information, vocabulary, metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from model_server.api.messages import Info, Message
from model_server.api.refusals import EngineFailedError, Refusal, RefusedError
from model_server.api.service import Service
from model_server.api.vocabulary import (
    MAX_BODY_BYTES,
    VocabularyBody,
    VocabularyError,
    VocabularyResult,
    parse_vocabulary,
)
from model_server.engines.base import EngineError


class Health(Message):
    """`GET /health`: the process serves."""

    status: str = "ok"


_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal} for status in (401, 413, 422, 500, 501, 503)
}
_VOCABULARY_REQUEST = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": VocabularyBody.model_json_schema()}},
    }
}


def http_router(service: Service) -> APIRouter:
    """Routes of everything but the stream."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> Health:
        """Answer as long as the server serves; needs no token."""
        return Health()

    @router.get("/v1/info", responses={401: _REFUSALS[401]})
    async def info() -> Info:
        """Tell what this server is, its engines, labels and limits."""
        return service.info()

    @router.get("/metrics", responses={401: _REFUSALS[401]})
    async def metrics() -> Response:
        """Counts and durations for Prometheus."""
        content = generate_latest(service.metrics.registry)
        return Response(content, media_type=CONTENT_TYPE_LATEST)

    @router.put(
        "/v1/vocabulary", responses=_REFUSALS, openapi_extra=_VOCABULARY_REQUEST
    )
    async def put_vocabulary(request: Request) -> VocabularyResult:
        """Replace what may be said in the home; streams go on meanwhile."""
        recognizer = service.recognizer
        if recognizer is None:
            raise RefusedError(501, "no_speech", "This server has no speech engine.")
        try:
            body = parse_vocabulary(await _limited_body(request))
            report = await service.set_vocabulary(recognizer, body)
        except VocabularyError as error:
            raise RefusedError(422, "bad_vocabulary", str(error)) from error
        except ValueError as error:
            message = f"The vocabulary cannot be used: {error}."
            raise RefusedError(422, "unsupported_language", message) from error
        except EngineError as error:
            raise RefusedError(503, "engine_unavailable", str(error)) from error
        except EngineFailedError as error:
            raise RefusedError(
                500,
                "engine_failed",
                "The speech engine failed on this vocabulary and keeps the one "
                "before; the server's log says where it failed.",
            ) from error
        return VocabularyResult(**asdict(report))

    return router


async def _limited_body(request: Request) -> bytes:
    """The body, refused as soon as it is longer than allowed."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(
                413,
                "too_large",
                f"A vocabulary has at most {MAX_BODY_BYTES >> 20} MiB: expose fewer "
                "entities or shorten their aliases.",
            )
    return bytes(body)
