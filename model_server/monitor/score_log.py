"""The score log: what every microphone scored, for some days, in one SQLite file.

Scores only, never audio. Whatever becomes of the file costs the log alone: entries are
written by a thread of its own, nobody waits for it, and what cannot be kept is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
import logging
import os
from pathlib import Path
import queue
import sqlite3
import threading
import time

from pydantic import TypeAdapter

from model_server.monitor.journal import (
    Block,
    Closed,
    Entry,
    Facts,
    Journal,
    Recognised,
    Terms,
    pack_windows,
)
from model_server.monitor.timeline import Timeline
from model_server.store import private_folder

FILE = "scores.sqlite3"
VERSION = 1
MAX_WAITING = 512
"""Entries that may wait for the disk: minutes of many microphones."""
BUSY_S = 5.0
SEGMENT_BLOCKS = 120
"""An hour: what retention removes at a time, and what a reader has to begin with."""
TIDY_S = 600.0
DAY_S = 86400.0

_SCHEMA = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE IF NOT EXISTS segment (
    id INTEGER PRIMARY KEY, microphone TEXT NOT NULL, stream TEXT NOT NULL,
    number INTEGER NOT NULL, header BLOB NOT NULL, began REAL NOT NULL,
    ended REAL NOT NULL, written REAL NOT NULL);
CREATE TABLE IF NOT EXISTS block (
    id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, windows INTEGER NOT NULL,
    content BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS block_segment ON block (segment);
CREATE TABLE IF NOT EXISTS recognised (
    id INTEGER PRIMARY KEY, microphone TEXT NOT NULL, time REAL NOT NULL,
    written REAL NOT NULL, content TEXT NOT NULL);
PRAGMA user_version = {VERSION};
COMMIT;
"""

_LOGGER = logging.getLogger(__name__)
_RECOGNISED = TypeAdapter(Recognised)


@dataclass
class _Segment:
    """Where a stream's next block goes."""

    row: int
    terms: Terms
    number: int
    blocks: int = 0


class ScoreLog:
    """Writes the log of one data folder; `put` may be called from any thread."""

    def __init__(
        self,
        data_dir: Path,
        *,
        days: float,
        max_bytes: int,
        lost: Callable[[int], None] = lambda windows: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keep entries for some days; `lost` is told of windows that were not kept."""
        self.path = data_dir / FILE
        self._kept_s = days * DAY_S
        self._max_bytes = max_bytes
        self._lost = lost
        self._now = now
        self._waiting: queue.Queue[Entry | threading.Event | None] = queue.Queue(
            MAX_WAITING
        )
        self._journals: dict[str, Journal] = {}
        """Those of streams that go on; under the lock."""
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._segments: dict[str, _Segment] = {}
        self._warned = False
        """Whether somebody was told that nothing is kept, and not yet that it is."""
        self._warn_from = float("-inf")
        self._tidied = float("-inf")

    def journal(self, facts: Facts, timeline: Callable[[], Timeline]) -> Journal:
        """What a stream's monitor writes into."""
        made = Journal(self, facts, timeline)
        with self._lock:
            self._journals[facts.stream] = made
        return made

    def start(self) -> None:
        """Begin to write, and to remove what is too old."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="score-log", daemon=True
                )
                self._thread.start()

    def put(self, entry: Entry) -> None:
        """Keep an entry, soon; where too much waits it is lost."""
        if isinstance(entry, Closed):
            with self._lock:
                self._journals.pop(entry.stream, None)
        self.start()
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            self._lost(_windows(entry))

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Write what streams have collected; whether that was done in time."""
        for journal in self._open():
            journal.flush()
        if self._thread is None:
            return True
        done = threading.Event()
        try:
            self._waiting.put(done, timeout=timeout_s)
        except queue.Full:
            return False
        return done.wait(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits and end the thread."""
        for journal in self._open():
            journal.close()
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=timeout_s)
            except queue.Full:
                return
            self._thread.join(timeout_s)

    def _open(self) -> list[Journal]:
        with self._lock:
            return list(self._journals.values())

    def _run(self) -> None:
        going = True
        if self.path.exists():
            self._keep([])
        while going:
            entries: list[Entry] = []
            done: list[threading.Event] = []
            for item in self._taken():
                if item is None:
                    going = False
                elif isinstance(item, threading.Event):
                    done.append(item)
                else:
                    entries.append(item)
            # What is too old goes, too, where nobody streams any more.
            if entries or (not done and self.path.exists()):
                self._keep(entries)
            for each in done:
                each.set()
        self._disconnect()

    def _taken(self) -> Iterator[Entry | threading.Event | None]:
        """What waits; nothing if that takes long."""
        try:
            yield self._waiting.get(timeout=TIDY_S)
            for _ in range(MAX_WAITING):
                yield self._waiting.get_nowait()
        except queue.Empty:
            return

    def _keep(self, entries: list[Entry]) -> None:
        """Write entries at once, or lose them."""
        try:
            database = self._connect()
            with database:
                for entry in entries:
                    self._write(database, entry)
            self._tidy(database)
        except (sqlite3.Error, OSError) as error:
            self._lose(entries, error)
        else:
            if self._warned:
                self._warned = False
                _LOGGER.warning("The score log is written again")

    def _lose(self, entries: list[Entry], error: Exception) -> None:
        # What was not written must not be taken for written: all segments begin anew.
        self._segments.clear()
        self._disconnect()
        for entry in entries:
            self._lost(_windows(entry))
        # A disk that has room now and then is told of now and then.
        if not self._warned and time.monotonic() >= self._warn_from:
            self._warned = True
            self._warn_from = time.monotonic() + TIDY_S
            _LOGGER.warning(
                "The score log cannot be written (%s): sounds are heard as ever, but "
                "`replay` will know nothing of this time; make room on the disk, or "
                "remove %s if it is damaged",
                error,
                self.path,
            )

    def _connect(self) -> sqlite3.Connection:
        """The file, made where it is missing; somebody may have removed it."""
        if self._database is not None and self.path.exists():
            return self._database
        self._disconnect()
        self._segments.clear()
        private_folder(self.path.parent)
        # Private from its first moment; SQLite's files beside it follow it.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        database = connect(self.path)
        try:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in {0, VERSION}:
                raise sqlite3.DatabaseError(f"it is of another version, {version}")
            database.executescript(_SCHEMA)
            # A lost half minute after a power cut is no harm, a worn card is.
            database.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error:
            database.close()
            raise
        self._database = database
        return database

    def _disconnect(self) -> None:
        if self._database is not None:
            database, self._database = self._database, None
            database.close()

    def _write(self, database: sqlite3.Connection, entry: Entry) -> None:
        match entry:
            case Block():
                self._write_block(database, entry)
            case Recognised():
                row = (entry.microphone, entry.time.timestamp(), self._now())
                content = _RECOGNISED.dump_json(entry).decode()
                database.execute(
                    "INSERT INTO recognised (microphone, time, written, content) "
                    "VALUES (?, ?, ?, ?)",
                    (*row, content),
                )
            case Closed():
                self._segments.pop(entry.stream, None)

    def _write_block(self, database: sqlite3.Connection, block: Block) -> None:
        facts, terms = block.header.facts, block.header.terms
        segment = self._segments.get(facts.stream)
        until = block.until.timestamp()
        if (
            segment is None
            or segment.terms != terms
            or segment.number != block.number
            or segment.blocks >= SEGMENT_BLOCKS
            or not block.rows.size
        ):
            first = int(block.ends[0]) if block.ends.size else block.at
            row = database.execute(
                "INSERT INTO segment (microphone, stream, number, header, began, ended, "
                "written) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    facts.microphone,
                    facts.stream,
                    block.number,
                    block.header.pack(),
                    terms.timeline.utc(first).timestamp(),
                    until,
                    self._now(),
                ),
            ).lastrowid
            assert row is not None
            segment = self._segments[facts.stream] = _Segment(row, terms, block.number)
        if block.rows.size:
            content = pack_windows(block.ends, block.rows)
            database.execute(
                "INSERT INTO block (segment, windows, content) VALUES (?, ?, ?)",
                (segment.row, len(block.rows), content),
            )
        database.execute(
            "UPDATE segment SET ended = ?, written = ? WHERE id = ?",
            (until, self._now(), segment.row),
        )
        segment.number += len(block.rows)
        segment.blocks += 1

    def _tidy(self, database: sqlite3.Connection) -> None:
        """Remove what is too old, and the oldest where there is too much."""
        now = self._now()
        if now - self._tidied >= TIDY_S or now < self._tidied:
            self._tidied = now
            before = now - self._kept_s
            with database:
                database.execute("DELETE FROM recognised WHERE written < ?", (before,))
                old = database.execute(
                    "SELECT id FROM segment WHERE written < ?", (before,)
                ).fetchall()
                _remove(database, old)
        while used_bytes(database) > self._max_bytes:
            with database:
                oldest = database.execute(
                    "SELECT id FROM segment ORDER BY written, id LIMIT 16"
                ).fetchall()
                _remove(database, oldest)
                database.execute(
                    "DELETE FROM recognised WHERE id IN "
                    "(SELECT id FROM recognised ORDER BY id LIMIT 256)"
                )
            if not oldest:
                break
        database.execute("PRAGMA incremental_vacuum").fetchall()


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a log. Raises sqlite3.Error."""
    mode = "ro" if read_only else "rw"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, timeout=BUSY_S, uri=True, check_same_thread=False)


def forget(data_dir: Path) -> None:
    """Remove a log that nobody wants any more. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        (data_dir / f"{FILE}{suffix}").unlink(missing_ok=True)


def used_bytes(database: sqlite3.Connection) -> int:
    """What the log takes, without pages that wait to be used again."""
    with closing(database.cursor()) as cursor:
        numbers = [
            cursor.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        ]
    pages, free, size = numbers
    return int((pages - free) * size)


def _remove(database: sqlite3.Connection, segments: list[tuple[int]]) -> None:
    database.executemany("DELETE FROM block WHERE segment = ?", segments)
    database.executemany("DELETE FROM segment WHERE id = ?", segments)


def _windows(entry: Entry) -> int:
    return len(entry.rows) if isinstance(entry, Block) else 0
