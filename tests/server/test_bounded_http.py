"""Limits of one exchange, by a clock that a test moves; servers in test_remote_chat."""

from __future__ import annotations

from typing import Any

import httpcore2
import pytest

from model_server.engines.bounded_http import Budget, TooMuchError, _Backend, _Stream
from model_server.engines.circuit import Circuit, CircuitOpenError


class Time:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Line(httpcore2.NetworkStream):
    """A connection that notes how long it may take; each action takes a second."""

    def __init__(self, clock: Time) -> None:
        """Do nothing yet."""
        self.clock = clock
        self.timeouts: list[float | None] = []
        self.written = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.clock.now += 1
        self.timeouts.append(timeout)
        return b"x" * min(max_bytes, 10)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.clock.now += 1
        self.timeouts.append(timeout)
        self.written += buffer


def line(seconds: float, read_bytes: int = 1000) -> tuple[_Stream, Line, Budget]:
    """A connection within a budget."""
    clock = Time()
    budget = Budget(seconds, read_bytes, clock)
    inner = Line(clock)
    return _Stream(inner, budget), inner, budget


def test_reading_piece_by_piece_ends_at_the_deadline() -> None:
    stream, inner, _ = line(3)
    for _ in range(3):
        stream.read(10, timeout=2)
    with pytest.raises(httpcore2.TimeoutException):
        stream.read(10, timeout=2)

    assert inner.timeouts == [2, 2, 1]


def test_an_answer_that_has_begun_must_go_on() -> None:
    stream, inner, budget = line(60)
    stream.read(10, timeout=20)
    budget.patience = 5
    stream.read(10, timeout=20)
    stream.read(10)

    assert inner.timeouts == [20, 5, 5]


def test_writing_to_a_server_that_does_not_read_ends_at_the_deadline() -> None:
    stream, inner, _ = line(3)
    with pytest.raises(httpcore2.TimeoutException):
        stream.write(b"x" * 1_000_000, timeout=2)

    assert len(inner.written) == 3 * 65536


def test_everything_is_written() -> None:
    stream, inner, _ = line(60)
    content = bytes(range(256)) * 600
    stream.write(content)

    assert inner.written == content


def test_more_bytes_than_allowed_for_are_too_much() -> None:
    stream, _, _ = line(60, read_bytes=25)
    stream.read(10)
    stream.read(10)
    with pytest.raises(TooMuchError):
        stream.read(10)


def test_no_connection_is_made_after_the_deadline() -> None:
    clock = Time()
    budget = Budget(1, 10, clock)
    clock.now = 1
    with pytest.raises(httpcore2.TimeoutException):
        _Backend(budget).connect_tcp("127.0.0.1", 9)


def open_circuit(clock: Time) -> Circuit:
    """A circuit that two failures have opened, for ten seconds."""
    circuit = Circuit(2, 10, clock)
    for _ in range(2):
        circuit.leave(circuit.enter(), failed=True)
    return circuit


def test_only_failures_in_a_row_open_a_circuit() -> None:
    circuit = Circuit(2, 10, Time())
    for failed in (True, False, True, False):
        assert circuit.enter() is False
        circuit.leave(False, failed=failed)

    assert circuit.enter() is False


def test_an_open_circuit_lets_one_call_through_at_a_time() -> None:
    clock = Time()
    circuit = open_circuit(clock)
    clock.now = 9.5
    with pytest.raises(CircuitOpenError) as caught:
        circuit.enter()
    assert caught.value.seconds == 0.5

    clock.now = 10
    assert circuit.enter() is True
    with pytest.raises(CircuitOpenError):
        circuit.enter()
    circuit.leave(True, failed=False)
    assert [circuit.enter(), circuit.enter()] == [False, False]


def test_a_late_failure_of_an_older_call_does_not_end_the_trial() -> None:
    clock = Time()
    circuit = Circuit(2, 10, clock)
    calls: list[Any] = [circuit.enter() for _ in range(3)]
    for trial in calls[:2]:
        circuit.leave(trial, failed=True)
    clock.now = 10
    assert circuit.enter() is True
    circuit.leave(calls[2], failed=True)
    with pytest.raises(CircuitOpenError):
        circuit.enter()
    clock.now = 20
    with pytest.raises(CircuitOpenError):
        circuit.enter()
    circuit.leave(True, failed=False)

    assert circuit.enter() is False
