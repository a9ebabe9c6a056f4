"""How a request is refused: one error, in the shape that the door's clients know."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse

from model_server.api.messages import Message
from model_server.audio.decode import AudioTooLongError, DecodeError
from model_server.engines.base import EngineBusyError, EngineError, UnusableRequestError

OPENAI_DOORS: Final = ("/v1/models", "/v1/audio/", "/v1/chat/")
"""Paths whose clients expect OpenAI's errors: {"error": {message, type, param, code}}."""

RETRY_AFTER_S: Final = 1


class EngineFailedError(Exception):
    """An engine raised; what it said was logged, or was known already."""


class Refusal(Message):
    """The body of every HTTP error: what is wrong and what to do."""

    code: str
    message: str


class RefusedError(Exception):
    """A request that is answered with an error. `message` tells a person what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`param` names what is wrong in the request, where that is one thing."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})


def refused(error: Exception) -> RefusedError:
    """What a client hears of an error that a door does not handle itself."""
    match error:
        case RefusedError():
            return error
        case AudioTooLongError():
            return RefusedError(413, "audio_too_long", str(error), "file")
        case DecodeError():
            return RefusedError(400, "unreadable_audio", str(error), "file")
        case UnusableRequestError():
            return RefusedError(400, "unusable_request", str(error))
        case EngineBusyError():
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return RefusedError(429, "busy", str(error), headers=headers)
        case EngineError():
            return RefusedError(503, "engine_unavailable", str(error))
        case _:
            return RefusedError(
                500,
                "engine_failed",
                "The engine failed on this request; the server's log says where.",
            )


def error_body(path: str, error: RefusedError) -> dict[str, object]:
    """The error as JSON, in the shape of the door at `path`."""
    if not path.startswith(OPENAI_DOORS):
        return Refusal(code=error.code, message=error.message).model_dump()
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    elif error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "server_error"
    else:
        kind = "invalid_request_error"
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
        }
    }


def error_response(path: str, error: RefusedError) -> JSONResponse:
    """The error as an HTTP response."""
    headers = error.headers
    if error.status == HTTPStatus.NOT_IMPLEMENTED:
        # The openai client repeats every 5xx; this one stays.
        headers = {**headers, "x-should-retry": "false"}
    return JSONResponse(error_body(path, error), error.status, headers)
