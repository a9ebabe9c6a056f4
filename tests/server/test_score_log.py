"""The score log: exact, small, and no trouble to anybody when its disk fails."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
import logging
from pathlib import Path
import sqlite3
import stat
import threading
import time

from hypothesis import given, strategies as st
import numpy as np
import numpy.typing as npt
import pytest

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import load_catalogue
from model_server.engines.base import EngineInfo
from model_server.monitor import score_log
from model_server.monitor.decider import Decider, Progress, leap, step
from model_server.monitor.detector import Rule, State, Stretch
from model_server.monitor.journal import Facts, Journal, pack_windows, unpack_windows
from model_server.monitor.replay import Question, Replayed, replay
from model_server.monitor.rules import RuleChange, Tuning
from model_server.monitor.score_file import ScoreFile, ScoreFileError, open_score_file
from model_server.monitor.score_log import FILE, ScoreLog, connect, used_bytes
from model_server.monitor.timeline import Timeline

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
LABELS = ("bark", "meow")
HOP = SAMPLE_RATE // 2
BARK = Rule(on=0.6, off=0.3, k=2, n=3, hold=HOP, cooldown=0, sustain=20 * HOP)
CATALOGUE = load_catalogue()


class Days:
    """A clock that a test moves."""

    def __init__(self) -> None:
        """Begin with the day of the audio."""
        self.now = T0.timestamp()

    def __call__(self) -> float:
        """The time."""
        return self.now


class Kept:
    """A log of a folder, and how many windows it lost."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 30) -> None:
        """Open it."""
        self.folder = folder
        self.lost = 0
        self.days = Days()
        self.log = ScoreLog(
            folder, days=7, max_bytes=max_bytes, lost=self.lose, now=self.days
        )

    def lose(self, windows: int) -> None:
        """Count."""
        self.lost += windows

    def stream(self, name: str = "one", microphone: str = "hall") -> Writing:
        """A stream that begins."""
        return Writing(self.log, name, microphone)

    def microphones(self) -> list[str]:
        """Whoever is in the file."""
        with open_score_file(self.folder) as file:
            return file.microphones()

    def ask(self, **question: object) -> Replayed:
        """A replay of everything."""
        assert self.log.flush(30)
        asked = Question(**({"since": datetime.fromtimestamp(0, UTC)} | question))  # type: ignore[arg-type] # a test's own fields
        with open_score_file(self.folder) as file:
            return replay(file, asked, CATALOGUE)


class Writing:
    """A stream's detectors, which run as in a monitor, and what they decide."""

    def __init__(self, log: ScoreLog, name: str, microphone: str) -> None:
        """Begin at sample 0."""
        facts = Facts(name, microphone, EngineInfo("level", "1"), LABELS, SAMPLE_RATE)
        self.journal: Journal = log.journal(facts, lambda: Timeline(T0))
        self.decider = Decider(LABELS, {"bark": BARK})
        self.at = 0
        self.starts: list[int] = []
        self.ends: list[int | None] = []

    def play(self, *scores: float) -> None:
        """Windows with these scores for the first label."""
        for score in scores:
            self.at += HOP
            row = np.array([round(score * 255), 3], np.uint8)
            self.journal.scored(self.at, row, self.decider, Tuning())
            for decision in self.decider.take(self.at, row):
                if decision.transition.state == "start":
                    self.starts.append(decision.transition.onset - SAMPLE_RATE // 2)
                elif decision.transition.state == "end":
                    self.ends.append(decision.transition.release)


def samples(time: datetime | None) -> int | None:
    """Where in the stream that is."""
    if time is None:
        return None
    return round((time - T0).total_seconds() * SAMPLE_RATE)


@pytest.fixture
def kept(tmp_path: Path) -> Generator[Kept]:
    """A log in an empty folder."""
    made = Kept(tmp_path / "data")
    yield made
    made.log.close()


EVENT = (0.0, 0.9, 0.8, 0.7, 0.1, 0.0, 0.0)


@given(
    st.lists(st.integers(0, 255), min_size=3, max_size=90),
    st.integers(0, 1 << 40),
)
def test_windows_come_back_as_they_were(values: list[int], first: int) -> None:
    rows = np.array(values[: len(values) // 3 * 3], np.uint8).reshape(-1, 3)
    ends = first + np.arange(len(rows), dtype=np.int64) * 8000

    back_ends, back_rows = unpack_windows(pack_windows(ends, rows), len(rows), 3)

    assert back_ends.tolist() == ends.tolist()
    assert back_rows.tolist() == rows.tolist()


@given(
    recent=st.lists(st.floats(0, 1), max_size=3),
    scores=st.lists(st.floats(0, 0.7), min_size=1, max_size=80),
    rest=st.integers(0, 40),
    k=st.integers(1, 3),
)
def test_a_leap_comes_to_what_many_steps_do(
    recent: list[float], scores: list[float], rest: int, k: int
) -> None:
    rule = Rule(0.6, 0.3, k, 3, HOP, sustain=HOP, sustain_gap=HOP)
    seen = tuple((-number * HOP, score) for number, score in enumerate(recent))
    state = State(rest=rest * HOP) if rest else State(recent=seen)
    before = Progress(state, Stretch(-9 * HOP, -8 * HOP))
    ends = [number * HOP for number in range(1, len(scores) + 1)]

    leapt = leap(before, rule, ends, scores)

    stepped, found = before, []
    for at, score in zip(ends, scores, strict=True):
        stepped, transitions = step(stepped, rule, at, score)
        found += transitions
    if leapt is not None:
        assert (leapt, found) == (stepped, [])
    else:
        assert max(*scores, *recent, 0) >= rule.on


def test_the_log_is_private_and_tells_of_each_event(kept: Kept) -> None:
    stream = kept.stream()
    stream.play(*EVENT * 40)

    told = kept.ask()

    assert len(told.events) == 40
    assert [samples(event.start) for event in told.events] == stream.starts
    assert [samples(event.end) for event in told.events] == stream.ends
    assert {event.score for event in told.events} == {round(230 / 255, 4)}
    for file in kept.folder.glob(f"{FILE}*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("left_out", [0, 1, 17, 59, 61, 80])
def test_a_log_that_lacks_its_beginning_still_tells_the_rest_exactly(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, left_out: int
) -> None:
    monkeypatch.setattr(score_log, "SEGMENT_BLOCKS", 1)
    rng = np.random.default_rng(left_out)
    stream = kept.stream()
    stream.play(*rng.uniform(0, 1, 60 * 12) ** 2)
    whole = kept.ask()
    assert len(whole.events) > 30
    blocks = left_out % 11
    with connect(kept.folder / FILE) as database:
        old = database.execute("SELECT id FROM segment ORDER BY id").fetchall()
        for part in ("segment", "block"):
            column = "id" if part == "segment" else "segment"
            database.executemany(
                f"DELETE FROM {part} WHERE {column} = ?",  # noqa: S608 - no value in it
                old[:blocks],
            )
    database.close()

    rest = kept.ask()

    # Also an event that was under way at the cut is told from its very beginning.
    cut = T0 + timedelta(seconds=blocks * 30)
    expected = [event for event in whole.events if not event.end or event.end >= cut]
    got = {event.start: event for event in rest.events}
    for event in expected:
        if event.start >= cut or (event.end and event.end > cut):
            assert got[event.start] == event


def test_near_misses_tell_which_gate_they_did_not_pass(kept: Kept) -> None:
    rule = RuleChange(cooldown_s=20, hold_s=0.5)
    stream = kept.stream()
    quiet = [0.0] * 8
    stream.play(0.55, *quiet, 0.9, 0.2, *quiet, 0.3, *quiet)
    stream.play(0.9, 0.9, 0.0, 0.0, *quiet, 0.8, 0.8, *quiet)

    told = kept.ask(change=rule)

    assert [(near.missed, near.over) for near in told.near_misses] == [
        ("on_threshold", 0),
        ("k_of_n", 1),
        ("cooldown", 2),
    ]
    low, short, late = told.near_misses
    assert low.windows == (round(140 / 255, 4),)
    assert (short.k, short.n, short.score) == (2, 3, round(230 / 255, 4))
    assert len(late.windows) == 2
    assert samples(low.time) == 0
    assert len(told.events) == 1
    # What became an event is no near miss, nor is what was under way.
    assert len(kept.ask(change=RuleChange(on=0.5, off=0.3, k=1)).near_misses) == 0


def test_of_too_many_the_latest_are_told(kept: Kept) -> None:
    kept.stream().play(*EVENT * 30)

    told = kept.ask(limit=4)

    assert (len(told.events), told.left_out) == (4, 26)
    assert told.events == kept.ask().events[-4:]


def test_what_is_too_old_goes_and_what_is_new_stays(kept: Kept) -> None:
    stream = kept.stream("old", "attic")
    stream.play(*EVENT)
    stream.journal.close()
    assert len(kept.ask().events) == 1
    kept.days.now += 6.9 * 86400
    kept.stream("new").play(*EVENT)
    assert len(kept.ask().events) == 2
    kept.days.now += 0.2 * 86400
    later = kept.stream("later")
    later.play(0.0)

    assert {event.microphone for event in kept.ask().events} == {"hall"}
    with open_score_file(kept.folder) as file:
        assert file.microphones() == ["hall"]


def test_the_log_never_grows_beyond_its_bound(tmp_path: Path) -> None:
    bound = 100_000
    kept = Kept(tmp_path, max_bytes=bound)
    rng = np.random.default_rng(0)
    for number in range(24):
        stream = kept.stream(str(number))
        stream.play(*rng.uniform(0, 1, 2000))
        stream.journal.close()
        kept.days.now += 60
    assert kept.log.flush(60)
    kept.log.close()

    with open_score_file(tmp_path) as file:
        assert used_bytes(file._database) <= bound
        since = datetime.fromtimestamp(0, UTC)
        kept_streams = [
            each.header.facts.stream for each in file.segments(None, since, None)
        ]
    assert kept_streams[-1] == "23"
    assert "0" not in kept_streams
    assert (tmp_path / FILE).stat().st_size <= 2 * bound


def test_a_full_disk_costs_its_time_of_the_log_alone(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    stream = kept.stream()
    stream.play(*EVENT * 10)
    before = len(kept.ask().events)
    noise = np.random.default_rng(1).uniform(0, 0.5, 20_000)

    with full_disk(kept.log, monkeypatch):
        # Nobody waits and nothing is raised, and the detectors go on.
        stream.play(*noise, 0.9, 0.9, 0.9)
        assert kept.log.flush(30)
        other = kept.stream("other")
        other.play(*noise)
        assert kept.log.flush(30)
    lost = kept.lost
    stream.play(0.9, *EVENT * 10)
    told = kept.ask()

    assert lost >= 20_000
    assert kept.lost == lost
    assert before == 10
    # The event that began while nothing was kept is known from its beginning, too.
    assert [samples(event.start) for event in told.events] == stream.starts
    assert [samples(event.end) for event in told.events] == stream.ends
    assert len(told.events) == 21
    messages = [record.getMessage() for record in caplog.records]
    assert len([text for text in messages if "cannot be written" in text]) == 1
    assert "full" in messages[0]
    assert len([text for text in messages if "written again" in text]) == 1


class full_disk:
    """A disk on which SQLite finds no page more."""

    def __init__(self, log: ScoreLog, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a log."""
        self._log = log
        self._patch = monkeypatch

    def __enter__(self) -> None:
        """Fill it."""
        pages = sqlite3.connect(self._log.path).execute("PRAGMA page_count").fetchone()
        real = score_log.connect

        def narrow(path: Path) -> sqlite3.Connection:
            database = real(path)
            database.execute(f"PRAGMA max_page_count = {pages[0]}")
            return database

        self._patch.setattr(score_log, "connect", narrow)
        assert self._log._database is not None
        self._log._database.execute(f"PRAGMA max_page_count = {pages[0]}")

    def __exit__(self, *_: object) -> None:
        """Make room."""
        self._patch.undo()


def test_a_locked_file_is_waited_for_by_the_log_alone(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_log, "BUSY_S", 0.01)
    stream = kept.stream()
    stream.play(*EVENT)
    assert kept.log.flush(30)
    other = connect(kept.folder / FILE)
    other.execute("BEGIN IMMEDIATE")
    stream.play(*EVENT)
    assert kept.log.flush(30)
    assert kept.lost == len(EVENT)
    other.rollback()
    other.close()

    stream.play(*EVENT)

    assert len(kept.ask().events) == 2


def test_a_file_that_somebody_removed_is_made_again(kept: Kept) -> None:
    stream = kept.stream()
    stream.play(*EVENT)
    assert len(kept.ask().events) == 1
    score_log.forget(kept.folder)

    stream.play(*EVENT)

    assert len(kept.ask().events) == 1
    assert kept.lost == 0


def test_reading_and_writing_at_once_disturb_nobody(kept: Kept) -> None:
    stream = kept.stream()
    stream.play(*EVENT * 20)
    assert kept.log.flush(30)
    with open_score_file(kept.folder) as file:
        before = count(file)
        stream.play(*EVENT * 20)
        assert kept.log.flush(30)
        # A reader sees one moment, whatever is written meanwhile.
        assert count(file) == before == 20

    assert kept.lost == 0
    assert len(kept.ask().events) == 40


def count(file: ScoreFile) -> int:
    """Events in a file."""
    asked = Question(datetime.fromtimestamp(0, UTC))
    return len(replay(file, asked, CATALOGUE).events)


def test_too_much_that_waits_is_lost_and_counted(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = kept.stream()
    stream.play(*EVENT)
    assert kept.log.flush(30)
    held = hold(kept.log, monkeypatch)
    stream.play(*[0.1] * 60)
    held.entered.wait()
    stream.play(*[0.1] * 60 * (score_log.MAX_WAITING + 3))
    assert not kept.log.flush(0.01)
    held.go.set()

    assert kept.lost >= 60
    assert kept.log.flush(30)
    stream.play(*EVENT)
    assert len(kept.ask().events) == 2


class hold:
    """A log's thread that waits until it may go."""

    def __init__(self, log: ScoreLog, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hold it from its next entries on."""
        self.entered = threading.Event()
        self.go = threading.Event()
        keep = log._keep

        def wait(entries: list[score_log.Entry]) -> None:
            self.entered.set()
            self.go.wait()
            keep(entries)

        monkeypatch.setattr(log, "_keep", wait)


def test_what_is_too_old_goes_also_where_nobody_streams(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = kept.stream()
    stream.play(*EVENT)
    kept.log.close()
    kept.days.now += 30 * 86400
    monkeypatch.setattr(score_log, "TIDY_S", 0.01)

    later = ScoreLog(kept.folder, days=7, max_bytes=1 << 30, now=kept.days)
    later.start()
    later.start()
    while kept.microphones():
        time.sleep(0.01)
    later.close()


def test_a_log_of_another_version_or_kind_is_refused_with_what_to_do(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.folder.mkdir(parents=True)
    file = kept.folder / FILE
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    kept.stream().play(*EVENT)
    with pytest.raises(ScoreFileError, match=r"another version.*remove"):
        kept.ask()
    assert kept.lost == len(EVENT)
    file.write_bytes(b"no database" * 500)
    with pytest.raises(ScoreFileError, match=r"cannot be read.*remove it"):
        kept.ask()
    file.unlink()
    with pytest.raises(ScoreFileError, match="There is no score log"):
        kept.ask()
    assert "is of another version" in caplog.text


@pytest.mark.parametrize(
    "damage",
    ["UPDATE segment SET header = x'1234'", "UPDATE block SET content = x'1234'"],
)
def test_a_damaged_row_is_no_defect(kept: Kept, damage: str) -> None:
    kept.stream().play(*EVENT)
    assert kept.log.flush(30)
    with connect(kept.folder / FILE) as database:
        database.execute(damage)
    database.close()

    with pytest.raises(ScoreFileError, match="damaged"):
        kept.ask()


def test_after_the_end_nothing_is_written(kept: Kept) -> None:
    stream = kept.stream()
    stream.play(*EVENT)
    kept.log.close()
    stream.play(*EVENT)
    stream.journal.turned(stream.at, stream.decider, Tuning())
    stream.journal.close()
    kept.log.close()

    with open_score_file(kept.folder) as file:
        assert count(file) == 1


def test_a_week_of_a_microphone_is_some_megabytes(kept: Kept) -> None:
    """The figure of docs/tuning.md: scores that a classifier gives, 22 labels."""
    labels = tuple(f"label_{number}" for number in range(22))
    facts = Facts("one", "hall", EngineInfo("net", "1"), labels, 2 * SAMPLE_RATE)
    journal = kept.log.journal(facts, lambda: Timeline(T0))
    decider = Decider(labels, {})
    rng = np.random.default_rng(3)
    at = 0
    hour = 7200
    rows: npt.NDArray[np.uint8] = (rng.beta(0.3, 8, (hour, len(labels))) * 255).astype(
        np.uint8
    )
    for row in rows:
        at += HOP
        journal.scored(at, row, decider, Tuning())
    assert kept.log.flush(30)

    with open_score_file(kept.folder) as file:
        week = used_bytes(file._database) * 24 * 7
    assert week < 25_000_000
