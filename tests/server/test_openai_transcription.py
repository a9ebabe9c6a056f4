"""`/v1/audio/transcriptions`, as OpenAI's own client and real speech meet it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from io import BytesIO
from pathlib import Path
import re
import signal
import tempfile
import threading
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.engines.base import (
    EngineBusyError,
    EngineError,
    EngineInfo,
    Recognition,
    Vocabulary,
    VocabularyReport,
)
from tests.server.client import VOCABULARY, House, Serve, command
from tests.server.test_command_line import serving
from tests.server.voices import say, silence

FIRST = "turn on the kitchen light"
SECOND = "turn off the office lamp"
TWICE = np.concatenate(
    [silence(1), say("turn on the kitchen lights"), silence(2), say(SECOND), silence(1)]
)


def client(house: House, **options: Any) -> openai.AsyncOpenAI:
    """OpenAI's client, pointed at a house."""
    given: dict[str, Any] = {"api_key": house.token, "max_retries": 0} | options
    return openai.AsyncOpenAI(base_url=f"{house.url}/v1", **given)


def sound_file(pcm: Pcm, kind: str = "WAV", rate: int = SAMPLE_RATE) -> Any:
    """An upload: its name and content."""
    file = BytesIO()
    soundfile.write(file, pcm, rate, format=kind)
    return f"clip.{kind.lower()}", file.getvalue()


@pytest.fixture
async def api(house: House) -> AsyncGenerator[openai.AsyncOpenAI]:
    """OpenAI's client of a house with a kitchen and an office."""
    async with client(house) as made:
        yield made


class Scribe:
    """A recogniser that says how long each utterance was, or what it was made to say."""

    info = EngineInfo("scribe", "1")
    languages: tuple[str, ...] = ("zh", "en")

    def __init__(self, outcome: Recognition | Exception | None = None) -> None:
        """Answer at once, from one of two threads."""
        self.parallel = 2
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Semaphore(0)
        self.calls: list[tuple[float, str]] = []
        self._outcome = outcome

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        return VocabularyReport("1", 1, 1, (), 0.0)

    def foresee(self, pcm: Pcm) -> None:
        pass

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        self.calls.append((pcm.size / SAMPLE_RATE, language))
        self.begun.release()
        assert self.go.wait(60)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome or Recognition("heard", 0.5)


@pytest.mark.parametrize("model", ["whisper-1", "embedded-speech"])
async def test_speech_becomes_text(api: openai.AsyncOpenAI, model: str) -> None:
    said = await api.audio.transcriptions.create(
        file=sound_file(command()), model=model
    )

    assert said.text.startswith(FIRST)
    assert said.usage is not None
    assert said.usage.to_dict() == {
        "type": "duration",
        "seconds": np.ceil(command().size / SAMPLE_RATE),
    }


async def test_the_server_process_logs_nothing_of_an_upload(tmp_path: Path) -> None:
    async with serving(tmp_path, "--log-level", "debug") as (url, _, process):
        token = (tmp_path / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as http:
            await http.put("/v1/vocabulary", json=VOCABULARY, timeout=60)
        async with openai.AsyncOpenAI(api_key=token, base_url=f"{url}/v1") as api:
            _, content = sound_file(command())
            said = await api.audio.transcriptions.create(
                file=("diary.wav", content), model="whisper-1"
            )
            with pytest.raises(openai.BadRequestError):
                await api.audio.transcriptions.create(
                    file=("diary.wav", b"dear house"), model="whisper-1"
                )
        process.send_signal(signal.SIGTERM)
        log = (await process.communicate())[1].decode()

    assert said.text.startswith(FIRST)
    assert process.returncode == 0
    for secret in (token, said.text, "diary", "dear house"):
        assert secret not in log


async def test_the_synchronous_client_works_too(house: House) -> None:
    def transcribe() -> str:
        with openai.OpenAI(api_key=house.token, base_url=f"{house.url}/v1") as api:
            return api.audio.transcriptions.create(
                file=sound_file(command(), "FLAC"),
                model="whisper-1",
                language="en-GB",
                prompt="lights",
                temperature=0.2,
            ).text

    assert (await asyncio.to_thread(transcribe)).startswith(FIRST)


async def test_every_utterance_of_a_recording_is_a_segment_with_its_times(
    api: openai.AsyncOpenAI,
) -> None:
    said = await api.audio.transcriptions.create(
        file=sound_file(TWICE, "MP3"),
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=["segment"],
    )

    assert said.language == "english"
    assert said.duration == pytest.approx(TWICE.size / SAMPLE_RATE, abs=0.2)
    assert said.segments is not None
    first, second = said.segments
    assert first.text.startswith(FIRST)
    assert second.text.startswith(SECOND)
    assert said.text == f"{first.text} {second.text}"
    spoken = say("turn on the kitchen lights").size / SAMPLE_RATE
    assert first.start == pytest.approx(1, abs=0.3)
    assert first.end == pytest.approx(1 + spoken, abs=0.4)
    assert second.start == pytest.approx(3 + spoken, abs=0.3)
    assert second.end < said.duration
    assert [each.id for each in said.segments] == [0, 1]
    assert all(-3 < each.avg_logprob <= 0 for each in said.segments)
    assert all(each.compression_ratio > 0 for each in said.segments)


async def test_subtitles_have_a_cue_for_every_utterance(
    api: openai.AsyncOpenAI,
) -> None:
    srt = await api.audio.transcriptions.create(
        file=sound_file(TWICE), model="whisper-1", response_format="srt"
    )
    vtt = await api.audio.transcriptions.create(
        file=sound_file(TWICE), model="whisper-1", response_format="vtt"
    )

    stamp = r"00:00:0\d,\d{3}"
    cues = [
        rf"{number}\n{stamp} --> {stamp}\n{text}s?\n"
        for number, text in ((1, FIRST), (2, SECOND))
    ]
    pattern = r"\n".join(cues)
    assert re.fullmatch(pattern, srt), srt
    points = re.sub(r"^\d\n", "", srt.replace(",", "."), flags=re.MULTILINE)
    assert vtt == f"WEBVTT\n\n{points}"


async def test_plain_text_is_only_the_text(api: openai.AsyncOpenAI) -> None:
    text = await api.audio.transcriptions.create(
        file=sound_file(command()), model="whisper-1", response_format="text"
    )

    assert re.fullmatch(rf"{FIRST}s?\n", text)


async def test_a_stream_tells_each_utterance_as_soon_as_it_is_recognised(
    api: openai.AsyncOpenAI,
) -> None:
    events = [
        event
        async for event in await api.audio.transcriptions.create(
            file=sound_file(TWICE), model="whisper-1", stream=True
        )
    ]

    *deltas, done = [event.to_dict() for event in events]
    assert [each["type"] for each in deltas] == ["transcript.text.delta"] * 2
    assert deltas[1]["delta"].startswith(" turn off")
    joined = "".join(each["delta"] for each in deltas)
    assert done == {"type": "transcript.text.done", "text": joined}


async def test_silence_has_no_text_and_no_segment(api: openai.AsyncOpenAI) -> None:
    quiet = sound_file(silence(3))
    said = await api.audio.transcriptions.create(
        file=quiet, model="whisper-1", response_format="verbose_json"
    )
    events = [
        event.to_dict()
        async for event in await api.audio.transcriptions.create(
            file=quiet, model="whisper-1", stream=True
        )
    ]

    assert (said.text, said.segments, said.duration) == ("", [], 3)
    assert events == [{"type": "transcript.text.done", "text": ""}]


async def test_what_the_home_cannot_mean_gives_no_text(
    api: openai.AsyncOpenAI, house: House
) -> None:
    stories = np.concatenate([silence(1), say("my uncle sails around"), silence(1)])

    said = await api.audio.transcriptions.create(
        file=sound_file(stories), model="whisper-1"
    )

    assert said.text == ""
    assert await house.metric("earshot_utterances_total", outcome="no_command") == 1


async def test_the_models_are_the_engines_that_the_doors_take(
    api: openai.AsyncOpenAI,
) -> None:
    (model,) = [each async for each in api.models.list()]

    assert (model.id, model.object, model.owned_by) == (
        "embedded-speech",
        "model",
        "earshot",
    )
    assert model.created > 1.7e9
    assert await api.models.retrieve("embedded-speech") == model
    with pytest.raises(openai.NotFoundError, match="embedded-speech"):
        await api.models.retrieve("gpt-4")


async def test_a_wrong_token_is_an_authentication_error(house: House) -> None:
    async with client(house, api_key="wrong") as api:
        with pytest.raises(openai.AuthenticationError, match="token show") as caught:
            await api.audio.transcriptions.create(
                file=sound_file(silence(1)), model="whisper-1"
            )

    assert caught.value.code == "unauthorized"
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("options", "code", "param", "hint"),
    [
        ({"language": "tlh"}, "unsupported_language", "language", "en"),
        (
            {"timestamp_granularities": ["word"], "response_format": "verbose_json"},
            "unsupported_parameter",
            "timestamp_granularities",
            "segments",
        ),
        ({"include": ["logprobs"]}, "unsupported_parameter", "include", "leave"),
        (
            {"response_format": "diarized_json"},
            "unsupported_parameter",
            "response_format",
            "verbose_json, srt",
        ),
        (
            {"response_format": "srt", "stream": True},
            "unsupported_parameter",
            "stream",
            "srt",
        ),
    ],
)
async def test_what_is_not_supported_is_refused_with_its_name(
    api: openai.AsyncOpenAI, options: Any, code: str, param: str, hint: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=hint) as caught:
        await api.audio.transcriptions.create(
            file=sound_file(silence(1)), model="whisper-1", **options
        )

    assert (caught.value.code, caught.value.param) == (code, param)


async def test_another_model_is_not_found(api: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="embedded-speech") as caught:
        await api.audio.transcriptions.create(
            file=sound_file(silence(1)), model="gpt-4o-transcribe"
        )

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    "content",
    [b"", b"dear house", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"#EXTM3U\n/etc/passwd\n"],
)
async def test_what_is_no_audio_is_refused(
    api: openai.AsyncOpenAI, content: bytes
) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot be read") as caught:
        await api.audio.transcriptions.create(
            file=("secret name.wav", content), model="whisper-1"
        )

    assert caught.value.code == "unreadable_audio"
    assert "secret name" not in caught.value.message


async def test_a_file_that_unpacks_to_more_than_allowed_is_refused(
    serve: Serve,
) -> None:
    bomb = sound_file(silence(400), "FLAC")
    assert len(bomb[1]) < 40_000

    async with serve(max_upload_s=300) as house, client(house) as api:
        with pytest.raises(openai.APIStatusError, match="longer than 300 s") as caught:
            await api.audio.transcriptions.create(file=bomb, model="whisper-1")

    assert (caught.value.status_code, caught.value.code) == (413, "audio_too_long")


@pytest.mark.parametrize("beyond", [1, 30 << 20])
async def test_a_file_with_too_many_bytes_is_refused(serve: Serve, beyond: int) -> None:
    large = bytes((1 << 20) + beyond)

    async with serve(max_upload_bytes=1 << 20) as house, client(house) as api:
        with pytest.raises(openai.APIStatusError, match="1 MiB") as caught:
            await api.audio.transcriptions.create(
                file=("a.wav", large), model="whisper-1"
            )

    assert (caught.value.status_code, caught.value.code) == (413, "too_large")


async def test_a_body_that_says_no_length_is_counted(serve: Serve) -> None:
    async def endless() -> AsyncGenerator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(64):
            yield bytes(1 << 20)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    async with serve(max_upload_bytes=1 << 20) as house, house.http() as http:
        response = await http.post(
            "/v1/audio/transcriptions",
            content=endless(),
            headers=house.headers | kind,
        )

    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        ("application/json", b"{}", "not_a_form"),
        ("multipart/form-data", b"", "bad_form"),
        ("multipart/form-data; boundary=x", b"no parts", "bad_form"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", "no_file"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n',
            "no_file",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n'
            b"\r\nabc\r\n--x--\r\n",
            "no_file",
        ),
    ],
)
async def test_a_form_that_is_none_is_refused(
    house: House, kind: str, content: bytes, code: str
) -> None:
    async with house.http(headers=house.headers | {"Content-Type": kind}) as http:
        response = await http.post("/v1/audio/transcriptions", content=content)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == code


async def test_a_body_that_stops_coming_is_given_up(serve: Serve) -> None:
    async with serve(idle_s=0.05) as house:
        host, port = house.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: earshot\r\n"
            f"Authorization: Bearer {house.token}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n"
            "Content-Length: 1000\r\n\r\n--x"
        )
        writer.write(head.encode())
        status = await reader.readline()
        writer.close()

    assert b" 408 " in status


async def test_an_upload_is_never_written_to_disk(
    api: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where there is no folder for temporary files, making one fails.
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    hour = np.concatenate([command(), silence(100)])
    name, content = sound_file(hour)
    assert len(content) > 3 << 20

    said = await api.audio.transcriptions.create(
        file=(name, content), model="whisper-1"
    )

    assert said.text.startswith(FIRST)


@pytest.mark.parametrize(
    ("outcome", "error", "code"),
    [
        (EngineBusyError("Too much waits."), openai.RateLimitError, "busy"),
        (
            EngineError("It is away."),
            openai.InternalServerError,
            "engine_unavailable",
        ),
        (RuntimeError(FIRST), openai.InternalServerError, "engine_failed"),
        (
            Recognition("", 0.0, rejected="unavailable"),
            openai.InternalServerError,
            "engine_unavailable",
        ),
    ],
)
async def test_an_engine_that_cannot_answer_is_told_apart(
    serve: Serve,
    outcome: Recognition | Exception,
    error: type[openai.APIStatusError],
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve(recognizer=Scribe(outcome)) as house, client(house) as api:
        with pytest.raises(error) as caught:
            await api.audio.transcriptions.create(
                file=sound_file(command()), model="whisper-1"
            )
        with pytest.raises(openai.APIError) as streamed:
            async for _ in await api.audio.transcriptions.create(
                file=sound_file(command()), model="whisper-1", stream=True
            ):
                pass

    assert caught.value.code == streamed.value.code == code
    busy = caught.value.status_code == 429
    assert caught.value.response.headers.get("retry-after") == ("1" if busy else None)
    assert FIRST not in caplog.text + caught.value.message


async def test_an_error_after_the_first_utterance_ends_the_stream_with_it(
    serve: Serve,
) -> None:
    class Tired(Scribe):
        def recognize(self, pcm: Pcm, language: str) -> Recognition:
            if self.calls:
                raise EngineError("It is tired.")
            return super().recognize(pcm, language)

    async with serve(recognizer=Tired()) as house, client(house) as api:
        events = aiter(
            await api.audio.transcriptions.create(
                file=sound_file(TWICE), model="whisper-1", stream=True
            )
        )
        first = (await anext(events)).to_dict()
        with pytest.raises(openai.APIError, match="It is tired") as caught:
            await anext(events)

    assert first["delta"] == "heard"
    assert caught.value.code == "engine_unavailable"


async def test_without_a_speech_engine_nobody_is_asked_again(serve: Serve) -> None:
    async with serve(recognizer=None) as house, client(house, max_retries=5) as api:
        with pytest.raises(openai.InternalServerError, match="no speech") as caught:
            await api.audio.transcriptions.create(
                file=sound_file(silence(1)), model="whisper-1"
            )
        assert [each async for each in api.models.list()] == []

    assert caught.value.status_code == 501
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"


async def test_a_text_of_several_lines_is_one_cue(serve: Serve) -> None:
    scribe = Scribe(Recognition("first\n\nsecond", 1.0))
    async with serve(recognizer=scribe) as house, client(house) as api:
        srt = await api.audio.transcriptions.create(
            file=sound_file(command()), model="scribe", response_format="srt"
        )

    assert srt.split("\n")[2:] == ["first second", ""]


async def test_the_language_is_english_unless_another_is_asked_for(
    serve: Serve,
) -> None:
    scribe = Scribe()
    async with serve(recognizer=scribe) as house, client(house) as api:
        await api.audio.transcriptions.create(
            file=sound_file(command()), model="scribe"
        )
        said = await api.audio.transcriptions.create(
            file=sound_file(TWICE),
            model="scribe",
            language="zh",
            response_format="verbose_json",
        )

    assert [language for _, language in scribe.calls] == ["en", "zh", "zh"]
    assert (said.language, said.text) == ("chinese", "heardheard")


async def test_an_engine_without_english_is_asked_in_its_own_language(
    serve: Serve,
) -> None:
    scribe = Scribe()
    scribe.languages = ("th",)
    async with serve(recognizer=scribe) as house, client(house) as api:
        await api.audio.transcriptions.create(
            file=sound_file(command()), model="scribe"
        )

    assert [language for _, language in scribe.calls] == ["th"]


async def test_an_upload_leaves_a_thread_to_the_microphones(serve: Serve) -> None:
    class Held(Scribe):
        def recognize(self, pcm: Pcm, language: str) -> Recognition:
            if pcm.size > 5 * SAMPLE_RATE:
                return super().recognize(pcm, language)
            return Recognition("at once", 1.0)

    held = Held()
    held.go.clear()
    speech = np.concatenate([say("one two three four five six seven eight nine")] * 3)
    async with serve(recognizer=held) as house, client(house) as api:
        uploads = [
            asyncio.create_task(
                api.audio.transcriptions.create(
                    file=sound_file(speech), model="whisper-1"
                )
            )
            for _ in range(3)
        ]
        await asyncio.to_thread(held.begun.acquire)
        async with house.stream("commands") as stream:
            messages = await (await stream.play(command())).end()
        held.go.set()
        texts = [(await upload).text for upload in uploads]

    assert [each["text"] for each in messages if each["type"] == "transcript"] == [
        "at once"
    ]
    assert len(texts) == 3


async def test_a_client_that_leaves_is_not_worked_for(serve: Serve) -> None:
    scribe = Scribe()
    scribe.go.clear()
    async with serve(recognizer=scribe) as house:
        async with client(house) as api:
            upload = asyncio.create_task(
                api.audio.transcriptions.create(
                    file=sound_file(TWICE), model="whisper-1"
                )
            )
            await asyncio.to_thread(scribe.begun.acquire)
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        while house.service.requests.taken:
            await asyncio.sleep(0.01)
        scribe.go.set()

    assert len(scribe.calls) == 1


async def test_a_server_that_stops_ends_a_transcription(serve: Serve) -> None:
    scribe = Scribe()
    scribe.go.clear()
    async with serve(recognizer=scribe) as house, client(house) as api:
        upload = asyncio.create_task(
            api.audio.transcriptions.create(file=sound_file(TWICE), model="whisper-1")
        )
        await asyncio.to_thread(scribe.begun.acquire)
        house.server.should_exit = True
        while not house.service.stopping:
            await asyncio.sleep(0.01)
        scribe.go.set()
        with pytest.raises(openai.InternalServerError, match="being stopped"):
            await upload

    assert len(scribe.calls) == 1


async def test_more_requests_than_places_hear_so_at_once(serve: Serve) -> None:
    scribe = Scribe()
    scribe.go.clear()
    async with (
        serve(recognizer=scribe, max_requests=1) as house,
        client(house) as api,
    ):
        upload = asyncio.create_task(
            api.audio.transcriptions.create(
                file=sound_file(command()), model="whisper-1"
            )
        )
        await asyncio.to_thread(scribe.begun.acquire)
        with pytest.raises(openai.RateLimitError, match="max_requests"):
            await api.audio.transcriptions.create(
                file=sound_file(command()), model="whisper-1"
            )
        scribe.go.set()

        assert (await upload).text == "heard"
