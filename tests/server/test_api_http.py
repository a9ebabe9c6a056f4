"""The HTTP doors: who may enter, the vocabulary, metrics, schemas and restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
import stat
from typing import Any

import jsonschema
import pytest
from websockets.exceptions import InvalidStatus

from model_server.api.auth import TokenFile
from model_server.audio import Pcm
from model_server.engines.base import (
    EngineInfo,
    Recognition,
    Vocabulary,
    VocabularyReport,
)
from model_server.engines.embedded.speech import EmbeddedRecognizer
from tests.server.client import VOCABULARY, House, Serve, command, of_kind, texts

OPENAI_DOORS = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/chat/completions"),
]
DOORS = [
    ("GET", "/v1/info"),
    ("GET", "/v1/schemas"),
    ("GET", "/v1/replay"),
    ("GET", "/v1/stream"),
    ("PUT", "/v1/vocabulary"),
    ("POST", "/v1/describe"),
    ("GET", "/v1/clips"),
    ("GET", "/v1/clips/{clip}"),
    ("DELETE", "/v1/clips/{clip}"),
    ("GET", "/v1/clips/{clip}.png"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/nowhere"),
    ("GET", "/health/../v1/info"),
    ("GET", "//health"),
]


async def test_health_needs_no_token(house: House) -> None:
    async with house.http(headers={}) as http:
        response = await http.get("/health")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_every_other_door_wants_the_token(
    house: House, method: str, path: str
) -> None:
    async with house.http(headers={}) as http:
        for headers in ({}, {"Authorization": "Bearer " + "x" * 43}):
            response = await http.request(method, path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["code"] == "unauthorized"


async def test_no_door_is_missing_from_that_test(house: House) -> None:
    async with house.http() as http:
        document = (await http.get("/openapi.json")).json()

    tested = {path for _, path in DOORS + OPENAI_DOORS}
    assert set(document["paths"]) <= tested | {"/health"}


@pytest.mark.parametrize(("method", "path"), OPENAI_DOORS)
async def test_the_doors_of_openai_refuse_a_stranger_in_their_own_shape(
    house: House, method: str, path: str
) -> None:
    async with house.http(headers={}) as http:
        response = await http.request(method, path)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert error["code"] == "unauthorized"
    assert error["type"] == "invalid_request_error"
    assert "token show" in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/v1/info", 405, "method_not_allowed"),
    ],
)
async def test_a_door_that_is_none_is_answered_in_the_same_shape(
    house: House, method: str, path: str, status: int, code: str
) -> None:
    async with house.http() as http:
        response = await http.request(method, path)

    assert response.status_code == status
    assert response.json()["code"] == code
    assert "/openapi.json" in response.json()["message"]


async def test_info_tells_engines_labels_and_limits(house: House) -> None:
    async with house.http() as http:
        info = (await http.get("/v1/info")).json()

    assert info["name"] == "earshot"
    assert info["protocol"] == 1
    assert info["speech"]["languages"] == ["en"]
    assert info["speech"]["vocabulary"]
    labels = {label["slug"]: label for label in info["sounds"]["labels"]}
    assert labels["smoke"]["device_class"] == "smoke"
    assert labels["co"]["device_class"] == "carbon_monoxide"
    assert info["limits"] == {
        "max_streams": 16,
        "max_utterance_s": 15,
        "max_ahead_s": 60,
        "max_message_bytes": 1 << 20,
        "idle_s": 30,
    }
    assert info["streams"] == 0


async def test_the_id_outlives_a_restart(serve: Serve) -> None:
    ids = []
    for _ in range(2):
        async with serve() as house, house.http() as http:
            ids.append((await http.get("/v1/info")).json()["id"])

    assert ids[0] == ids[1]


async def test_a_server_without_a_classifier_still_offers_alarms(
    serve: Serve,
) -> None:
    async with serve(classifier=None, recognizer=None) as house:
        async with house.http() as http:
            info = (await http.get("/v1/info")).json()
            refused = await http.put("/v1/vocabulary", json=VOCABULARY)
        async with house.connect() as stream:
            await stream.start("commands")
            (error,) = await stream.rest()

    labels = info["sounds"]["labels"]
    plain = [label["slug"] for label in labels if label["group"] != "gestures"]
    assert plain == ["smoke", "co", "low_battery"]
    assert len(labels) > len(plain)
    assert info["speech"] is None
    assert (refused.status_code, refused.json()["code"]) == (501, "no_speech")
    assert error["code"] == "unsupported_task"


async def test_a_vocabulary_is_compiled_and_answered_with_its_size(
    house: House,
) -> None:
    async with house.http() as http:
        body = VOCABULARY | {
            "entities": [
                {"id": "light.x", "domain": "light", "names": ["Zyxomma Gleam"]}
            ]
        }
        response = await http.put("/v1/vocabulary", json=body)
        report = response.json()
        info = (await http.get("/v1/info")).json()

    assert response.status_code == 200
    assert report["sentences"] > 100
    assert report["words"] > 20
    assert "zyxomma" in " ".join(report["guessed"]).lower()
    assert report["seconds"] >= 0
    assert info["speech"]["vocabulary"] == report["version"]


async def test_after_a_restart_the_same_home_is_heard_at_once(
    serve: Serve, tmp_path: Path
) -> None:
    async with serve(recognizer=EmbeddedRecognizer(tmp_path / "first")) as house:
        await house.furnish()
        async with house.http() as http:
            before = (await http.get("/v1/info")).json()["speech"]["vocabulary"]
    mode = stat.S_IMODE((tmp_path / "data" / "vocabulary.json").stat().st_mode)

    async with serve(recognizer=EmbeddedRecognizer(tmp_path / "second")) as house:
        async with house.http() as http:
            after = (await http.get("/v1/info")).json()["speech"]["vocabulary"]
        async with house.stream("commands") as stream:
            messages = await (await stream.play(command())).end()

    assert mode == 0o600
    assert before == after
    assert texts(messages)[0].startswith("turn on the kitchen light")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"entities": [{"id": 1}]}', b'{"language": "tlh"}'],
)
async def test_a_damaged_stored_vocabulary_is_named_and_the_server_serves(
    serve: Serve,
    tmp_path: Path,
    content: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vocabulary.json").write_bytes(content)

    async with serve() as house, house.http() as http:
        info = (await http.get("/v1/info")).json()

    assert info["speech"]["vocabulary"] is None
    assert "vocabulary" in caplog.text
    assert "Home Assistant" in caplog.text


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"{", "body: Invalid JSON"),
        (b"[]", "body"),
        (
            b'{"entities": [{"id": "a", "domain": "b", "names": []}]}',
            "entities.0.names",
        ),
        (b'{"areas": [{"id": "a"}, {"id": "b"}]}', "areas.0.names: Field required (1"),
        (b'{"language": "tlh"}', "'tlh' is not one of: en"),
    ],
)
async def test_a_wrong_vocabulary_is_refused_with_the_field_and_keeps_the_old(
    house: House, content: bytes, hint: str
) -> None:
    async with house.http() as http:
        before = (await http.get("/v1/info")).json()["speech"]["vocabulary"]
        response = await http.put("/v1/vocabulary", content=content)
        after = (await http.get("/v1/info")).json()["speech"]["vocabulary"]

    assert response.status_code == 422
    assert hint in response.json()["message"]
    assert before == after


@pytest.mark.parametrize("announced", [True, False])
async def test_a_vocabulary_over_a_mebibyte_is_refused(
    house: House, announced: bool
) -> None:
    large = b" " * ((1 << 20) + 1)

    async def pieces() -> Any:
        yield large[: 1 << 19]
        yield large[1 << 19 :]

    async with house.http() as http:
        response = await http.put(
            "/v1/vocabulary", content=large if announced else pieces()
        )

    assert response.status_code == 413
    assert response.json()["code"] == "too_large"
    assert "1 MiB" in response.json()["message"]


class Picky:
    """A recogniser that fails to compile, with the home's names in its message."""

    info = EngineInfo("picky", "1")
    languages: tuple[str, ...] = ("en",)
    parallel = 1

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        raise RuntimeError(vocabulary.entities[0].names[0])

    def foresee(self, pcm: Pcm) -> None:
        pass

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        return Recognition("", 0.0, rejected="silence")


async def test_an_engine_that_fails_on_a_vocabulary_is_reported_without_names(
    serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with serve(recognizer=Picky()) as house, house.http() as http:
        response = await http.put("/v1/vocabulary", json=VOCABULARY)

    assert response.status_code == 500
    assert response.json()["code"] == "engine_failed"
    assert "vocabulary engine failed: RuntimeError at" in caplog.text
    assert "Kitchen Lights" not in caplog.text + response.text
    assert not (tmp_path / "data" / "vocabulary.json").exists()


async def test_streams_are_heard_while_a_vocabulary_compiles(house: House) -> None:
    entities = [
        {"id": f"light.l{n}", "domain": "light", "names": [f"lamp {n} of the tower"]}
        for n in range(100)
    ]
    async with house.http() as http, house.stream("commands") as stream:
        await stream.play(command())
        compiling = asyncio.create_task(
            http.put("/v1/vocabulary", json={**VOCABULARY, "entities": entities})
        )
        messages = await stream.end()
        assert (await compiling).status_code == 200

    assert texts(messages)[0].startswith("turn on the kitchen light")


async def test_metrics_count_what_happened_and_tell_no_secret(house: House) -> None:
    async with house.stream("commands", microphone="nursery") as stream:
        messages = await (await stream.play(command())).end()
        text = of_kind(messages, "transcript")[0]["text"]
        async with house.http() as http:
            page = (await http.get("/metrics")).text

    lines = dict(
        line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")
    )
    assert float(lines["earshot_audio_seconds_total"]) == pytest.approx(
        command().size / 16000
    )
    assert float(lines['earshot_utterances_total{outcome="recognised"}']) == 1
    # At once when the speaker pauses, if there was time, then because of the short
    # pause, and for the answer.
    assert float(lines['earshot_processing_seconds_count{task="speech"}']) in {2, 3}
    assert float(lines["earshot_streams"]) in {0, 1}
    assert house.token not in page
    assert text not in page
    assert "nursery" not in page


async def test_the_schemas_accept_what_is_sent_and_refuse_what_is_not(
    house: House,
) -> None:
    async with house.http() as http:
        schemas = (await http.get("/v1/schemas")).json()
    async with house.stream("commands", "sounds") as stream:
        ready = stream.ready
        messages = await (await stream.play(command())).end()

    for message in [ready, *messages]:
        jsonschema.validate(message, schemas["server"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**ready, "labels": 5}, schemas["server"])
    begin = {"type": "start", "microphone": "hall", "tasks": ["sounds"]}
    jsonschema.validate(begin, schemas["client"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**begin, "tasks": []}, schemas["client"])


async def test_the_openapi_document_describes_every_http_door(house: House) -> None:
    async with house.http() as http:
        document = (await http.get("/openapi.json")).json()

    assert set(document["paths"]) == {
        "/health",
        "/v1/info",
        "/v1/schemas",
        "/v1/vocabulary",
        "/v1/describe",
        "/v1/clips",
        "/v1/clips/{clip}",
        "/v1/clips/{clip}.png",
        "/v1/replay",
        "/metrics",
    } | {path for _, path in OPENAI_DOORS}
    put = document["paths"]["/v1/vocabulary"]["put"]
    schema = put["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate(VOCABULARY, schema)
    assert {"200", "401", "413", "422", "500", "501"} <= set(put["responses"])


async def test_a_rotated_token_counts_at_once_and_open_streams_stay(
    house: House, tmp_path: Path
) -> None:
    async with house.stream("commands") as stream:
        new = TokenFile(tmp_path / "data").rotate()
        async with house.http() as http:
            assert (await http.get("/v1/info")).status_code == 401
        with pytest.raises(InvalidStatus):
            async with house.connect():
                pass
        async with house.http(headers={"Authorization": f"Bearer {new}"}) as http:
            assert (await http.get("/v1/info")).status_code == 200
        messages = await (await stream.play(command())).end()

    assert texts(messages)[0].startswith("turn on the kitchen light")


async def test_without_a_token_file_nobody_enters(house: House, tmp_path: Path) -> None:
    (tmp_path / "data" / "token").unlink()
    async with house.http() as http:
        assert (await http.get("/v1/info")).status_code == 401
    for empty in ("Bearer ", "Bearer", "", None):
        assert not house.service.token.allows(empty)


def test_the_token_is_long_private_and_made_once(tmp_path: Path) -> None:
    token = TokenFile(tmp_path / "new")

    made = token.ensure()

    assert made is not None
    assert len(made) >= 43
    assert token.ensure() is None
    assert token.read() == made
    assert stat.S_IMODE((tmp_path / "new" / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert token.allows(f"bearer {made}")
    assert not token.allows(f"Bearer {made}x")
    assert not token.allows(None)
    assert token.rotate() != made
    assert not token.allows(f"Bearer {made}")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["token"]
