"""`GET /v1/replay`: what would have been reported, by the rules then or by others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_server.api.messages import Engine, Message, RuleBody, Score, Slug
from model_server.api.refusals import Refusal, RefusedError
from model_server.api.service import Service
from model_server.catalogue import SoundLabel
from model_server.engines.base import EngineBusyError
from model_server.monitor.near import Missed
from model_server.monitor.replay import Question, Replayed, replay
from model_server.monitor.rules import RuleChange, RuleError
from model_server.monitor.score_file import ScoreFile, ScoreFileError, open_score_file

MAX_STEPS: Final = 4_000_000
"""Scores that one request may replay: a week of one label, a day of all."""
MAX_WAITING: Final = 4
"""Questions that may wait for the one before."""

_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class ReplayQuery(BaseModel):
    """What may be asked, in the address or on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    microphone: Slug | None = None
    label: Slug | None = None
    since: str = "24h"
    until: str | None = None
    threshold: float | None = None
    off: float | None = None
    k: int | None = None
    n: int | None = None
    hold: float | None = None
    cooldown: float | None = None
    sustain: float | None = None
    margin: Annotated[float, Field(ge=0, le=1)] = 0.1
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class ReplayEvent(Message):
    """An event; `end` is null where it was still under way, or the log does not know."""

    microphone: str
    label: str
    start: datetime
    end: datetime | None
    sustained: datetime | None
    score: Score
    threshold: Score
    profile: str
    watched: bool
    engine: Engine


class ReplayNearMiss(Message):
    """A stretch that came close; `missed` is the gate that it did not pass."""

    microphone: str
    label: str
    time: datetime
    score: Score
    threshold: Score
    windows: list[Score]
    over: int
    k: int
    n: int
    missed: Missed
    profile: str
    watched: bool


class ReplayResult(Message):
    """`GET /v1/replay`. `microphones` are all that the log knows."""

    since: datetime
    until: datetime | None
    microphones: list[str]
    events: list[ReplayEvent]
    near_misses: list[ReplayNearMiss]
    left_out: int


class QueryError(Exception):
    """A question that makes no sense; the message says what to change."""


def read_query(values: Mapping[str, Any]) -> ReplayQuery:
    """What is asked, checked. Raises QueryError."""
    try:
        return ReplayQuery.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise QueryError(f"{where}: {first['msg']}.") from None


def question_of(
    query: ReplayQuery, catalogue: Mapping[str, SoundLabel], now: datetime
) -> Question:
    """The question for the log. Raises QueryError."""
    if query.label is not None and query.label not in catalogue:
        raise QueryError(f"There is no label {query.label}: GET /v1/info lists all.")
    since = _moment("since", query.since, now)
    until = None if query.until is None else _moment("until", query.until, now)
    if until is not None and since > until:
        raise QueryError("since: it is after until.")
    given = {
        "on": query.threshold,
        "off": query.off,
        "k": query.k,
        "n": query.n,
        "hold_s": query.hold,
        "cooldown_s": query.cooldown,
        "sustain_s": query.sustain,
    }
    change = None
    if any(value is not None for value in given.values()):
        try:
            # The limits are those of a rule that a client sends.
            change = RuleChange(**RuleBody.model_validate(given).model_dump())
        except RuleError as error:
            raise QueryError(str(error)) from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0]).removesuffix("_s")
            name = "threshold" if name == "on" else name
            raise QueryError(f"{name}: {first['msg']}.") from None
    return Question(
        since=since,
        until=until,
        microphone=query.microphone,
        label=query.label,
        change=change,
        margin=query.margin,
        limit=query.limit,
    )


def answer(
    file: ScoreFile,
    question: Question,
    catalogue: Mapping[str, SoundLabel],
    max_steps: int | None = None,
) -> ReplayResult:
    """Ask a log. Raises ScoreFileError, and QueryError for what is too much to replay."""
    if max_steps is not None:
        asked = (question.microphone, question.since, question.until)
        labels = 1 if question.label else len(catalogue)
        if file.windows(*asked) * labels > max_steps:
            raise QueryError(
                "That is too much to replay at once: ask for one microphone, one label "
                "or a shorter time, or use `python -m model_server replay`."
            )
    found = replay(file, question, catalogue)
    return _result(question, file.microphones(), found)


def replay_router(service: Service) -> APIRouter:
    """Route of the score log."""
    router = APIRouter()
    waiting = 0
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal} for status in (401, 404, 422, 429)
    }
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in ReplayQuery.model_json_schema()["properties"].items()
    ]

    def ask(question: Question) -> ReplayResult | QueryError | ScoreFileError:
        # As a value: to the engines' threads an exception is a defect.
        assert service.score_log is not None
        service.score_log.flush()
        try:
            with open_score_file(service.settings.data_dir) as file:
                return answer(file, question, service.catalogue, MAX_STEPS)
        except (QueryError, ScoreFileError) as error:
            return error

    @router.get(
        "/v1/replay", responses=refusals, openapi_extra={"parameters": parameters}
    )
    async def get_replay(request: Request) -> ReplayResult:
        """Tell what was reported, or would have been by other rules, and what came close."""
        nonlocal waiting
        if service.score_log is None:
            raise RefusedError(
                404,
                "no_score_log",
                "This server keeps no scores: start it with score_log_days above 0.",
            )
        try:
            query = read_query(dict(request.query_params))
            question = question_of(query, service.catalogue, service.clock.now())
        except QueryError as error:
            raise RefusedError(422, "bad_query", str(error)) from None
        if waiting >= MAX_WAITING:
            raise EngineBusyError("Other questions to the score log wait: try again.")
        waiting += 1
        try:
            found = await service.work("replay", ask, question)
        finally:
            waiting -= 1
        match found:
            case QueryError():
                raise RefusedError(422, "bad_query", str(found))
            case ScoreFileError():
                raise RefusedError(404, "no_score_log", str(found))
            case _:
                return found

    return router


def _moment(name: str, text: str, now: datetime) -> datetime:
    """A time, or how long ago it was. Raises QueryError."""
    if (ago := _AGO.fullmatch(text)) is not None:
        seconds = float(ago[1]) * _SECONDS[ago[2]]
        return now - timedelta(seconds=min(seconds, 3650 * 86400))
    try:
        time = datetime.fromisoformat(text)
        utc = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        utc = None
    if utc is None or not 1970 <= utc.year < 9000:
        raise QueryError(
            f"{name}: give how long ago, such as 90m, 24h or 7d, or a time, such as "
            "2026-11-22T18:00:00Z."
        )
    return utc


def _result(
    question: Question, microphones: list[str], found: Replayed
) -> ReplayResult:
    return ReplayResult(
        since=question.since,
        until=question.until,
        microphones=microphones,
        events=[ReplayEvent.model_validate(asdict(each)) for each in found.events],
        near_misses=[
            ReplayNearMiss.model_validate(asdict(each)) for each in found.near_misses
        ],
        left_out=found.left_out,
    )
