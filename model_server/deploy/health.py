"""Whether the server of this container serves: exit status 0 or 1, for HEALTHCHECK."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
import os
import ssl
import sys

TIMEOUT_S = 5.0


def healthy(port: int, *, tls: bool) -> bool:
    """Ask GET /health on this machine."""
    connection: HTTPConnection
    if tls:
        # The certificate names another host, and only this machine is asked.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(
            "127.0.0.1", port, timeout=TIMEOUT_S, context=context
        )
    else:
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    """Look where the environment says the server is."""
    port = int(os.environ.get("EARSHOT_PORT", "10380"))
    tls = "EARSHOT_TLS_CERT" in os.environ
    sys.exit(0 if healthy(port, tls=tls) else 1)


if __name__ == "__main__":
    main()
