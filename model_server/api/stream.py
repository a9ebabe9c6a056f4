"""The WebSocket door, and the schemas of its messages."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import TypeAdapter

from model_server.api.messages import ClientMessage, ServerMessage
from model_server.api.service import Service
from model_server.api.session import Session


def stream_router(service: Service) -> APIRouter:
    """Routes of `/v1/stream` and `/v1/schemas`."""
    router = APIRouter(prefix="/v1")

    @router.websocket("/stream")
    async def stream(websocket: WebSocket) -> None:
        """Serve one microphone, or one utterance."""
        await websocket.accept()
        session = Session(service, websocket)
        if service.stopping:
            session.stop()
        await session.run()

    @router.get("/schemas")
    async def schemas() -> dict[str, Any]:
        """JSON Schemas of what the client sends and of what the server sends."""
        client: TypeAdapter[Any] = TypeAdapter(ClientMessage)
        server: TypeAdapter[Any] = TypeAdapter(ServerMessage)
        return {
            "client": client.json_schema(mode="validation"),
            "server": server.json_schema(mode="serialization"),
        }

    return router
