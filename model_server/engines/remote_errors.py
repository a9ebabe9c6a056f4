"""What went wrong with a server elsewhere, and what a person can do about it."""

from __future__ import annotations

from http import HTTPStatus
import math
import socket
import ssl
from typing import TYPE_CHECKING, Final

import httpcore2
import openai

from .base import EngineBusyError, EngineError, UnusableRequestError
from .bounded_http import TooMuchError

if TYPE_CHECKING:
    from model_server.settings import RemoteSettings


class MalformedError(Exception):
    """What a server sent is not of the shape that the API has."""


FAILURES: Final = (
    MalformedError,
    TooMuchError,
    openai.OpenAIError,
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
)
"""What an exchange may raise."""

_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_UNUSABLE: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


def retriable(error: BaseException) -> float | None:
    """Least seconds before it is worth asking again; None if it is not.

    Asked again are servers that are overloaded (429), failed (5xx), refused the
    connection or broke it off before they answered. Time-outs are not: the person
    has waited already.
    """
    if isinstance(error, openai.APIStatusError):
        if error.status_code == HTTPStatus.TOO_MANY_REQUESTS or _failed(error):
            return _retry_after(error)
        return None
    if isinstance(error, httpcore2.NetworkError | httpcore2.RemoteProtocolError):
        lasting = isinstance(_reason(error), ssl.SSLError | socket.gaierror)
        return None if lasting else 0.0
    return None


def _failed(error: openai.APIStatusError) -> bool:
    return error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR


def _retry_after(error: openai.APIStatusError) -> float:
    """Seconds that the server asks for; a date counts as too long."""
    given = error.response.headers.get("retry-after")
    if given is None:
        return 0.0
    try:
        seconds = float(given)
    except ValueError:
        return math.inf
    return seconds if seconds >= 0 else math.inf


def translate(error: BaseException, said: str, settings: RemoteSettings) -> EngineError:
    """An error that says what to do; `said` names the engine. Nothing else is told."""
    if isinstance(error, openai.APIStatusError):
        return _status(error, said, settings)
    if isinstance(error, TooMuchError):
        return EngineError(
            f"{said} said more than it was asked for: check what listens there."
        )
    if isinstance(error, httpcore2.ConnectTimeout):
        return EngineError(f"{said} does not answer: {_CHECK}.")
    if isinstance(error, httpcore2.TimeoutException):
        return EngineError(
            f"{said} took too long: give it less to do at once, or set "
            f"remote.timeout_s higher than {settings.timeout_s:g}."
        )
    if isinstance(error, httpcore2.ConnectError):
        return EngineError(f"{said} {_connecting(_reason(error))}.")
    if isinstance(error, httpcore2.NetworkError | httpcore2.ProtocolError):
        return EngineError(f"{said} broke off the connection: look at its log.")
    if type(error) is openai.APIError:
        # An error in place of an event.
        return EngineError(f"{said} failed while it answered: look at its log.")
    return EngineError(
        f"{said} does not answer as OpenAI's chat API does: check what listens there."
    )


_CHECK: Final = "check that it runs and that remote.url is right"


def _reason(error: BaseException) -> object:
    """The system's own error, which httpcore2 wraps; its pool drops the cause."""
    return error.args[0] if error.args else None


def _connecting(cause: object) -> str:
    """Why there was no connection."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            "shows a certificate that is not trusted: set remote.ca_cert to the "
            "authority that signed it, and use the name in remote.url that it is for"
        )
    if isinstance(cause, ssl.SSLError):
        return "speaks no TLS: begin remote.url with http:// if that is meant"
    if isinstance(cause, socket.gaierror):
        return "cannot be found by its name: check remote.url"
    return f"does not answer: {_CHECK}"


def _status(
    error: openai.APIStatusError, said: str, settings: RemoteSettings
) -> EngineError:
    """What an HTTP status asks for."""
    status = error.status_code
    if status in _REFUSED:
        return EngineError(
            f"{said} refuses the key ({status}): set remote.api_key to its own."
        )
    if status == HTTPStatus.NOT_FOUND:
        return EngineError(
            f"{said} has no model {settings.model!r} at this address (404): set "
            "remote.model to the name it serves, and let remote.url end in /v1."
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return EngineBusyError(
            f"{said} has too much to do (429): set remote.parallel lower."
        )
    if status in _UNUSABLE:
        return UnusableRequestError(
            f"{said} refuses the request ({status}): check that its model takes audio "
            "and that it follows JSON schemas (vLLM from 0.14 does both)."
        )
    if 300 <= status < 400:
        return EngineError(
            f"{said} answers from elsewhere ({status}): set remote.url to where it "
            "points, which is not followed."
        )
    return EngineError(f"{said} failed ({status}): look at its log.")
