"""OpenAI's doors with a real MiDashengLM behind them, tiny and with random weights."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
import json
from typing import Any

import jsonschema
import openai
import pytest
import torch

from model_server.engines.midashenglm.checkpoint import load
from model_server.engines.midashenglm.engine import MiDasheng
from model_server.engines.prompts import transcribe
from model_server.settings import MiDashengSettings
from tests.server.checkpoints import write_midashenglm
from tests.server.client import House, Serve, command
from tests.server.test_openai_chat import about, audio
from tests.server.test_openai_transcription import TWICE, client, sound_file

SCHEMA = {
    "type": "object",
    "properties": {
        "sound": {"enum": ["speech", "music", "alarm"]},
        "loud": {"type": "boolean"},
    },
    "required": ["sound", "loud"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[MiDasheng]:
    """A tiny model; nothing that it says means anything."""
    torch.set_num_threads(1)
    folder = write_midashenglm(tmp_path_factory.mktemp("tiny"))
    made = MiDasheng.over(load(folder, torch.device("cpu")), MiDashengSettings())
    yield made
    made.close()


@pytest.fixture
async def house(serve: Serve, engine: MiDasheng) -> AsyncGenerator[House]:
    """A house that hears and describes with one model."""
    async with serve(
        recognizer=engine.recognizer, classifier=None, describer=engine.describer
    ) as started:
        yield started


@pytest.fixture
async def api(house: House) -> AsyncGenerator[openai.AsyncOpenAI]:
    """OpenAI's client of that house."""
    async with client(house) as made:
        yield made


def question(text: str = "What is heard?", **options: Any) -> dict[str, Any]:
    """A question about a command."""
    ask = {"type": "text", "text": text}
    return {"model": "midashenglm", "messages": about(audio(command()), ask)} | options


async def test_one_model_stands_once_in_the_list(api: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in api.models.list()] == ["midashenglm"]


async def test_an_answer_is_the_same_in_one_piece_and_in_many(
    api: openai.AsyncOpenAI,
) -> None:
    whole = await api.chat.completions.create(**question(max_tokens=12))
    chunks = [
        chunk
        async for chunk in await api.chat.completions.create(
            **question(max_tokens=12, stream=True)
        )
    ]

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert whole.choices[0].message.content == text
    assert len(chunks) > 4
    assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason
    assert whole.choices[0].finish_reason == "length"


@pytest.mark.parametrize("tokens", [40, 256])
async def test_json_is_valid_by_its_schema(
    api: openai.AsyncOpenAI, tokens: int
) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    said = await api.chat.completions.create(
        **question(max_tokens=tokens, response_format=wanted)
    )
    anything = await api.chat.completions.create(
        **question(max_tokens=tokens, response_format={"type": "json_object"})
    )

    jsonschema.validate(json.loads(str(said.choices[0].message.content)), SCHEMA)
    assert isinstance(json.loads(str(anything.choices[0].message.content)), dict)
    assert said.choices[0].finish_reason == "stop"


async def test_a_schema_that_cannot_be_followed_is_a_bad_request(
    api: openai.AsyncOpenAI,
) -> None:
    schema = {"type": "string", "minLength": 5, "maxLength": 4}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(openai.BadRequestError) as caught:
        await api.chat.completions.create(**question(response_format=wanted))

    assert caught.value.code == "unusable_request"


async def test_asking_for_a_transcript_takes_the_languages_own_token(
    engine: MiDasheng, monkeypatch: pytest.MonkeyPatch, api: openai.AsyncOpenAI
) -> None:
    languages: list[str] = []
    prompts = engine.describer._core.prompts
    transcription = prompts.transcription

    def noted(language: str) -> Any:
        languages.append(language)
        return transcription(language)

    monkeypatch.setattr(prompts, "transcription", noted)
    for text in (transcribe("vi"), "What does <|vi|> mean?"):
        await api.chat.completions.create(**question(text, max_tokens=1))

    assert languages == ["vi"]


async def test_a_client_that_leaves_gives_its_row_back(
    api: openai.AsyncOpenAI, engine: MiDasheng
) -> None:
    free = len(engine.describer._core._scheduler._free)
    for _ in range(free + 1):
        stream = await api.chat.completions.create(
            **question(max_tokens=4096, stream=True)
        )
        await anext(aiter(stream))
        await stream.close()

    said = await api.chat.completions.create(**question(max_tokens=3))
    assert said.choices[0].finish_reason == "length"


async def test_its_speech_recognition_hears_every_utterance_of_a_file(
    api: openai.AsyncOpenAI, house: House
) -> None:
    said = await api.audio.transcriptions.create(
        file=sound_file(TWICE), model="midashenglm", response_format="verbose_json"
    )

    heard = [
        await house.metric("earshot_utterances_total", outcome=outcome)
        for outcome in ("recognised", "no_command", "silence")
    ]
    assert sum(heard) == 2
    assert said.segments is not None
    assert len(said.segments) == heard[0]
