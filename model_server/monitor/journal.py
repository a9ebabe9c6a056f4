"""What a score log keeps of a stream, and how a monitor hands it over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
import threading
from typing import Protocol
import zlib

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from model_server.engines.base import EngineInfo
from model_server.monitor.decider import Decider, Progress, Row
from model_server.monitor.detector import Rule
from model_server.monitor.monitor import SoundChange, SoundState
from model_server.monitor.rules import Tuning
from model_server.monitor.timeline import Timeline

BLOCK_WINDOWS = 60
"""Half a minute: what a crash costs, and what is worth compressing."""
KEPT_GAPS = 64


@dataclass(frozen=True)
class Facts:
    """What stays the same for a stream. `labels` is the order of scores in a row."""

    stream: str
    microphone: str
    engine: EngineInfo
    labels: tuple[str, ...]
    window: int


@dataclass(frozen=True)
class Terms:
    """When, and by which rules, a stretch of windows was decided."""

    timeline: Timeline
    rules: dict[str, Rule]
    profile: str
    turn: int = 0
    """How often other rules had come into force before."""


@dataclass(frozen=True)
class Header:
    """What a segment of the log begins with, so that it stands for itself."""

    facts: Facts
    terms: Terms
    progress: dict[str, Progress]
    """How far each label was before the segment's first window."""

    def pack(self) -> bytes:
        """As it is kept."""
        return zlib.compress(_HEADER.dump_json(self))

    @staticmethod
    def unpack(data: bytes) -> Header:
        """As it was. Raises ValueError, zlib.error."""
        return _HEADER.validate_json(zlib.decompress(data))


@dataclass(frozen=True)
class Block:
    """Some windows in a row, of which the first is the stream's window `number`.

    There may be none: then other terms are in force from here on.
    """

    header: Header
    number: int
    at: int
    """The monitor's sample up to which it tells."""
    ends: npt.NDArray[np.int64]
    """Where each window ends: the monitor's samples, (windows,)."""
    rows: npt.NDArray[np.uint8]
    """Their scores, (windows, labels)."""

    @property
    def until(self) -> datetime:
        """UTC time of `at`."""
        return self.header.terms.timeline.utc(self.at)


@dataclass(frozen=True)
class Recognised:
    """An event's change that no score explains: it was recognised by its timing."""

    microphone: str
    stream: str
    event: int
    label: str
    state: SoundState
    time: datetime
    start: datetime
    end: datetime | None
    score: float
    threshold: float
    engine: EngineInfo
    profile: str


@dataclass(frozen=True)
class Closed:
    """A stream has ended."""

    stream: str


Entry = Block | Recognised | Closed

_HEADER = TypeAdapter(Header)


def pack_windows(ends: npt.NDArray[np.int64], rows: npt.NDArray[np.uint8]) -> bytes:
    """Windows as they are kept: label after label, because a label changes little."""
    steps = np.diff(ends, prepend=0).astype("<i8")
    return zlib.compress(steps.tobytes() + rows.T.tobytes(), 9)


def unpack_windows(
    data: bytes, windows: int, labels: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Ends and rows as they were. Raises ValueError, zlib.error."""
    raw = zlib.decompress(data)
    steps = np.frombuffer(raw, "<i8", windows)
    columns = np.frombuffer(raw, np.uint8, windows * labels, 8 * windows)
    return np.cumsum(steps), columns.reshape(labels, windows).T


class Sink(Protocol):
    """Where entries go."""

    def put(self, entry: Entry) -> None:
        """Keep an entry; never waits, never raises."""


class Journal:
    """Collects one stream's windows into blocks; any thread, and it never waits."""

    def __init__(
        self, sink: Sink, facts: Facts, timeline: Callable[[], Timeline]
    ) -> None:
        """Hand blocks to `sink`; `timeline` tells the one in force."""
        self._sink = sink
        self._facts = facts
        self._timeline = timeline
        self._lock = threading.Lock()
        self._number = self._turn = 0
        self._header: Header | None = None
        self._ends: list[int] = []
        self._rows: list[Row] = []
        self._closed = False

    def scored(self, at: int, row: Row, decider: Decider, tuning: Tuning) -> None:
        """The window that ends at sample `at`, before `decider` takes it."""
        with self._lock:
            if self._closed:
                return
            if self._header is None:
                self._header = self._begin(decider, tuning)
            self._ends.append(at)
            self._rows.append(row)
            if len(self._rows) >= BLOCK_WINDOWS:
                self._hand_over()

    def turned(self, at: int, decider: Decider, tuning: Tuning) -> None:
        """After sample `at` other labels or rules are in force."""
        with self._lock:
            if not self._closed:
                self._hand_over()
                self._turn += 1
                header = self._begin(decider, tuning)
                none = np.zeros((0, len(self._facts.labels)), np.uint8)
                ends = np.zeros(0, np.int64)
                self._sink.put(Block(header, self._number, at, ends, none))

    def recognised(self, change: SoundChange) -> None:
        """An event that no score explains."""
        timeline = self._timeline()
        start = timeline.utc(change.onset)
        end = None if change.release is None else timeline.utc(change.release)
        self._sink.put(
            Recognised(
                microphone=self._facts.microphone,
                stream=self._facts.stream,
                event=change.event,
                label=change.label,
                state=change.state,
                time=timeline.utc(change.at),
                start=start,
                end=end,
                score=change.score,
                threshold=change.threshold,
                engine=change.engine,
                profile=change.profile,
            )
        )

    def flush(self) -> None:
        """Hand over what there is: samples were lost, or somebody wants to read."""
        with self._lock:
            self._hand_over()

    def close(self) -> None:
        """The stream has ended."""
        with self._lock:
            if not self._closed:
                self._hand_over()
                self._closed = True
                self._sink.put(Closed(self._facts.stream))

    def _begin(self, decider: Decider, tuning: Tuning) -> Header:
        timeline = self._timeline()
        kept = Timeline(timeline.origin, timeline.gaps[-KEPT_GAPS:])
        terms = Terms(kept, dict(decider.rules), tuning.profile, self._turn)
        return Header(self._facts, terms, dict(decider.progress))

    def _hand_over(self) -> None:
        if self._header is None:
            return
        ends = np.array(self._ends, np.int64)
        rows = np.stack(self._rows)
        self._sink.put(Block(self._header, self._number, self._ends[-1], ends, rows))
        self._number += len(self._rows)
        self._header = None
        self._ends, self._rows = [], []
