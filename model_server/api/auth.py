"""Who may enter: one bearer token per installation, asked for at every door but /health."""

from __future__ import annotations

import hmac
from pathlib import Path
import secrets
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from model_server.api.refusals import RefusedError, error_response
from model_server.store import write_private

OPEN_PATHS: Final = frozenset({"/health"})


class TokenFile:
    """The token in the data folder, mode 0600.

    The file is read again when it changes, so that `token rotate` works on a
    running server; streams that are open stay open.
    """

    def __init__(self, data_dir: Path) -> None:
        """Use the token of this data folder."""
        self._path = data_dir / "token"
        self._token = ""
        self._stamp: tuple[int, int] | None = None

    def ensure(self) -> str | None:
        """Make a token where there is none and return it; None if there was one."""
        return None if self.read() else self.rotate()

    def rotate(self) -> str:
        """Replace the token by a new one and return it."""
        write_private(self._path, secrets.token_urlsafe(32).encode() + b"\n")
        return self.read()

    def read(self) -> str:
        """The token, or an empty string where none was made."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._token = self._path.read_text("ascii").strip()
                self._stamp = stamp
        except FileNotFoundError:
            self._token, self._stamp = "", None
        return self._token

    def allows(self, authorization: str | None) -> bool:
        """Whether an Authorization header carries the token; constant time."""
        scheme, _, given = (authorization or "").partition(" ")
        token = self.read()
        same = hmac.compare_digest(given.strip().encode(), token.encode())
        return bool(token) and same and scheme.lower() == "bearer"


class RequireToken:
    """ASGI middleware: without the token nothing behind it runs, WebSockets included."""

    def __init__(self, app: ASGIApp, token: TokenFile) -> None:
        """Guard `app`."""
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        is_open = scope["type"] == "http" and scope["path"] in OPEN_PATHS
        if is_open or self._token.allows(Headers(scope=scope).get("authorization")):
            await self._app(scope, receive, send)
            return
        refusal = error_response(
            scope["path"],
            RefusedError(
                401,
                "unauthorized",
                "Send the header Authorization: Bearer <token>; "
                "`python -m model_server token show` prints the token.",
                headers={"WWW-Authenticate": "Bearer"},
            ),
        )
        # On a WebSocket, Starlette sends this through websocket.http.response.
        await refusal(scope, receive, send)
