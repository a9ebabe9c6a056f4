"""A child process with a log: started, found ready, killed, started again, always stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

_LOG_TAIL = 40
_STOP_S = 20.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class StartError(RuntimeError):
    """A part of the house did not come up; the message ends with its log's tail."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def accepts(port: int) -> bool:
    """Tell whether something accepts connections on 127.0.0.1:port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _die_with_parent() -> None:
    """Ask the kernel to stop the child should this process be killed without a chance to."""
    with contextlib.suppress(AttributeError):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """One child; `ready` is asked every 50 ms after a start until it says yes."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        ready: Callable[[], Awaitable[bool]],
        timeout_s: float,
        cwd: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the child; nothing runs yet."""
        self.name = name
        self.log = log
        self._command = [str(word) for word in command]
        self._ready = ready
        self._timeout_s = timeout_s
        self._cwd = cwd
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The child's process id. Raises StartError when it does not run."""
        if self._child is None or self._child.returncode is not None:
            raise StartError(f"{self.name} is not running")
        return self._child.pid

    async def start(self) -> None:
        """Start and wait until ready. Raises StartError with the log's tail."""
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        try:
            async with asyncio.timeout(self._timeout_s):
                while not await self._ready():
                    if self._child.returncode is not None:
                        raise self._failure(
                            f"ended with status {self._child.returncode}"
                        )
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise self._failure(
                f"was not ready after {self._timeout_s:.0f} s"
            ) from None

    def _failure(self, what: str) -> StartError:
        lines = self.tail()
        return StartError(f"{self.name} {what}. The end of its log:\n{lines}")

    def tail(self) -> str:
        """The last lines of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_LOG_TAIL:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child and to the children it started."""
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    async def kill(self) -> None:
        """End the child at once, as a power cut would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._child is not None:
            await self._child.wait()

    async def stop(self) -> None:
        """End the child in order, or by force when it takes too long."""
        if self._child is None or self._child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._child.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await self._child.wait()
        except TimeoutError:
            pass
        finally:
            self.signal(signal.SIGKILL)
