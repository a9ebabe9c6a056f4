"""`/v1/clips`: kept clips are listed, fetched and deleted, each microphone's by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from model_server.api.clip_store import Kind, is_clip_id
from model_server.api.messages import Clips
from model_server.api.refusals import Refusal, RefusedError
from model_server.api.service import Service

MAX_LISTED: Final = 1000
LISTED: Final = 100

_MEDIA: Final = {"flac": "audio/flac", "png": "image/png"}
_PRIVATE: Final = {"Cache-Control": "private, max-age=3600"}
_PARAMETER: Final = {
    "name": "microphone",
    "in": "query",
    "required": True,
    "schema": {"type": "string"},
}


def clips_router(service: Service) -> APIRouter:
    """Routes of what was recorded.

    Every request names the microphone whose clip it means, and another's is not found:
    who may ask for one room may not guess its way into the next.
    """
    router = APIRouter(prefix="/v1/clips")
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal} for status in (401, 404, 422)
    }
    extra = {"parameters": [_PARAMETER]}

    @router.get(
        "", responses={401: refusals[401], 422: refusals[422]}, openapi_extra=extra
    )
    async def clips(request: Request) -> Clips:
        """List a microphone's clips, the newest first: `limit` of them, older than `before`."""
        microphone = _microphone(request)
        query = request.query_params
        limit, before = query.get("limit", str(LISTED)), query.get("before")
        if not (limit.isascii() and limit.isdecimal()) or len(limit) > 4:
            raise RefusedError(422, "bad_request", f"limit: up to {MAX_LISTED}.")
        if before is not None and not is_clip_id(before):
            raise RefusedError(422, "bad_request", "before: give the id of a clip.")
        found = await service.work(
            "clips",
            service.clips.clips,
            microphone,
            min(int(limit), MAX_LISTED),
            before,
        )
        return Clips(clips=found)

    async def send(request: Request, clip: str, kind: Kind) -> Response:
        microphone = _microphone(request)
        path: Path | None = await service.work(
            "clips", service.clips.file, microphone, clip, kind
        )
        if path is None:
            raise _unknown()
        return FileResponse(path, media_type=_MEDIA[kind], headers=_PRIVATE)

    files: dict[str, Any] = {"response_class": Response, "responses": refusals}

    @router.get("/{clip}.png", openapi_extra=extra, **files)
    async def picture(request: Request, clip: str) -> Response:
        """Send a clip's spectrogram."""
        return await send(request, clip, "png")

    @router.get("/{clip}", openapi_extra=extra, **files)
    async def audio(request: Request, clip: str) -> Response:
        """Send a clip as FLAC; a `Range` gets its part."""
        return await send(request, clip, "flac")

    @router.delete("/{clip}", status_code=204, openapi_extra=extra, **files)
    async def delete(request: Request, clip: str) -> Response:
        """Forget a clip."""
        microphone = _microphone(request)
        if not await service.work("clips", service.clips.remove, microphone, clip):
            raise _unknown()
        return Response(status_code=204)

    return router


def _microphone(request: Request) -> str:
    """Whose clips are meant. Raises RefusedError if the request does not say."""
    if microphone := request.query_params.get("microphone"):
        return microphone
    raise RefusedError(
        422, "bad_request", "Say whose clips you mean: add ?microphone= and its name."
    )


def _unknown() -> RefusedError:
    return RefusedError(404, "unknown_clip", "This microphone has no such clip.")
