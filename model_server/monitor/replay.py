"""What would have been reported: logged scores through the detectors that run live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from model_server.catalogue import SoundLabel
from model_server.engines.base import EngineInfo
from model_server.monitor.decider import Progress, leap, score_of, step
from model_server.monitor.detector import Rule, Transition
from model_server.monitor.journal import Facts, Recognised, Terms
from model_server.monitor.monitor import onset_of
from model_server.monitor.near import Missed, Near, approach
from model_server.monitor.rules import RuleChange, catalogue_rule, changed
from model_server.monitor.score_file import ScoreFile, Segment, Stretch

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What is asked of a log, up to its end where `until` is None. Without `change` the answer is what was decided then.

    A label that was not watched counts only if it is asked for. A near miss came
    within `margin` of the threshold. Of each kind the latest `limit` are told.
    """

    since: datetime
    until: datetime | None = None
    microphone: str | None = None
    label: str | None = None
    change: RuleChange | None = None
    margin: float = 0.1
    limit: int = 200


@dataclass
class ReplayedEvent:
    """An event; `end` is None where the log does not know it."""

    microphone: str
    label: str
    start: datetime
    end: datetime | None
    sustained: datetime | None
    score: float
    threshold: float
    profile: str
    watched: bool
    engine: EngineInfo


@dataclass(frozen=True)
class NearMiss:
    """A stretch that came close. `time` is its best window's, `missed` why it failed.

    `windows` are its scores, oldest first, of which `over` reached the threshold;
    `k` of `n` had to.
    """

    microphone: str
    label: str
    time: datetime
    score: float
    threshold: float
    windows: tuple[float, ...]
    over: int
    k: int
    n: int
    missed: Missed
    profile: str
    watched: bool


@dataclass(frozen=True)
class Replayed:
    """An answer: by time; `left_out` counts what was beyond the limit."""

    events: list[ReplayedEvent]
    near_misses: list[NearMiss]
    left_out: int


def replay(
    file: ScoreFile, question: Question, catalogue: Mapping[str, SoundLabel]
) -> Replayed:
    """Answer a question from a log. Raises ScoreFileError."""
    follower = _Follower(question, catalogue)
    asked = (question.microphone, question.since, question.until)
    for segment in file.segments(*asked):
        follower.begin(segment)
        for stretch in file.stretches(segment):
            follower.take(segment.header.facts, stretch)
    follower.finish()
    follower.add(_recognised(file.recognised(*asked), question))
    return follower.answer()


def _recognised(
    changes: Iterable[Recognised], question: Question
) -> Iterator[ReplayedEvent]:
    """Events that no score explains, as they were."""
    events: dict[tuple[str, int], ReplayedEvent] = {}
    for change in changes:
        if question.label in {None, change.label}:
            events[change.stream, change.event] = ReplayedEvent(
                microphone=change.microphone,
                label=change.label,
                start=change.start,
                end=change.end,
                sustained=None,
                score=change.score,
                threshold=change.threshold,
                profile=change.profile,
                watched=True,
                engine=change.engine,
            )
    yield from events.values()


class _Latest(Generic[T]):
    """The latest of what is added, at most `limit`."""

    def __init__(self, limit: int, time: Callable[[T], datetime]) -> None:
        self._limit = limit
        self._time = time
        self._kept: list[T] = []
        self.left_out = 0

    def add(self, one: T) -> None:
        self._kept.append(one)
        if len(self._kept) >= 2 * self._limit:
            self.sorted()

    def sorted(self) -> list[T]:
        self._kept.sort(key=self._time)
        beyond = max(0, len(self._kept) - self._limit)
        self.left_out += beyond
        del self._kept[:beyond]
        return self._kept


class _Label:
    """One label of one stream: its detector, and what is under way."""

    def __init__(
        self, slug: str, facts: Facts, terms: Terms, rule: Rule, *, watched: bool
    ) -> None:
        self.slug = slug
        self.facts = facts
        self.terms = terms
        self.rule = rule
        self.watched = watched
        self.progress = Progress()
        self.event: ReplayedEvent | None = None
        self.near: Near | None = None

    def begun(self, transition: Transition) -> ReplayedEvent:
        """An event that begins."""
        onset = onset_of(transition, self.facts.window)
        return ReplayedEvent(
            microphone=self.facts.microphone,
            label=self.slug,
            start=self.terms.timeline.utc(onset),
            end=None,
            sustained=None,
            score=round(transition.score, 4),
            threshold=self.rule.on,
            profile=self.terms.profile,
            watched=self.watched,
            engine=self.facts.engine,
        )

    def resume(self, progress: Progress) -> None:
        """Go on where the log was cut: its event began before."""
        self.progress = progress
        if (active := progress.state.active) is not None:
            self.event = self.begun(
                Transition("start", active.onset, None, active.best)
            )

    def missed(self, near: Near) -> NearMiss:
        """A stretch that gave no event."""
        middle = max(0, near.best_at - self.facts.window // 2)
        return NearMiss(
            microphone=self.facts.microphone,
            label=self.slug,
            time=self.terms.timeline.utc(middle),
            score=round(near.best, 4),
            threshold=self.rule.on,
            windows=tuple(round(score, 4) for score in near.scores),
            over=near.over,
            k=self.rule.k,
            n=self.rule.n,
            missed=near.missed,
            profile=self.terms.profile,
            watched=self.watched,
        )


@dataclass
class _Stream:
    """A stream so far: the window that follows, how often its rules changed, its labels."""

    number: int
    turn: int
    labels: dict[str, _Label] = field(default_factory=dict)


class _Follower:
    """Follows every stream of a log."""

    def __init__(self, question: Question, catalogue: Mapping[str, SoundLabel]) -> None:
        self._question = question
        self._catalogue = catalogue
        self._streams: dict[str, _Stream] = {}
        self._events: _Latest[ReplayedEvent] = _Latest(
            question.limit, lambda event: event.start
        )
        self._misses: _Latest[NearMiss] = _Latest(
            question.limit, lambda near: near.time
        )

    def begin(self, segment: Segment) -> None:
        """The terms of a segment. A stream of which nothing is missing goes on."""
        header = segment.header
        facts, terms = header.facts, header.terms
        before = self._streams.get(facts.stream)
        whole = (
            before is not None
            and before.number == segment.number
            and terms.turn - before.turn in {0, 1}
        )
        known = before.labels if before is not None else {}
        labels = dict(self._labels(facts, terms))
        goes_on = {
            slug
            for slug, label in labels.items()
            if whole and slug in known and known[slug].watched == label.watched
        }
        for slug, label in labels.items():
            if slug in goes_on:
                label.progress = known[slug].progress
                label.event, label.near = known[slug].event, known[slug].near
            elif not whole and self._question.change is None:
                label.resume(header.progress.get(slug, Progress()))
        for slug, label in known.items():
            if slug not in goes_on:
                self._leave(label, terms if whole else None, labels.get(slug))
        self._streams[facts.stream] = _Stream(segment.number, terms.turn, labels)

    def take(self, facts: Facts, stretch: Stretch) -> None:
        """Windows that follow."""
        stream = self._streams[facts.stream]
        stream.number += len(stretch.rows)
        ends = stretch.ends.tolist()
        for slug, label in stream.labels.items():
            steps = stretch.rows[:, facts.labels.index(slug)].tolist()
            self._scores(label, ends, [score_of(each) for each in steps])

    def finish(self) -> None:
        """Nothing follows: what goes on has no end yet."""
        for stream in self._streams.values():
            for label in stream.labels.values():
                self._leave(label, None, None)

    def add(self, events: Iterable[ReplayedEvent]) -> None:
        """Events that are known already."""
        for event in events:
            self._keep(event)

    def answer(self) -> Replayed:
        """What was found, by time."""
        events, misses = self._events.sorted(), self._misses.sorted()
        return Replayed(events, misses, self._events.left_out + self._misses.left_out)

    def _labels(self, facts: Facts, terms: Terms) -> Iterator[tuple[str, _Label]]:
        """The labels that are asked about, by the rules that are to count."""
        question = self._question
        change = question.change or RuleChange()
        for slug, rule in terms.rules.items():
            if question.label in {None, slug}:
                rule = changed(rule, change)
                yield slug, _Label(slug, facts, terms, rule, watched=True)
        label = self._catalogue.get(question.label or "")
        if (
            label is not None
            and label.slug in facts.labels
            and label.slug not in terms.rules
        ):
            rule = changed(catalogue_rule(label), change)
            yield label.slug, _Label(label.slug, facts, terms, rule, watched=False)

    def _scores(self, label: _Label, ends: list[int], scores: list[float]) -> None:
        margin = self._question.margin
        if label.near is None and max(scores) < label.rule.on - margin:
            leapt = leap(label.progress, label.rule, ends, scores)
            if leapt is not None:
                label.progress = leapt
                return
        for at, score in zip(ends, scores, strict=True):
            resting = at < label.progress.state.rest
            label.progress, transitions = step(label.progress, label.rule, at, score)
            for transition in transitions:
                self._transition(label, at, transition)
            label.near, over = approach(
                label.near,
                label.rule,
                at,
                score,
                margin=margin,
                active=label.progress.state.active is not None,
                resting=resting,
            )
            if over is not None:
                self._miss(label, over)

    def _transition(self, label: _Label, at: int, transition: Transition) -> None:
        utc = label.terms.timeline.utc
        if transition.state == "start":
            label.event = label.begun(transition)
        elif label.event is not None:
            label.event.score = round(transition.score, 4)
            if transition.state == "sustained":
                label.event.sustained = utc(at)
            elif transition.release is not None:
                label.event.end = utc(transition.release)
                self._keep(label.event)
                label.event = None

    def _leave(
        self, label: _Label, ended_by: Terms | None, next_one: _Label | None
    ) -> None:
        """A label is followed no more: other terms ended its event, or nobody knows.

        Where some of the log is missing, the next one may know of the same event.
        """
        active = label.progress.state.active
        same = (
            next_one is not None
            and next_one.event is not None
            and label.event is not None
            and next_one.event.start == label.event.start
        )
        if same and next_one is not None:
            next_one.event = label.event
        elif label.event is not None and active is not None:
            label.event.score = round(active.best, 4)
            if ended_by is not None:
                label.event.end = ended_by.timeline.utc(active.last)
            self._keep(label.event)
        if label.near is not None:
            self._miss(label, label.near)

    def _keep(self, event: ReplayedEvent) -> None:
        asked = event.end is None or event.end >= self._question.since
        if asked and self._asked_until(event.start):
            self._events.add(event)

    def _miss(self, label: _Label, near: Near) -> None:
        miss = label.missed(near)
        if miss.time >= self._question.since and self._asked_until(miss.time):
            self._misses.add(miss)

    def _asked_until(self, time: datetime) -> bool:
        return self._question.until is None or time <= self._question.until
