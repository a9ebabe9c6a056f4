"""One thread that owns a model: calls wait in lanes, and share its every pass.

A call is a generator that yields what it needs of the model and is sent the answer.
Each round serves the most urgent need and, in the same pass, every need of that kind
that other calls have: a transcript, three captions and an answer in JSON advance by one
token together, and a window of sound waits for one such step, never for an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
import logging
from queue import SimpleQueue
import threading
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from model_server.engines.base import EngineBusyError, EngineError, LaneLoad

Lane: TypeAlias = Literal["sounds", "commands", "ahead", "descriptions"]
LANES: Final[tuple[Lane, ...]] = ("sounds", "commands", "ahead", "descriptions")
"""Most urgent first. `ahead` is work on an utterance that still goes on."""

SPARE: Final[Mapping[Lane, int]] = {
    "sounds": 0,
    "commands": 1,
    "ahead": 0,
    "descriptions": 2,
}
"""Rows that a lane and less urgent ones cannot take: they are for the more urgent."""

LATER: Final = object()
"""What `perform` answers where a need has to wait for another one's answer."""

T = TypeVar("T")
Work: TypeAlias = Generator[Any, Any, T]
Say: TypeAlias = Callable[[str], None]

_LOGGER = logging.getLogger(__name__)


class Model(Protocol):
    """What the thread serves with; all of it is called from that thread only."""

    def perform(self, needs: Sequence[Any]) -> list[Any]:
        """Answer needs of one type in one pass: an answer, LATER, or an EngineError.

        Where it raises, nothing has changed: each need may be tried again alone.
        """

    def release(self, row: int) -> None:
        """Free what a call held in its row."""

    def relieve(self, error: Exception) -> EngineError | None:
        """For an error that is a lack of memory: free what can be, and say it better."""


class Call(Generic[T]):
    """A call as its caller sees it; the caller may wait on a thread of its own."""

    def __init__(self) -> None:
        """Not answered yet."""
        self._parts: SimpleQueue[str | _Done[T] | Exception] = SimpleQueue()
        self._cancelled = threading.Event()

    def result(self) -> T:
        """Wait for the result; text that was said on the way is dropped."""
        pieces = self.pieces()
        while True:
            try:
                next(pieces)
            except StopIteration as stop:
                result: T = stop.value
                return result

    def pieces(self) -> Generator[str, None, T]:
        """Text as it is said; returns the result. Closing it cancels the call."""
        try:
            while True:
                part = self._parts.get()
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, _Done):
                    return part.value
                yield part
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Nobody waits any longer: the call ends before its next step."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits any longer."""
        return self._cancelled.is_set()

    def say(self, text: str) -> None:
        """Hand over text."""
        self._parts.put(text)

    def finish(self, value: T) -> None:
        """Hand over the result."""
        self._parts.put(_Done(value))

    def fail(self, error: Exception) -> None:
        """Hand over why there is none."""
        self._parts.put(error)


@dataclass(frozen=True)
class _Done(Generic[T]):
    value: T


@dataclass
class _Job:
    """A call under way: its rank, its row and what it needs next."""

    lane: Lane
    make: Callable[[int, Say], Work[Any]]
    call: Call[Any]
    rank: tuple[int, int]
    row: int | None = None
    work: Work[Any] | None = None
    need: Any = None


@dataclass
class _Lane:
    waiting: deque[_Job] = field(default_factory=deque)
    dropped: int = 0


class Scheduler:
    """Serves calls from any thread on one of its own, until it is closed."""

    def __init__(self, model: Model, rows: int, max_waiting: int) -> None:
        """Serve `rows` calls of the descriptions lane at once, and more urgent ones.

        `max_waiting` more may wait in each lane.
        """
        self._model = model
        self._rows = rows + max(SPARE.values())
        self._free = list(range(self._rows))
        self._holders: dict[int, Lane] = {}
        self._max_waiting = max_waiting
        self._lanes = {lane: _Lane() for lane in LANES}
        self._active: list[_Job] = []
        self._order = count()
        self._changed = threading.Condition()
        self._end: EngineError | None = None
        self._thread = threading.Thread(
            target=self._serve, name="midashenglm", daemon=True
        )
        self._thread.start()

    def submit(self, lane: Lane, make: Callable[[int, Say], Work[T]]) -> Call[T]:
        """Queue a call: `make` gets its row and a way to say text on the way.

        Raises EngineBusyError where too many wait in the lane, EngineError once
        the scheduler is closed.
        """
        call: Call[T] = Call()
        with self._changed:
            if self._end is not None:
                raise EngineError(*self._end.args)
            queue = self._lanes[lane]
            if len(queue.waiting) >= self._max_waiting:
                queue.dropped += 1
                raise EngineBusyError(
                    f"{self._max_waiting} calls of the {lane} lane wait already: ask "
                    "less often, or raise midashenglm.max_waiting."
                )
            rank = LANES.index(lane), next(self._order)
            queue.waiting.append(_Job(lane, make, call, rank))
            self._changed.notify()
        return call

    def load(self) -> dict[str, LaneLoad]:
        """What waits in each lane now, and what was dropped so far."""
        with self._changed:
            return {
                name: LaneLoad(len(lane.waiting), lane.dropped)
                for name, lane in self._lanes.items()
            }

    def close(self) -> None:
        """End every call with an EngineError, and the thread. May be called again."""
        self._stop(EngineError("The model is being shut down."))
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _stop(self, end: EngineError) -> None:
        with self._changed:
            self._end = self._end or end
            self._changed.notify()

    def _serve(self) -> None:
        """The thread. Whatever happens in it, nobody is left waiting."""
        try:
            while self._admit():
                for job in [job for job in self._active if job.call.cancelled]:
                    self._leave(job)
                if self._active:
                    self._round()
        except BaseException:
            _LOGGER.exception("The thread of the model failed")
            raise
        finally:
            self._stop(EngineError("The model has failed: start the server again."))
            assert self._end is not None
            waiting = [job for lane in self._lanes.values() for job in lane.waiting]
            for job in [*self._active, *waiting]:
                job.call.fail(EngineError(*self._end.args))

    def _admit(self) -> bool:
        """Begin what there are rows for, after waiting for something to do."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._end
                    or self._active
                    or any(lane.waiting for lane in self._lanes.values())
                )
            )
            if self._end is not None:
                return False
            begun = [
                job
                for lane in LANES
                for job in self._admitted(lane, self._lanes[lane].waiting)
            ]
        self._active += begun
        self._active.sort(key=lambda job: job.rank)
        for job in begun:
            self._advance(job, None)
        return True

    def _admitted(self, lane: Lane, waiting: deque[_Job]) -> Iterator[_Job]:
        while waiting:
            if waiting[0].call.cancelled:
                waiting.popleft()
                continue
            if lane != "ahead":
                if not self._free or self._taken(lane) >= self._rows - SPARE[lane]:
                    return
                waiting[0].row = self._free.pop(0)
                self._holders[waiting[0].row] = lane
            yield waiting.popleft()

    def _taken(self, lane: Lane) -> int:
        """Rows that a lane and less urgent ones hold."""
        rank = LANES.index(lane)
        return sum(LANES.index(held) >= rank for held in self._holders.values())

    def _round(self) -> None:
        """Serve the most urgent need, with all of its kind.

        In one lane that is the newest call's: once it has begun it shares every step
        with the older ones, instead of waiting for their ends.
        """
        lane = self._active[0].lane
        kind = type([job for job in self._active if job.lane == lane][-1].need)
        jobs = [job for job in self._active if type(job.need) is kind]
        for job, answer in zip(jobs, self._perform(jobs), strict=True):
            if isinstance(answer, Exception):
                self._fail(job, answer)
            elif answer is not LATER:
                self._advance(job, answer)

    def _perform(self, jobs: list[_Job]) -> list[Any]:
        """Answers, or errors in their place."""
        try:
            return self._model.perform([job.need for job in jobs])
        except Exception as error:  # noqa: BLE001 - it must end one call, not more
            if self._model.relieve(error) is None and len(jobs) == 1:
                return [error]
        # One of them is to blame, or there is more memory now.
        return [answer for job in jobs for answer in self._alone(job)]

    def _alone(self, job: _Job) -> list[Any]:
        try:
            return self._model.perform([job.need])
        except Exception as error:  # noqa: BLE001 - it must end one call, not more
            return [self._model.relieve(error) or error]

    def _advance(self, job: _Job, answer: Any) -> None:
        """Let a call go on to its next need."""
        try:
            if job.work is None:
                row = -1 if job.row is None else job.row
                job.work = job.make(row, job.call.say)
            job.need = job.work.send(answer)
        except StopIteration as stop:
            job.call.finish(stop.value)
            self._leave(job)
        except Exception as error:  # noqa: BLE001 - it must end one call, not more
            self._fail(job, error)

    def _fail(self, job: _Job, error: Exception) -> None:
        job.call.fail(error)
        self._leave(job)

    def _leave(self, job: _Job) -> None:
        """Free a call's row."""
        self._active.remove(job)
        if job.work is not None:
            job.work.close()
        if job.row is not None:
            self._model.release(job.row)
            del self._holders[job.row]
            # Low rows first: a step on a GPU computes all up to the highest.
            self._free = sorted([*self._free, job.row])
