"""The ASGI application: every door, behind the token."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from model_server import __version__
from model_server.api.auth import RequireToken
from model_server.api.clips import clips_router
from model_server.api.describe import describe_router
from model_server.api.http import http_router
from model_server.api.openai import openai_router
from model_server.api.refusals import (
    EngineFailedError,
    RefusedError,
    error_response,
    refused,
)
from model_server.api.replay import replay_router
from model_server.api.service import Clock, Service
from model_server.api.stream import stream_router
from model_server.audio.decode import DecodeError
from model_server.engines.base import EngineError, Engines
from model_server.settings import Settings

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for it; nobody receives it."""


def create_app(
    settings: Settings, engines: Engines, clock: Clock | None = None
) -> FastAPI:
    """An application with these engines; its `state.service` is what the doors share."""
    service = Service(settings, engines, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="Earshot",
        version=__version__,
        lifespan=lifespan,
        # The interactive pages load scripts from elsewhere; the document is enough.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(http_router(service))
    app.include_router(stream_router(service))
    app.include_router(describe_router(service))
    app.include_router(openai_router(service))
    app.include_router(clips_router(service))
    app.include_router(replay_router(service))
    app.add_middleware(RequireToken, token=service.token)

    @app.exception_handler(HTTPException)
    async def no_door(request: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).name.lower()
        message = f"{error.detail}: GET /openapi.json lists the doors."
        refusal = RefusedError(error.status_code, code, message, None, error.headers)
        return error_response(request.url.path, refusal)

    async def refuse(request: Request, error: Exception) -> Response:
        return error_response(request.url.path, refused(error))

    for kind in (RefusedError, EngineError, EngineFailedError, DecodeError):
        app.add_exception_handler(kind, refuse)

    @app.exception_handler(ClientDisconnect)
    async def nobody_is_there(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    return app
