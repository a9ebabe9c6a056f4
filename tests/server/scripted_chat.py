"""A real server of OpenAI's chat API that does what a test tells it, well or badly.

It runs in a process of its own. What it does stands in the request's `model`, as
JSON: a list of deeds, of which each further request with that model gets the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
import gzip
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
import json
from pathlib import Path
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

PACE_S: Final = 0.01
"""Between two bytes of a server that drips."""


def script(*deeds: list[Any], key: str = "") -> str:
    """The `model` that makes the server do this; `key` tells equal scripts apart."""
    return json.dumps({"key": key, "deeds": deeds})


def event(content: object) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(content)}\n\n".encode()


def chunk(
    delta: object, finish: str | None = None, logprobs: object = None
) -> dict[str, Any]:
    """One event's content."""
    choice = {
        "index": 0,
        "delta": delta,
        "finish_reason": finish,
        "logprobs": logprobs,
    }
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return {**head, "choices": [choice]}


class _Handler(BaseHTTPRequestHandler):
    """One request; the deeds are methods."""

    protocol_version = "HTTP/1.1"
    seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    gone: dict[str, threading.Event] = defaultdict(threading.Event)
    """Set when a client left before it had everything."""
    model = ""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """What was received so far; or wait until a client left."""
        url = urlsplit(self.path)
        model = parse_qs(url.query)["model"][0]
        answer: object = self.seen[model]
        if url.path == "/gone":
            answer = self.gone[model].wait(60)
        body = json.dumps(answer).encode()
        self._head(200, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Do the next deed."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.model = body["model"]
        got = self.seen[self.model]
        got.append({"path": self.path, "headers": dict(self.headers), "body": body})
        deeds = json.loads(self.model)["deeds"]
        name, *arguments = deeds[min(len(got), len(deeds)) - 1]
        self.close_connection = True
        try:
            getattr(self, name)(*arguments)
        except OSError:
            self.gone[self.model].set()

    def _head(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _begin(self, headers: dict[str, str] | None = None) -> None:
        self._head(200, {"Content-Type": "text/event-stream"} | (headers or {}))

    def _say(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            self.wfile.write(event(chunk({"content": piece})))

    def _until_left(self) -> None:
        if not self.connection.recv(1):
            self.gone[self.model].set()

    # The deeds.

    def answer(
        self, pieces: list[str], logprobs: list[float] | None = None, end: str = "stop"
    ) -> None:
        """Answer as vLLM does."""
        self._begin()
        self.wfile.write(event(chunk({"role": "assistant", "content": ""})))
        for number, piece in enumerate(pieces):
            given = None
            if logprobs is not None:
                token = {"token": piece, "logprob": logprobs[number], "bytes": []}
                given = {"content": [{**token, "top_logprobs": []}]}
            self.wfile.write(event(chunk({"content": piece}, logprobs=given)))
        self.wfile.write(event(chunk({}, end)))
        self.wfile.write(b"data: [DONE]\n\n")

    def status(self, code: int, headers: dict[str, str], body: str = "{}") -> None:
        """Refuse or fail."""
        self._head(code, headers | {"Content-Length": str(len(body))})
        self.wfile.write(body.encode())

    def silence(self) -> None:
        """Say nothing at all."""
        self._until_left()

    def silence_after(self, pieces: list[str]) -> None:
        """Begin, and say nothing more."""
        self._begin()
        self._say(pieces)
        self._until_left()

    def drip_headers(self) -> None:
        """One byte of a header at a time, for ever."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._drip(b"x")

    def drip_body(self) -> None:
        """One byte of a comment at a time, for ever."""
        self._begin()
        self._drip(b":")

    def _drip(self, byte: bytes) -> None:
        while True:
            self.wfile.write(byte)
            time.sleep(PACE_S)

    def reset(self, pieces: list[str] | None = None) -> None:
        """Break the connection off, before or within the answer."""
        if pieces is not None:
            self._begin({"Content-Length": "100000"})
            self._say(pieces)
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def end_early(self, pieces: list[str]) -> None:
        """End in good order, in the middle."""
        self._begin()
        self._say(pieces)

    def endless(self, text: str) -> None:
        """Say the same for ever."""
        self._begin()
        while True:
            self._say([text])

    def giant_line(self) -> None:
        """One line that never ends."""
        self._begin()
        self.wfile.write(b"data: ")
        while True:
            self.wfile.write(b"x" * 65536)

    def giant_error(self) -> None:
        """An error with a body that never ends."""
        self._head(500)
        while True:
            self.wfile.write(b"x" * 65536)

    def bomb(self) -> None:
        """A small body that unpacks to 20 MB, though nobody asked for it."""
        self._begin({"Content-Encoding": "gzip"})
        self.wfile.write(gzip.compress(event(chunk({"content": "x" * 20_000_000}))))

    def raw(self, body: str) -> None:
        """These bytes, as Latin-1."""
        self._begin()
        self.wfile.write(body.encode("latin-1"))

    def events(self, *contents: object) -> None:
        """These events, then a proper end."""
        self._begin()
        for content in contents:
            self.wfile.write(event(content))
        self.wfile.write(event(chunk({}, "stop")))


@dataclass(frozen=True)
class ScriptedChat:
    """The running process."""

    url: str
    control: str
    process: subprocess.Popen[str]

    def seen(self, model: str) -> list[dict[str, Any]]:
        """The requests with this script: path, headers, body."""
        seen: list[dict[str, Any]] = self._get("seen", model)
        return seen

    def was_left(self, model: str) -> bool:
        """Wait until a client has closed a connection before this script's end."""
        return bool(self._get("gone", model))

    def _get(self, what: str, model: str) -> Any:
        query = urlencode({"model": model})
        with urlopen(f"{self.control}/{what}?{query}") as response:
            return json.load(response)


_numbers = count()


def unique(*deeds: list[Any]) -> str:
    """A script that no other test shares."""
    return script(*deeds, key=str(next(_numbers)))


@contextmanager
def scripted_chat(
    certificate: Path | None = None, key: Path | None = None, port: int = 0
) -> Generator[ScriptedChat]:
    """Start the process, with TLS if it has a certificate."""
    arguments = [str(port), *(str(path) for path in (certificate, key) if path)]
    with subprocess.Popen(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            ports = [int(number) for number in process.stdout.readline().split()]
            scheme = "https" if certificate else "http"
            yield ScriptedChat(
                f"{scheme}://localhost:{ports[0]}/v1",
                f"http://127.0.0.1:{ports[1]}",
                process,
            )
        finally:
            process.kill()


def main(port: str, *tls: str) -> None:
    """Serve until killed; print the ports of the API and of the control."""
    served = ThreadingHTTPServer(("127.0.0.1", int(port)), _Handler)
    control = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        served.socket = context.wrap_socket(
            served.socket, server_side=True, do_handshake_on_connect=False
        )
    print(served.server_port, control.server_port, flush=True)  # noqa: T201
    threading.Thread(target=control.serve_forever, daemon=True).start()
    served.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
