"""Where the remote engine is and how it is reached, from the settings."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
import ssl
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from .base import EngineError

if TYPE_CHECKING:
    from model_server.settings import RemoteSettings


@dataclass(frozen=True)
class Address:
    """A base address without secrets, its name for messages, and what it takes to enter.

    `authorization` is the header's value; `tls` is None for plain HTTP.
    """

    url: str
    name: str
    authorization: str | None = field(repr=False)
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, settings: RemoteSettings) -> Address:
        """Raises EngineError that names the setting which cannot be used."""
        try:
            parts = urlsplit(settings.url or "")
            port = parts.port
        except ValueError:
            raise _wrong("remote.url is no address") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise _wrong("remote.url is no http:// or https:// address")
        if parts.query or parts.fragment:
            raise _wrong("remote.url goes on after its path")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = host if port is None else f"{host}:{port}"
        return cls(
            url=urlunsplit((parts.scheme, place, parts.path, "", "")),
            name=f"{parts.scheme}://{place}",
            authorization=_authorization(settings, parts.username, parts.password),
            tls=_tls(settings.ca_cert) if parts.scheme == "https" else None,
        )


def _authorization(
    settings: RemoteSettings, user: str | None, password: str | None
) -> str | None:
    """A bearer key, or the user and password of a reverse proxy from the address."""
    if settings.api_key is not None:
        key = settings.api_key.get_secret_value().strip()
        if not key.isascii() or not key.isprintable():
            raise _wrong("remote.api_key has signs that no key has")
        return f"Bearer {key}" if key else None
    if user is None:
        return None
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _tls(ca_cert: Path | None) -> ssl.SSLContext:
    try:
        # With a file, that file alone is trusted.
        return ssl.create_default_context(cafile=ca_cert)
    except OSError:  # Of which ssl.SSLError is one.
        raise _wrong(
            f"remote.ca_cert names {ca_cert}, which is no file of PEM certificates"
        ) from None


def _wrong(what: str) -> EngineError:
    return EngineError(
        f"Setting {what}: give the remote engine's base address, such as "
        "http://gpu.lan:8000/v1."
        if what.startswith("remote.url")
        else f"Setting {what}."
    )
