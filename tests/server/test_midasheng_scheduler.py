"""One thread, many callers: lanes, shared passes, and failures that stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
import threading
from typing import Any

import pytest

from model_server.engines.base import EngineBusyError, EngineError, LaneLoad
from model_server.engines.midashenglm.scheduler import (
    LATER,
    SPARE,
    Call,
    Lane,
    Scheduler,
)


@dataclass(frozen=True)
class Fill:
    """A need of the first kind."""

    name: str


@dataclass(frozen=True)
class Step:
    """A need of the second kind."""

    name: str


class Slow:
    """A model that computes nothing, a pass at a time, when a test lets it."""

    def __init__(self) -> None:
        """Nothing was asked."""
        self.passes: list[list[Any]] = []
        self.released: list[int] = []
        self.relieved = 0
        self.on_pass: Callable[[Sequence[Any]], list[Any] | None] = lambda needs: None

    def perform(self, needs: Sequence[Any]) -> list[Any]:
        self.passes.append(list(needs))
        answers = self.on_pass(needs)
        return [need.name for need in needs] if answers is None else answers

    def release(self, row: int) -> None:
        self.released.append(row)

    def relieve(self, error: Exception) -> EngineError | None:
        if not isinstance(error, MemoryError):
            return None
        self.relieved += 1
        return EngineError("no memory")


@pytest.fixture
def model() -> Slow:
    return Slow()


@pytest.fixture
def scheduler(model: Slow) -> Iterator[Scheduler]:
    made = Scheduler(model, rows=2, max_waiting=3)
    yield made
    made.close()


def steps(name: str, count: int) -> Callable[..., Generator[Any, Any, str]]:
    """A call that fills its row and takes some steps, saying each."""

    def make(row: int, say: Callable[[str], None]) -> Generator[Any, Any, str]:
        yield Fill(name)
        for number in range(count):
            yield Step(name)
            say(f"{name}{number}")
        return name

    return make


class Gate:
    """Holds the model's thread in its next pass until it is opened."""

    def __init__(self, model: Slow) -> None:
        """Closed."""
        self.reached = threading.Event()
        self._open = threading.Event()
        model.on_pass = self._hold
        self._model = model

    def _hold(self, needs: Sequence[Any]) -> None:
        self._model.on_pass = lambda needs: None
        self.reached.set()
        self._open.wait()

    def open(self) -> None:
        self._open.set()


def held(
    model: Slow, scheduler: Scheduler, lane: Lane = "descriptions"
) -> tuple[Gate, Call[str]]:
    """The thread, held in the first pass of a call."""
    gate = Gate(model)
    call = scheduler.submit(lane, steps("held", 3))
    gate.reached.wait()
    return gate, call


def test_a_call_says_its_text_and_returns_its_result(scheduler: Scheduler) -> None:
    said: list[str] = []

    def listen() -> Generator[str, None, None]:
        said.append((yield from scheduler.submit("sounds", steps("a", 3)).pieces()))

    assert list(listen()) == ["a0", "a1", "a2"]
    assert said == ["a"]


def test_calls_under_way_share_every_pass(model: Slow, scheduler: Scheduler) -> None:
    gate, first = held(model, scheduler)
    second = scheduler.submit("descriptions", steps("second", 3))
    gate.open()

    assert (first.result(), second.result()) == ("held", "second")
    shared = [needs for needs in model.passes if len(needs) == 2]
    # The second one was filled in between the first one's steps, then both step.
    assert shared == [[Step("held"), Step("second")]] * 3
    assert len(model.passes) == 5


def test_a_sound_is_served_at_the_next_pass_and_not_after_the_answers(
    model: Slow, scheduler: Scheduler
) -> None:
    gate, first = held(model, scheduler)
    others = [scheduler.submit("descriptions", steps(name, 50)) for name in "bc"]
    scheduler.submit("commands", steps("command", 1))
    sound = scheduler.submit("sounds", steps("sound", 1))
    gate.open()
    sound.result()

    names = [[need.name for need in needs] for needs in model.passes]
    # One pass for all that begins, the most urgent first; the third answer has no row.
    assert names[1] == ["sound", "command", "b"]
    assert names[2][:2] == ["sound", "command"]
    assert [call.result() for call in (first, *others)] == ["held", "b", "c"]


def test_urgent_lanes_have_rows_that_others_cannot_take(
    model: Slow, scheduler: Scheduler
) -> None:
    gate, first = held(model, scheduler)
    calls = [scheduler.submit("descriptions", steps(name, 30)) for name in "bcd"]
    command = scheduler.submit("commands", steps("command", 1))
    gate.open()
    command.result()

    names = [need.name for needs in model.passes for need in needs]
    until = names[: names.index("command")]
    assert {name for name in until if name in "bcd"} <= {"b"}
    assert [call.result() for call in (first, *calls)] == ["held", "b", "c", "d"]
    assert set(model.released) <= set(range(2 + max(SPARE.values())))


def test_a_lane_is_bounded_and_counts_what_it_refuses(
    model: Slow, scheduler: Scheduler
) -> None:
    gate, first = held(model, scheduler)
    waiting = [scheduler.submit("commands", steps(name, 1)) for name in "abc"]
    for _ in range(2):
        with pytest.raises(EngineBusyError, match="3 calls of the commands lane"):
            scheduler.submit("commands", steps("late", 1))

    assert scheduler.load()["commands"] == LaneLoad(waiting=3, dropped=2)
    assert scheduler.load()["sounds"] == LaneLoad(waiting=0, dropped=0)
    gate.open()
    assert [call.result() for call in waiting] == ["a", "b", "c"]
    assert first.result() == "held"
    assert scheduler.load()["commands"] == LaneLoad(waiting=0, dropped=2)


def test_a_call_that_nobody_reads_frees_its_row(
    model: Slow, scheduler: Scheduler
) -> None:
    pieces = scheduler.submit("descriptions", steps("endless", 10**9)).pieces()
    assert next(pieces) == "endless0"
    pieces.close()

    calls = [scheduler.submit("descriptions", steps(name, 1)) for name in "ab"]
    assert [call.result() for call in calls] == ["a", "b"]
    assert 0 in model.released


def test_a_call_that_is_cancelled_before_its_turn_costs_nothing(
    model: Slow, scheduler: Scheduler
) -> None:
    gate, first = held(model, scheduler)
    scheduler.submit("commands", steps("gone", 1)).cancel()
    gate.open()

    assert first.result() == "held"
    assert scheduler.submit("commands", steps("next", 1)).result() == "next"
    assert not any(need.name == "gone" for needs in model.passes for need in needs)


def test_a_need_that_has_to_wait_is_asked_again(
    model: Slow, scheduler: Scheduler
) -> None:
    answers = iter([[LATER]])
    model.on_pass = lambda needs: next(answers, None)

    assert scheduler.submit("sounds", steps("a", 0)).result() == "a"
    assert model.passes == [[Fill("a")], [Fill("a")]]


def test_a_defect_in_a_call_ends_that_call_only(
    model: Slow, scheduler: Scheduler
) -> None:
    def broken(row: int, say: Callable[[str], None]) -> Generator[Any, Any, None]:
        yield Fill("broken")
        raise ZeroDivisionError

    gate, first = held(model, scheduler)
    bad = scheduler.submit("descriptions", broken)
    gate.open()

    with pytest.raises(ZeroDivisionError):
        bad.result()
    assert first.result() == "held"


def test_a_pass_that_fails_is_tried_again_for_each_call_alone(
    model: Slow, scheduler: Scheduler
) -> None:
    def poisoned(needs: Sequence[Any]) -> None:
        if Fill("bad") in needs:
            raise ZeroDivisionError

    gate, first = held(model, scheduler)
    bad, good = (scheduler.submit("commands", steps(name, 1)) for name in ("bad", "ok"))
    model.on_pass = poisoned
    gate.open()

    with pytest.raises(ZeroDivisionError):
        bad.result()
    assert (good.result(), first.result()) == ("ok", "held")


def test_a_lack_of_memory_is_relieved_and_tried_once_more(
    model: Slow, scheduler: Scheduler
) -> None:
    def full(needs: Sequence[Any]) -> None:
        if not model.relieved:
            raise MemoryError

    model.on_pass = full

    assert scheduler.submit("commands", steps("a", 1)).result() == "a"
    assert model.relieved == 1


def test_a_lack_of_memory_that_stays_is_said_and_the_rest_goes_on(
    model: Slow, scheduler: Scheduler
) -> None:
    def full(needs: Sequence[Any]) -> None:
        if Fill("large") in needs:
            raise MemoryError

    model.on_pass = full

    with pytest.raises(EngineError, match="no memory"):
        scheduler.submit("commands", steps("large", 1)).result()
    assert scheduler.submit("commands", steps("small", 1)).result() == "small"


def test_an_answer_that_is_an_error_fails_its_call(
    model: Slow, scheduler: Scheduler
) -> None:
    model.on_pass = lambda needs: [EngineError("no numbers")]

    with pytest.raises(EngineError, match="no numbers"):
        scheduler.submit("sounds", steps("a", 1)).result()


def test_the_end_of_the_engine_ends_every_call_that_waits(
    model: Slow, scheduler: Scheduler
) -> None:
    gate, active = held(model, scheduler)
    waiting = scheduler.submit("commands", steps("waiting", 1))
    closing = threading.Thread(target=scheduler.close)
    closing.start()

    def closed() -> bool:
        try:
            scheduler.submit("sounds", steps("late", 1)).cancel()
        except EngineBusyError:
            return False
        except EngineError:
            return True
        return False

    while not closed():
        closing.join(0.01)
    gate.open()
    closing.join()

    for call in (active, waiting):
        with pytest.raises(EngineError, match="shut down"):
            call.result()
    scheduler.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_leaves_nobody_waiting(
    model: Slow, scheduler: Scheduler
) -> None:
    def die(needs: Sequence[Any]) -> None:
        raise SystemExit

    gate, first = held(model, scheduler)
    second = scheduler.submit("commands", steps("b", 1))
    model.on_pass = die
    gate.open()

    for call in (first, second):
        with pytest.raises(EngineError, match="start the server again"):
            call.result()
    with pytest.raises(EngineError, match="start the server again"):
        scheduler.submit("sounds", steps("c", 1))
