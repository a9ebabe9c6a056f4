"""What a client sends, checked: text frames, PCM frames and how fast they come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from model_server.api.messages import (
    PROTOCOL,
    Attend,
    ClientMessage,
    End,
    ErrorCode,
    Listen,
    Start,
)
from model_server.audio import SAMPLE_RATE, Pcm

MAX_TEXT_BYTES = 64 << 10
DRIFT = 1.05
"""A microphone's crystal may run ahead of ours for ever; 5 % is beyond any."""
JITTER_S = 1.0
TYPES = ["start", "listen", "attend", "end"]
"""A list: what a client sends as its type may have no hash."""

Sent: TypeAlias = Start | Listen | Attend | End

_CLIENT_MESSAGE: TypeAdapter[Sent] = TypeAdapter(ClientMessage)


def _kinds() -> str:
    return ", ".join(f'"type": "{kind}"' for kind in TYPES)


class StreamError(Exception):
    """Ends a stream with an `error` message."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        """`message` tells a person what to do."""
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message


def parse_text(text: str) -> Sent:
    """A client's text frame. Raises StreamError saying which field is wrong."""
    if len(text) > MAX_TEXT_BYTES:
        raise StreamError("bad_message", "A text frame holds at most 64 KiB.")
    try:
        content = from_json(text)
    except ValueError:
        raise StreamError(
            "bad_message", "Send JSON in text frames, and PCM in binary frames."
        ) from None
    if not isinstance(content, dict) or content.get("type") not in TYPES:
        raise StreamError(
            "bad_message",
            f"Send an object with {_kinds()}.",
        )
    # Before the other fields: a newer start may not look like ours.
    protocol = content.get("protocol", PROTOCOL)
    if content["type"] == "start" and protocol != PROTOCOL:
        raise StreamError(
            "unsupported_protocol", f"This server speaks protocol {PROTOCOL}."
        )
    try:
        return _CLIENT_MESSAGE.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StreamError("bad_message", f"{where}: {first['msg']}.") from None


def check_start(message: Sent) -> Start:
    """What opens a stream. Raises StreamError if it is something else."""
    if not isinstance(message, Start):
        raise StreamError("bad_message", f"Send `start` before `{message.type}`.")
    for alone in ("transcribe", "wake"):
        if alone in message.tasks and set(message.tasks) != {alone}:
            raise StreamError(
                "unsupported_task",
                f"`{alone}` stands alone: open another stream for the other tasks.",
            )
    if message.time is None:
        return message
    return message.model_copy(update={"time": _utc(message.time)})


def _utc(time: datetime) -> datetime:
    """In UTC, which a time without an offset is in already."""
    try:
        utc = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        utc = datetime.min.replace(tzinfo=UTC)
    # The audio clock counts from here and must not run out of years.
    if not 1970 <= utc.year < 9000:
        raise StreamError("bad_message", "time: give the time of the first sample.")
    return utc


class PcmFrames:
    """Bytes to samples; an odd byte waits for the next frame."""

    def __init__(self) -> None:
        """Start on a sample."""
        self._odd = b""

    def push(self, data: bytes) -> Pcm:
        """Samples that a binary frame completes, (samples,)."""
        data = self._odd + data
        whole = len(data) & ~1
        self._odd = data[whole:]
        return np.frombuffer(data, "<i2", whole // 2).astype(np.int16)


class Pace:
    """How far the audio is ahead of real time.

    A bucket that fills with audio and leaks with time: a client may send a
    backlog of `max_ahead_s` at once, and again after as long.
    """

    def __init__(self, max_ahead_s: float, now: float) -> None:
        """Begin at monotonic second `now`."""
        self._max_ahead_s = max_ahead_s
        self._ahead_s = 0.0
        self._last = now

    def count(self, samples: int, now: float) -> None:
        """Take samples that arrived at `now`. Raises StreamError if they are too many."""
        leaked = (now - self._last) * DRIFT
        self._ahead_s = max(0.0, self._ahead_s - leaked) + samples / SAMPLE_RATE
        self._last = now
        if self._ahead_s > self._max_ahead_s + JITTER_S:
            raise StreamError(
                "too_fast",
                f"The audio is more than {self._max_ahead_s:g} s ahead of real time: "
                "send it as it is recorded, after at most that much backlog.",
            )
