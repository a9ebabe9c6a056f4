"""The ASGI application: every door, behind the token."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from model_server import __version__
from model_server.api.auth import RequireToken
from model_server.api.http import http_router
from model_server.api.service import Clock, Service
from model_server.api.stream import stream_router
from model_server.engines.base import Engines
from model_server.settings import Settings


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
    app.add_middleware(RequireToken, token=service.token)

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, error: HTTPException) -> JSONResponse:
        content: object = error.detail
        if not isinstance(content, dict):
            code = HTTPStatus(error.status_code).name.lower()
            message = f"{content}: GET /openapi.json lists the doors."
            content = {"code": code, "message": message}
        return JSONResponse(content, error.status_code, error.headers)

    return app
