"""`/v1/chat/completions` about a clip, as OpenAI's own client meets it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
import json
from typing import Any

from hypothesis import given, strategies as st
import numpy as np
import openai
import pytest

from model_server.api.openai_completion import until_stop
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import EngineBusyError, EngineError, UnusableRequestError
from tests.server.client import House, Serve
from tests.server.describers import Meter
from tests.server.test_openai_transcription import client, sound_file
from tests.server.voices import silence

ASK = {"type": "text", "text": "How loud is it?"}


def tone(hertz: float, seconds: float = 2.0) -> Pcm:
    """A pure tone at -9 dBFS RMS."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(np.sin(2 * np.pi * hertz * time) * 16_384, np.int16)


def audio(pcm: Pcm, kind: str = "WAV", rate: int = SAMPLE_RATE) -> dict[str, Any]:
    """A content part with audio."""
    data = b64encode(sound_file(pcm, kind, rate)[1]).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def about(*parts: Any) -> list[Any]:
    """Messages with one user message."""
    return [{"role": "user", "content": list(parts)}]


@pytest.fixture
def meter() -> Meter:
    """A describer that measures."""
    return Meter()


@pytest.fixture
async def house(serve: Serve, meter: Meter) -> AsyncGenerator[House]:
    """A house with it, and without anything that takes long to load."""
    async with serve(recognizer=None, classifier=None, describer=meter) as started:
        yield started


@pytest.fixture
async def api(house: House) -> AsyncGenerator[openai.AsyncOpenAI]:
    """OpenAI's client of that house."""
    async with client(house) as made:
        yield made


async def ask(
    api: openai.AsyncOpenAI, *parts: Any, **options: Any
) -> openai.types.chat.ChatCompletion:
    """A question that is answered in one piece."""
    messages = about(*(parts or (audio(tone(440)), ASK)))
    given: dict[str, Any] = {"model": "meter", "messages": messages} | options
    made = await api.chat.completions.create(**given)
    assert isinstance(made, openai.types.chat.ChatCompletion)
    return made


async def test_a_clip_and_a_question_are_answered(
    api: openai.AsyncOpenAI, meter: Meter
) -> None:
    said = await ask(api, audio(tone(440)), ASK)

    (choice,) = said.choices
    assert choice.message.content == "seconds 2 loudness -9 pitch 440"
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert (said.object, said.model, said.usage) == ("chat.completion", "meter", None)
    assert said.id.startswith("chatcmpl-")
    assert meter.asked == [("How loud is it?", None, 256)]


async def test_the_synchronous_client_works_too(house: House) -> None:
    def answer() -> list[str | None]:
        with openai.OpenAI(api_key=house.token, base_url=f"{house.url}/v1") as api:
            messages = about(audio(tone(880)), ASK)
            whole = api.chat.completions.create(model="meter", messages=messages)
            streamed = api.chat.completions.create(
                model="meter", messages=messages, stream=True
            )
            pieces = [chunk.choices[0].delta.content or "" for chunk in streamed]
            return [whole.choices[0].message.content, "".join(pieces)]

    expected = "seconds 2 loudness -9 pitch 880"
    assert await asyncio.to_thread(answer) == [expected, expected]


async def test_a_stream_brings_each_piece_when_it_is_said(
    api: openai.AsyncOpenAI, meter: Meter
) -> None:
    meter.go.clear()
    chunks = aiter(
        await api.chat.completions.create(
            model="meter",
            messages=about(audio(tone(440)), ASK),
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    first = await anext(chunks)
    meter.go.set()
    rest = [chunk async for chunk in chunks]

    assert first.choices[0].delta.to_dict() == {
        "role": "assistant",
        "content": "seconds",
    }
    assert [chunk.choices[0].delta.content for chunk in rest] == [
        " 2",
        " loudness",
        " -9",
        " pitch",
        " 440",
        None,
    ]
    assert [chunk.choices[0].finish_reason for chunk in rest] == [None] * 5 + ["stop"]
    assert {chunk.id for chunk in rest} == {first.id}
    assert {chunk.object for chunk in rest} == {"chat.completion.chunk"}


async def test_the_events_are_those_of_openai(house: House) -> None:
    body = {"messages": about(audio(tone(440)), ASK), "stream": True}
    async with house.http() as http:
        response = await http.post("/v1/chat/completions", json=body)

    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, nothing = response.text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    assert all(json.loads(event.removeprefix("data: ")) for event in events)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
async def test_any_format_is_heard_whatever_it_is_called(
    api: openai.AsyncOpenAI, kind: str
) -> None:
    said = await ask(api, audio(tone(440), kind), ASK)

    assert str(said.choices[0].message.content).endswith("loudness -9 pitch 440")


async def test_the_longest_clip_fits_as_a_stereo_recording_at_48_khz(
    serve: Serve, meter: Meter
) -> None:
    mono = tone(440, 90)
    stereo = np.stack([mono, mono], axis=1)
    assert len(sound_file(stereo, rate=48_000)[1]) > 5.7e6

    # The smallest upload limit there is: the engine's own length counts for more.
    engines: dict[str, Any] = {"recognizer": None, "classifier": None}
    async with (
        serve(**engines, describer=meter, max_upload_bytes=4096) as house,
        client(house) as api,
    ):
        said = await ask(api, audio(stereo, rate=48_000), ASK)

    assert str(said.choices[0].message.content).startswith("seconds 30 ")


async def test_audio_in_a_data_url_is_taken(
    api: openai.AsyncOpenAI, meter: Meter
) -> None:
    data = audio(tone(440))["input_audio"]["data"]
    part = {
        "type": "audio_url",
        "audio_url": {"url": f"data:audio/wav;base64,{data}"},
    }

    said = await ask(api, part, ASK)

    assert said.choices[0].message.content == "seconds 2 loudness -9 pitch 440"


async def test_no_address_is_ever_opened(api: openai.AsyncOpenAI, house: House) -> None:
    visitors: list[str] = []

    async def visit(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(str(writer.get_extra_info("peername")))
        writer.close()

    elsewhere = await asyncio.start_server(visit, "127.0.0.1", 0)
    port = elsewhere.sockets[0].getsockname()[1]
    async with elsewhere:
        for url in (
            f"http://127.0.0.1:{port}/a.wav",
            f"{house.url}/health",
            "file:///etc/passwd",
            "data:audio/wav,RIFF",
            "base64,",
        ):
            part = {"type": "audio_url", "audio_url": {"url": url}}
            with pytest.raises(openai.BadRequestError, match="no address") as caught:
                await ask(api, part, ASK)
            assert (caught.value.code, caught.value.param) == (
                "invalid_value",
                "messages.0",
            )

    assert visitors == []


async def test_system_messages_stand_before_the_question(
    api: openai.AsyncOpenAI, meter: Meter
) -> None:
    await api.chat.completions.create(
        model="meter",
        messages=[
            {"role": "user", "content": [audio(tone(440)), ASK]},  # type: ignore[list-item] # any part
            {"role": "developer", "content": [{"type": "text", "text": "Be exact."}]},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "In dBFS."},
        ],
    )

    ((instruction, _, _),) = meter.asked
    assert instruction == "Be exact.\nBe brief.\nHow loud is it?\nIn dBFS."


async def test_json_is_asked_for_by_a_schema(
    api: openai.AsyncOpenAI, meter: Meter
) -> None:
    schema = {"type": "object", "properties": {"pitch": {"type": "number"}}}
    said = await ask(
        api,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "sound", "strict": True, "schema": schema},
        },
    )
    anything = await ask(api, response_format={"type": "json_object"})
    text = await ask(api, response_format={"type": "text"})

    assert json.loads(str(said.choices[0].message.content)) == {"pitch": 440}
    assert set(json.loads(str(anything.choices[0].message.content))) > {"pitch"}
    assert str(text.choices[0].message.content).startswith("seconds")
    assert [asked for _, asked, _ in meter.asked] == [schema, {"type": "object"}, None]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_has_at_most_so_many_tokens_and_says_that_it_was_cut(
    api: openai.AsyncOpenAI, meter: Meter, name: str
) -> None:
    said = await ask(api, **{name: 3})
    options: Any = {"messages": about(audio(tone(440)), ASK), name: 4, "stream": True}
    chunks = [
        chunk
        async for chunk in await api.chat.completions.create(model="meter", **options)
    ]
    await ask(api, **{name: 1 << 20})

    assert said.choices[0].message.content == "seconds 2 loudness"
    assert said.choices[0].finish_reason == "length"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert [tokens for _, _, tokens in meter.asked] == [3, 4, 4096]


@pytest.mark.parametrize("stop", ["oud", [" pitch", "ness", "oudness"]])
async def test_an_answer_ends_before_a_text_that_stops_it(
    api: openai.AsyncOpenAI, meter: Meter, stop: str | list[str]
) -> None:
    said = await ask(api, stop=stop)

    assert said.choices[0].message.content == "seconds 2 l"
    assert said.choices[0].finish_reason == "stop"
    assert await asyncio.to_thread(meter.closed.acquire)


@given(
    st.lists(st.text("abc", max_size=4), max_size=8),
    st.lists(st.text("abc", min_size=1, max_size=3), max_size=4),
)
def test_however_a_text_is_cut_into_pieces_it_stops_at_the_same_place(
    pieces: list[str], stops: list[str]
) -> None:
    async def said() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    async def collect() -> str:
        return "".join([each async for each in until_stop(said(), tuple(stops))])

    text = "".join(pieces)
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    # Where two overlap, the one that is complete first counts.
    complete = [
        (text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text
    ]
    got = asyncio.run(collect())
    if not ends:
        assert got == text
    else:
        assert text.startswith(got)
        assert min(ends) <= len(got) <= min(complete)[1]


async def test_what_would_not_change_the_answer_is_ignored(
    api: openai.AsyncOpenAI,
) -> None:
    said = await ask(
        api,
        temperature=1.5,
        top_p=0.5,
        seed=7,
        n=1,
        user="someone",
        logprobs=True,
        tools=[],
        modalities=["text"],
        extra_body={"top_k": 5},
    )

    assert said.choices[0].message.content == "seconds 2 loudness -9 pitch 440"
    assert said.choices[0].logprobs is None


TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [TOOL]}, "tools"),
        ({"functions": [TOOL["function"]]}, "functions"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"modalities": ["text", "audio"]}, "modalities"),
    ],
)
async def test_what_would_change_the_answer_is_refused(
    api: openai.AsyncOpenAI, options: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="not supported") as caught:
        await ask(api, **options)

    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"", "body: Invalid JSON"),
        (b"[]", "body"),
        (b"{}", "messages: Field required"),
        ({"messages": []}, "messages: List should have at least 1"),
        ({"messages": [{"role": "user", "content": "hello"}]}, "exactly one"),
        ({"messages": about(ASK)}, "exactly one input_audio part, not none"),
        (
            {"messages": about(audio(silence(1)), audio(silence(1)), ASK)},
            "exactly one input_audio part, not 2",
        ),
        ({"messages": about(audio(silence(1)))}, "say in a text part"),
        (
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    *about(audio(silence(1))),
                ]
            },
            "say in a text part",
        ),
        (
            {
                "messages": [
                    *about(audio(silence(1)), ASK),
                    {"role": "assistant", "content": "It is quiet."},
                    {"role": "user", "content": "Really?"},
                ]
            },
            "messages.1: one question about one clip",
        ),
        (
            {"messages": about({"type": "image_url", "image_url": {"url": ""}})},
            "messages.0.content.0: Input tag 'image_url'",
        ),
        (
            {
                "messages": about(
                    {"type": "input_audio", "input_audio": {"data": "no base64!"}}, ASK
                )
            },
            "not base64",
        ),
        (
            {
                "messages": about(
                    {"type": "input_audio", "input_audio": {"data": "é"}}, ASK
                )
            },
            "not base64",
        ),
        (
            {"messages": about(audio(silence(1)), ASK), "max_tokens": 0},
            "max_tokens",
        ),
        (
            {"messages": about(audio(silence(1)), ASK), "stop": ["a"] * 5},
            "stop",
        ),
        (
            {
                "messages": about(audio(silence(1)), ASK),
                "response_format": {"type": "json_schema"},
            },
            "response_format.json_schema: give the schema",
        ),
    ],
)
async def test_a_request_that_is_none_is_refused_with_what_is_wrong(
    house: House, body: Any, hint: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    async with house.http() as http:
        response = await http.post("/v1/chat/completions", content=content)

    assert response.status_code == 400
    error = response.json()["error"]
    assert hint in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


async def test_audio_that_is_none_is_refused(api: openai.AsyncOpenAI) -> None:
    data = b64encode(b"dear house").decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}

    with pytest.raises(openai.BadRequestError, match="cannot be read") as caught:
        await ask(api, part, ASK)

    assert caught.value.code == "unreadable_audio"


async def test_a_clip_that_is_too_long_is_refused(api: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="longer than 30 s") as caught:
        await ask(api, audio(silence(31), "FLAC"), ASK)

    assert (caught.value.status_code, caught.value.code) == (413, "audio_too_long")


async def test_a_body_that_is_too_long_is_refused(
    api: openai.AsyncOpenAI, house: House
) -> None:
    large = {"messages": about({"type": "text", "text": "x" * (40 << 20)})}
    async with house.http() as http:
        response = await http.post("/v1/chat/completions", json=large)

    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


async def test_another_model_is_not_found(api: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in api.models.list()] == ["meter"]
    with pytest.raises(openai.NotFoundError, match="take one of meter") as caught:
        await ask(api, model="gpt-4o-audio-preview")

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_a_client_without_a_wish_for_a_model_is_answered(house: House) -> None:
    async with house.http() as http:
        body = {"messages": about(audio(tone(440)), ASK)}
        response = await http.post("/v1/chat/completions", json=body)

    assert response.json()["model"] == "meter"


async def test_without_a_describer_the_configuration_is_named(serve: Serve) -> None:
    async with (
        serve(recognizer=None, classifier=None) as house,
        client(house, max_retries=3) as api,
    ):
        with pytest.raises(openai.InternalServerError, match="descriptions") as caught:
            await ask(api)

    assert caught.value.status_code == 501
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"


FAILURES = [
    (UnusableRequestError("Ask differently."), 400, "unusable_request"),
    (EngineBusyError("Too much waits."), 429, "busy"),
    (EngineError("It is away."), 503, "engine_unavailable"),
    (RuntimeError("seconds and secrets"), 500, "engine_failed"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("failure", "status", "code"), FAILURES)
async def test_an_engine_that_fails_before_its_answer_has_a_status(
    serve: Serve, failure: EngineError, status: int, code: str, *, stream: bool
) -> None:
    failing = Meter(fails=failure)
    engines: dict[str, Any] = {"recognizer": None, "classifier": None}
    async with serve(**engines, describer=failing) as house, client(house) as api:
        with pytest.raises(openai.APIStatusError) as caught:
            await ask(api, stream=stream)

    assert (caught.value.status_code, caught.value.code) == (status, code)
    retry = caught.value.response.headers.get("retry-after")
    assert retry == ("1" if status == 429 else None)
    assert "secrets" not in caught.value.message


@pytest.mark.parametrize(("failure", "status", "code"), FAILURES)
async def test_an_engine_that_fails_within_its_answer_ends_it_with_the_error(
    serve: Serve, failure: EngineError, status: int, code: str
) -> None:
    failing = Meter(fails=failure, after=2)
    engines: dict[str, Any] = {"recognizer": None, "classifier": None}
    async with serve(**engines, describer=failing) as house, client(house) as api:
        with pytest.raises(openai.APIStatusError) as caught:
            await ask(api)
        chunks = aiter(
            await api.chat.completions.create(
                model="meter", messages=about(audio(tone(440)), ASK), stream=True
            )
        )
        heard = [(await anext(chunks)).choices[0].delta.content for _ in range(2)]
        with pytest.raises(openai.APIError) as streamed:
            await anext(chunks)

    assert heard == ["seconds", " 2"]
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert streamed.value.code == code


async def test_a_client_that_leaves_within_an_answer_frees_it(
    house: House, meter: Meter
) -> None:
    meter.go.clear()
    body = {"messages": about(audio(tone(440)), ASK), "stream": True}
    async with (
        house.http() as http,
        http.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        async for line in response.aiter_lines():
            if "seconds" in line:
                break
        assert house.service.requests.taken == 1

    while house.service.requests.taken:
        await asyncio.sleep(0.01)
    meter.go.set()
    assert await asyncio.to_thread(meter.closed.acquire, timeout=60)
    assert "pitch" not in meter.said


async def test_a_client_that_leaves_before_an_answer_frees_it(
    house: House, meter: Meter
) -> None:
    meter.go.clear()
    body = {"messages": about(audio(tone(440)), ASK)}
    async with house.http() as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        while not meter.asked:
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        while house.service.requests.taken < 2:
            await asyncio.sleep(0.01)
        for each in (asking, waiting):
            each.cancel()
        await asyncio.gather(asking, waiting, return_exceptions=True)
    while house.service.requests.taken:
        await asyncio.sleep(0.01)
    meter.go.set()
    assert await asyncio.to_thread(meter.closed.acquire, timeout=60)

    # The other one waited for the thread, and was never begun.
    async with client(house) as api:
        await ask(api)
    assert len(meter.asked) == 2


async def test_a_server_that_stops_says_so_within_an_answer(
    serve: Serve, meter: Meter
) -> None:
    meter.go.clear()
    engines: dict[str, Any] = {"recognizer": None, "classifier": None}
    body = {"messages": about(audio(tone(440)), ASK), "stream": True}
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(serve(**engines, describer=meter))
        http = await stack.enter_async_context(house.http())
        begun = http.stream("POST", "/v1/chat/completions", json=body)
        lines = (await stack.enter_async_context(begun)).aiter_lines()
        assert "seconds" in await anext(lines)
        whole = asyncio.create_task(
            http.post("/v1/chat/completions", json=body | {"stream": False})
        )
        while len(house.service.answers) < 2:
            await asyncio.sleep(0.01)

        house.server.should_exit = True
        rest = [line async for line in lines if line]
        refused = await whole
        meter.go.set()

    (last,) = [json.loads(line.removeprefix("data: ")) for line in rest]
    assert "being stopped" in last["error"]["message"]
    assert (refused.status_code, refused.json()) == (503, last)
    assert "pitch" not in meter.said


async def test_a_slow_reader_does_not_hold_the_engine(
    house: House, meter: Meter
) -> None:
    body = {"messages": about(audio(tone(440)), ASK), "stream": True}
    async with (
        house.http() as http,
        http.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        # Nothing is read, and the engine is free for the next one.
        assert await asyncio.to_thread(meter.closed.acquire, timeout=60)
        lines = [line async for line in response.aiter_lines()]

    assert lines[-2] == "data: [DONE]"
