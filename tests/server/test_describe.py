"""`POST /v1/describe` and the command `describe`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
import json
from pathlib import Path
import random
from typing import Any

import httpx
import jsonschema
import pytest
import soundfile

from model_server import __main__ as command_line
from model_server.audio import SAMPLE_RATE
from model_server.build import Builder
from model_server.engines.base import (
    AudioDescriber,
    EngineBusyError,
    EngineError,
    UnusableRequestError,
)
from model_server.engines.prompts import INSTRUCTIONS
from tests.server.client import House, Serve
from tests.server.describers import Meter
from tests.server.test_command_line import run
from tests.server.test_openai_chat import tone
from tests.server.test_openai_transcription import sound_file
from tests.server.voices import silence

SCHEMA = {"type": "object", "properties": {"pitch": {"type": "number"}}}


@pytest.fixture
def meter() -> Meter:
    """A describer that measures."""
    return Meter()


@pytest.fixture
async def house(serve: Serve, meter: Meter) -> AsyncGenerator[House]:
    """A house with it."""
    async with serve(recognizer=None, classifier=None, describer=meter) as started:
        yield started


async def post(house: House, content: Any = None, **fields: str) -> Any:
    """Send a clip and fields."""
    files = {"file": sound_file(tone(440)) if content is None else content}
    async with house.http() as http:
        return await http.post("/v1/describe", files=files, data=fields)


async def test_without_a_wish_a_clip_is_captioned(house: House, meter: Meter) -> None:
    response = await post(house)

    assert response.status_code == 200
    assert response.json() == {
        "text": "seconds 2 loudness -9 pitch 440",
        "engine": {"name": "meter", "version": "1"},
        "seconds": 2.0,
    }
    assert meter.asked == [(INSTRUCTIONS["caption"], None, 256)]


async def test_each_task_is_asked_in_the_models_own_words(
    house: House, meter: Meter
) -> None:
    for task in INSTRUCTIONS:
        assert (await post(house, task=task)).status_code == 200

    assert [asked for asked, _, _ in meter.asked] == [*INSTRUCTIONS.values()]


async def test_a_question_is_answered(house: House, meter: Meter) -> None:
    await post(house, question="Is it loud?")

    assert meter.asked[0][0] == "Is it loud? Answer with 1-2 sentences"


async def test_with_a_schema_the_answer_is_json(house: House, meter: Meter) -> None:
    response = await post(house, question="How high is it?", schema=json.dumps(SCHEMA))

    assert response.json() == {
        "json": {"pitch": 440.0},
        "engine": {"name": "meter", "version": "1"},
        "seconds": 2.0,
    }
    assert meter.asked == [("How high is it?", SCHEMA, 256)]


async def test_a_stream_brings_the_pieces_and_then_the_author(house: House) -> None:
    response = await post(house, stream="true")

    assert response.headers["content-type"].startswith("text/event-stream")
    events = [
        json.loads(line.removeprefix("data: "))
        for line in response.text.split("\n\n")
        if line
    ]
    *pieces, author = events
    text = "".join(piece["text"] for piece in pieces)
    assert text == "seconds 2 loudness -9 pitch 440"
    assert len(pieces) == 6
    assert author == {"engine": {"name": "meter", "version": "1"}, "seconds": 2.0}


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"task": "poem"}, "Task is one of caption, music"),
        ({"task": "caption", "question": "Why?"}, "not both"),
        ({"schema": "{"}, "no JSON object"),
        ({"schema": "[]"}, "no JSON object"),
        ({"schema": '{"a": NaN}'}, "no JSON object"),
        ({"schema": '{"a":' * 40_000}, "no JSON object"),
    ],
)
async def test_a_wrong_wish_is_refused(
    house: House, fields: dict[str, str], hint: str
) -> None:
    response = await post(house, **fields)

    assert response.status_code == 422
    assert response.json()["code"] == "bad_request"
    assert hint in response.json()["message"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (("a.wav", b"dear house"), 400, "unreadable_audio"),
        (sound_file(silence(31), "FLAC"), 413, "audio_too_long"),
        (("a.wav", bytes(30 << 20)), 413, "too_large"),
        ((None, "no file"), 422, "no_file"),
    ],
)
async def test_a_wrong_file_is_refused(
    house: House, content: Any, status: int, code: str
) -> None:
    response = await post(house, content)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["message"].endswith(".")


async def test_a_form_with_too_much_beside_the_audio_is_refused(
    house: House,
) -> None:
    long = await post(house, question="x" * (1 << 19))
    many = await post(house, **{f"field{n}": "x" for n in range(40)})

    assert (long.status_code, many.status_code) == (400, 400)
    assert long.json()["code"] == many.json()["code"] == "bad_form"


async def test_whatever_a_form_looks_like_it_is_answered(house: House) -> None:
    made = random.Random(1)
    request = httpx.Request(
        "POST",
        house.url,
        files={"file": sound_file(tone(440, 0.1))},
        data={"task": "caption", "schema": "{}"},
    )
    whole = bytearray(request.read())
    seen = set()
    async with house.http() as http:
        for _ in range(100):
            body = bytearray(whole)
            for _ in range(made.choice([1, 3, 30])):
                at = made.randrange(len(body))
                # The form's own lines are worth more than the samples between them.
                at = at % 400 if made.random() < 0.5 else len(body) - 1 - at % 400
                body[at : at + made.randrange(4)] = made.randbytes(made.randrange(4))
            kind = {"Content-Type": request.headers["Content-Type"]}
            response = await http.post(
                "/v1/describe", content=bytes(body), headers=kind
            )
            seen.add(response.status_code)
            assert response.status_code in {200, 400, 413, 422}, bytes(body[:500])
            assert response.json()

    assert len(seen) > 2


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (UnusableRequestError("Ask differently."), 400, "unusable_request"),
        (EngineBusyError("Too much waits."), 429, "busy"),
        (EngineError("It is away."), 503, "engine_unavailable"),
    ],
)
async def test_an_engine_that_fails_says_what_to_do(
    serve: Serve, failure: EngineError, status: int, code: str
) -> None:
    engines: dict[str, Any] = {"recognizer": None, "classifier": None}
    async with serve(**engines, describer=Meter(failure)) as house:
        response = await post(house)
    async with serve(**engines, describer=Meter(failure, after=1)) as house:
        stream = await post(house, stream="true")

    assert response.status_code == status
    assert response.json() == {"code": code, "message": str(failure)}
    assert stream.text.split("\n\n") == [
        'data: {"text": "seconds"}',
        f'data: {{"error": {{"code": "{code}", "message": "{failure}"}}}}',
        "",
    ]


async def test_an_answer_that_is_not_the_json_it_should_be_is_an_error(
    serve: Serve,
) -> None:
    class Poet(Meter):
        def describe(self, *_: Any) -> Any:  # type: ignore[override] # it ignores all
            yield "Roses are red"

    async with serve(recognizer=None, classifier=None, describer=Poet()) as house:
        response = await post(house, schema="{}")

    assert (response.status_code, response.json()["code"]) == (502, "no_json")


async def test_without_a_describer_the_configuration_is_named(serve: Serve) -> None:
    async with serve(recognizer=None, classifier=None) as house:
        response = await post(house)

    assert (response.status_code, response.json()["code"]) == (501, "no_descriptions")
    assert "midashenglm" in response.json()["message"]


async def test_more_questions_than_places_are_refused_at_once(
    serve: Serve, meter: Meter
) -> None:
    meter.go.clear()
    async with serve(
        recognizer=None, classifier=None, describer=meter, max_requests=2
    ) as house:
        waiting = [asyncio.create_task(post(house)) for _ in range(2)]
        while house.service.requests.taken < 2:
            await asyncio.sleep(0.01)
        refused = await post(house)
        meter.go.set()
        answered = [(await each).status_code for each in waiting]

    assert answered == [200, 200]
    assert (refused.status_code, refused.json()["code"]) == (429, "busy")
    assert refused.headers["retry-after"] == "1"


async def test_the_openapi_document_knows_both_answers(house: House) -> None:
    async with house.http() as http:
        document = (await http.get("/openapi.json")).json()
    door = document["paths"]["/v1/describe"]["post"]
    schema = door["responses"]["200"]["content"]["application/json"]["schema"]
    schema = schema | {"components": document["components"]}

    for fields in ({}, {"schema": json.dumps(SCHEMA)}):
        jsonschema.validate((await post(house, **fields)).json(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"engine": {}}, schema)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A file with a tone."""
    path = tmp_path / "tone.flac"
    soundfile.write(path, tone(440), SAMPLE_RATE)
    return path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, meter: Meter) -> Meter:
    """The command with a describer that needs no weights."""
    monkeypatch.setattr(Builder, "describer", lambda _: meter)
    return meter


def test_the_command_prints_what_is_heard(clip: Path, measured: Meter) -> None:
    text = run("describe", clip, "--task", "scene")
    machine = run("describe", clip, "--question", "Is it loud?", "--json")

    assert (text.exit_code, machine.exit_code) == (0, 0), text.output
    assert "tone.flac" in text.stdout
    assert "seconds 2 loudness -9 pitch 440" in text.stdout
    assert json.loads(machine.stdout) == {
        "text": "seconds 2 loudness -9 pitch 440",
        "engine": {"name": "meter", "version": "1"},
        "seconds": 2.0,
    }
    assert [asked for asked, _, _ in measured.asked] == [
        INSTRUCTIONS["scene"],
        "Is it loud? Answer with 1-2 sentences",
    ]


def test_the_command_tells_of_an_answer_without_words(
    clip: Path, measured: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "describe", lambda *_: iter(()))

    assert "(no answer)" in run("describe", clip).stdout


def test_the_command_answers_by_a_schema(
    clip: Path, tmp_path: Path, measured: Meter
) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    options = ("--schema", tmp_path / "schema.json")

    text = run("describe", clip, *options)
    machine = run("describe", clip, *options, "--json")

    assert '"pitch": 440.0' in text.stdout
    assert json.loads(machine.stdout)["json"] == {"pitch": 440.0}
    assert measured.asked[0][1] == SCHEMA


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--task", "poem"), "task is one of caption"),
        (("--task", "music", "--question", "Why?"), "not both"),
        (("--schema", "nowhere.json"), "nowhere.json: No such file"),
        (("--schema", __file__), "schema is no JSON object"),
    ],
)
@pytest.mark.usefixtures("measured")
def test_the_command_refuses_a_wrong_wish(
    clip: Path, options: tuple[str, ...], hint: str
) -> None:
    result = run("describe", clip, *options)

    assert result.exit_code == 2
    assert hint in result.stderr


@pytest.mark.usefixtures("measured")
def test_the_command_refuses_what_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear house")
    soundfile.write(tmp_path / "long.flac", silence(31), SAMPLE_RATE)

    letter = run("describe", tmp_path / "letter.txt")
    long = run("describe", tmp_path / "long.flac")

    assert (letter.exit_code, long.exit_code) == (2, 2)
    assert "letter.txt cannot be read as audio" in letter.stderr
    assert "long.flac is longer than 30 s" in long.stderr


def test_the_command_says_what_its_engine_says(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing: AudioDescriber = Meter(EngineError("It is away: start it."))
    monkeypatch.setattr(Builder, "describer", lambda _: failing)

    result = run("describe", clip)

    assert result.exit_code == 2
    assert result.stderr.strip().endswith("It is away: start it.")


def test_an_answer_that_breaks_its_schema_is_told(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Poet(Meter):
        def describe(self, *_: Any) -> Any:  # type: ignore[override] # it ignores all
            yield "Roses are red"

    monkeypatch.setattr(Builder, "describer", lambda _: Poet())
    (tmp_path / "schema.json").write_text("{}")

    result = run("describe", clip, "--schema", tmp_path / "schema.json")

    assert result.exit_code == 2
    assert "not JSON" in result.stderr


def test_without_a_describer_the_command_names_the_setting(clip: Path) -> None:
    result = run("describe", clip)

    assert result.exit_code == 2
    assert 'descriptions = "midashenglm"' in result.stderr


def test_help_names_the_command() -> None:
    assert "describe" in run("--help").stdout
    assert command_line.app.info.help
