"""Reads a score log, also while a server writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
import sqlite3
import zlib

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from model_server.monitor.journal import Header, Recognised, unpack_windows
from model_server.monitor.score_log import FILE, VERSION, connect

_RECOGNISED = TypeAdapter(Recognised)


class ScoreFileError(Exception):
    """The log cannot be read; the message says what a person can do."""


@dataclass(frozen=True)
class Stretch:
    """Windows in a row, and what was in force: see `Block`."""

    ends: npt.NDArray[np.int64]
    rows: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Segment:
    """A part of a stream's log that stands for itself; `number` is its first window."""

    row: int
    header: Header
    number: int


class ScoreFile:
    """An open log; one thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Read through this connection."""
        self._database = database

    def microphones(self) -> list[str]:
        """Whoever is in the log."""
        found = self._database.execute(
            "SELECT microphone FROM segment UNION SELECT microphone FROM recognised "
            "ORDER BY microphone"
        )
        return [name for (name,) in found]

    def windows(
        self, microphone: str | None, since: datetime, until: datetime | None
    ) -> int:
        """How many windows `segments` would tell of."""
        (count,) = self._database.execute(
            "SELECT coalesce(sum(block.windows), 0) FROM segment JOIN block "
            "ON block.segment = segment.id WHERE segment.ended >= ? "
            "AND (? IS NULL OR segment.began <= ?) AND (? IS NULL OR segment.microphone = ?)",
            _within(microphone, since, until),
        ).fetchone()
        return int(count)

    def segments(
        self, microphone: str | None, since: datetime, until: datetime | None
    ) -> Iterator[Segment]:
        """Segments that overlap a time, each stream's in order. Raises ScoreFileError."""
        rows = self._database.execute(
            "SELECT id, number, header FROM segment WHERE ended >= ? AND (? IS NULL OR began <= ?) "
            "AND (? IS NULL OR microphone = ?) ORDER BY id",
            _within(microphone, since, until),
        ).fetchall()
        for row, number, header in rows:
            with _readable():
                yield Segment(row, Header.unpack(header), number)

    def stretches(self, segment: Segment) -> Iterator[Stretch]:
        """The windows of a segment, in order. Raises ScoreFileError."""
        labels = len(segment.header.facts.labels)
        blocks = self._database.execute(
            "SELECT windows, content FROM block WHERE segment = ? ORDER BY id",
            (segment.row,),
        )
        for windows, content in blocks:
            with _readable():
                yield Stretch(*unpack_windows(content, windows, labels))

    def recognised(
        self, microphone: str | None, since: datetime, until: datetime | None
    ) -> Iterator[Recognised]:
        """Changes that no score explains, in order. Raises ScoreFileError."""
        found = self._database.execute(
            "SELECT content FROM recognised WHERE time >= ? AND (? IS NULL OR time <= ?) "
            "AND (? IS NULL OR microphone = ?) ORDER BY id",
            _within(microphone, since, until),
        )
        for (content,) in found:
            with _readable():
                yield _RECOGNISED.validate_json(content)


@contextmanager
def open_score_file(data_dir: Path) -> Iterator[ScoreFile]:
    """The log of a data folder, as it was at one moment. Raises ScoreFileError."""
    path = data_dir / FILE
    if not path.is_file():
        raise ScoreFileError(
            f"There is no score log {path}: a server writes it while microphones are "
            "connected, unless score_log_days is 0."
        )
    try:
        with closing(connect(path, read_only=True)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise ScoreFileError(
                    f"The score log {path} is of another version of Earshot: remove it."
                )
            database.execute("BEGIN")
            yield ScoreFile(database)
    except sqlite3.Error as error:
        raise ScoreFileError(
            f"The score log {path} cannot be read ({error}): if it stays so, remove it."
        ) from error


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (ValueError, zlib.error) as error:
        raise ScoreFileError("The score log is damaged: remove it.") from error


def _within(
    microphone: str | None, since: datetime, until: datetime | None
) -> tuple[object, ...]:
    end = None if until is None else until.timestamp()
    return since.timestamp(), end, end, microphone, microphone
