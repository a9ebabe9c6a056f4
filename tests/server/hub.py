"""A server that speaks as much of the Hugging Face hub's API as a download needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import re
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One repository. Files that end in .safetensors are in LFS, with their SHA-256.

    `cut`: bytes after which the connection breaks, once, by file; afterwards the hub
    fails for as long as `down`. `swapped`: what is sent instead of a file. `requests`:
    path and Range header of every download.
    """

    repo: str
    files: dict[str, bytes]
    refusal: tuple[int, str] | None = None
    cut: dict[str, int] = field(default_factory=dict)
    swapped: dict[str, bytes] = field(default_factory=dict)
    down: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def tree(self) -> list[dict[str, object]]:
        """Files as the hub lists them."""
        listed: list[dict[str, object]] = [
            {"type": "directory", "path": "assets", "oid": "0" * 40, "size": 0}
        ]
        for name, content in self.files.items():
            head = b"blob %d\0" % len(content)
            entry: dict[str, object] = {
                "type": "file",
                "path": name,
                "size": len(content),
                "oid": hashlib.sha1(head + content).hexdigest(),
            }
            if name.endswith((".safetensors", ".bin")):
                entry["lfs"] = {
                    "oid": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 134,
                }
            listed.append(entry)
        return listed


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve it on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{hub.repo}/revision/"):
                self._api(path.rpartition("/")[2], {"id": hub.repo, "sha": COMMIT})
            elif path.startswith(f"/api/models/{hub.repo}/tree/"):
                self._api(path.rpartition("/")[2], hub.tree())
            elif found := re.fullmatch(f"/{hub.repo}/resolve/{COMMIT}/(.+)", path):
                self._file(found[1])
            else:
                self._refuse(404, "RepoNotFound")

        def _api(self, revision: str, answer: object) -> None:
            if hub.refusal:
                self._refuse(*hub.refusal)
            elif revision not in ("main", COMMIT):
                self._refuse(404, "RevisionNotFound")
            else:
                self._send(200, json.dumps(answer).encode())

        def _file(self, name: str) -> None:
            wanted = self.headers.get("Range")
            hub.requests.append((name, wanted))
            if hub.down:
                self._refuse(500, "Down")
                return
            content = hub.swapped.get(name, hub.files[name])
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            body = content[start:]
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(body)))
            if wanted:
                self.send_header(
                    "Content-Range",
                    f"bytes {start}-{len(content) - 1}/{len(content)}",
                )
            self.end_headers()
            cut = hub.cut.pop(name, None)
            if cut is None:
                self.wfile.write(body)
                return
            hub.down = True
            self.wfile.write(body[:cut])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True

        def _refuse(self, status: int, code: str) -> None:
            self._send(status, b"{}", ("X-Error-Code", code))

        def _send(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
