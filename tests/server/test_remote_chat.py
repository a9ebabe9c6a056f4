"""A server elsewhere may be slow, broken or hostile: what it costs, and what is said."""

from __future__ import annotations

import base64
from contextlib import ExitStack, suppress
import io
import json
import logging
import socket
from typing import Any
import wave

import httpcore2
from hypothesis import (
    HealthCheck,
    given,
    settings as hypothesis_settings,
    strategies as st,
)
import numpy as np
from pydantic import SecretStr
import pytest

from model_server.engines import bounded_http, remote_chat
from model_server.engines.base import EngineBusyError, EngineError, UnusableRequestError
from model_server.engines.remote_chat import (
    ATTEMPTS,
    CONNECT_S,
    FAILED_CALLS,
    REST_S,
    TRIAL_CONNECT_S,
    ChatServer,
    Piece,
    Question,
)
from model_server.settings import RemoteSettings
from tests.server.scripted_chat import ScriptedChat, chunk, event, scripted_chat, unique

PCM = np.arange(-800, 800, dtype=np.int16)
KEY = "sk-very-secret"
NESTED = json.loads("[" * 300 + "]" * 300)
SECRET_WORDS = "the front door code is four two"


class Pauses(list[float]):
    """Stands for sleeping: remembers how long."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def settings(url: str, *deeds: list[Any], **more: Any) -> RemoteSettings:
    """Settings for a scripted server."""
    return RemoteSettings(url=url, **({"model": unique(*deeds)} | more))


def question(**more: Any) -> Question:
    """A question about a tenth of a second."""
    return Question(**({"pcm": PCM, "instruction": "What?", "max_tokens": 50} | more))


def ask(settings: RemoteSettings, **more: Any) -> list[Piece]:
    """All pieces of an answer, without waiting between attempts."""
    return list(ChatServer(settings, sleep=Pauses()).ask(question(**more)))


def joined(pieces: list[Piece]) -> str:
    """The text of an answer."""
    return "".join(piece.text for piece in pieces)


def test_an_answer_comes_in_its_pieces(chat: ScriptedChat) -> None:
    given = settings(chat.url, ["answer", ["a dog", " barks"]])

    assert ask(given) == [Piece("a dog"), Piece(" barks")]


def test_the_request_is_openais_and_holds_the_audio_before_the_instruction(
    chat: ScriptedChat,
) -> None:
    given = settings(chat.url, ["answer", ["yes"]])
    ask(given, schema={"type": "object"}, logprobs=True)

    (request,) = chat.seen(given.model)
    body = request["body"]
    assert request["path"] == "/v1/chat/completions"
    assert (body["model"], body["stream"], body["temperature"]) == (
        given.model,
        True,
        0,
    )
    assert body["max_tokens"] == 50
    assert body["logprobs"] is True
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }
    ((audio, text),) = [message["content"] for message in body["messages"]]
    assert text == {"type": "text", "text": "What?"}
    assert audio["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(audio["input_audio"]["data"]))) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
        assert file.readframes(10_000) == PCM.tobytes()


def test_only_what_the_settings_name_leaves_the_machine(
    chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-of-somebody-else",
        "OPENAI_ORG_ID": "org",
        "OPENAI_PROJECT_ID": "project",
        "OPENAI_CUSTOM_HEADERS": "X-Custom: 1",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    given = settings(chat.url, ["answer", ["yes"]])
    ask(given)

    (request,) = chat.seen(given.model)
    assert {name.lower() for name in request["headers"]} == {
        *("host", "user-agent", "accept", "accept-encoding", "connection"),
        *("content-type", "content-length"),
    }
    assert request["headers"]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("url", "key", "expected"),
    [
        ("http://{}", KEY, f"Bearer {KEY}"),
        ("http://{}", " ", None),
        (
            "http://user:p%40ss@{}",
            None,
            f"Basic {base64.b64encode(b'user:p@ss').decode()}",
        ),
        ("http://user:p%40ss@{}", KEY, f"Bearer {KEY}"),
    ],
)
def test_a_key_or_a_user_of_the_address_is_shown_to_the_server(
    chat: ScriptedChat, url: str, key: str | None, expected: str | None
) -> None:
    given = settings(
        url.format(chat.url.removeprefix("http://")),
        ["answer", ["yes"]],
        api_key=None if key is None else SecretStr(key),
    )
    ask(given)

    assert chat.seen(given.model)[0]["headers"].get("authorization") == expected


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"url": "gpu.lan:8000"}, "remote.url"),
        ({"url": "ftp://gpu.lan/v1"}, "remote.url"),
        ({"url": "http://gpu.lan:high/v1"}, "remote.url"),
        ({"url": "http://gpu.lan/v1?key=hidden"}, "remote.url goes on"),
        ({"url": "http://gpu.lan/v1", "api_key": "sk-ü"}, "remote.api_key"),
        ({"url": "http://gpu.lan/v1", "api_key": "sk\nX-Evil: 1"}, "remote.api_key"),
        ({"url": "https://gpu.lan/v1", "ca_cert": "/no/such.pem"}, "remote.ca_cert"),
        ({"url": "https://gpu.lan/v1", "ca_cert": __file__}, "remote.ca_cert"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(
    given: dict[str, Any], named: str
) -> None:
    with pytest.raises(EngineError, match=named) as caught:
        ChatServer(RemoteSettings.model_validate(given))

    assert "hidden" not in str(caught.value)


def test_the_address_in_messages_holds_no_secret() -> None:
    server = ChatServer(RemoteSettings(url="http://user:hidden@[::1]:9/hidden/v1"))

    assert server.name == "The remote engine at http://[::1]:9"
    assert "user" not in repr(server.address)


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (["silence"], "took too long"),
        (["silence_after", ["a"]], "took too long"),
        (["drip_headers"], "took too long"),
        (["drip_body"], "took too long"),
        (["reset", ["a"]], "broke off the connection"),
        (["end_early", ["a"]], "ended its answer in the middle"),
        (["endless", "again "], "said more than it was asked for"),
        (["endless", ""], "said more than it was asked for"),
        (["answer", ["x" * 2000]], "said more than it was asked for"),
        (["giant_line"], "said more than it was asked for"),
        (["giant_error"], "said more than it was asked for"),
        (["bomb"], "does not answer as OpenAI's chat API"),
        (["raw", "data: \xff\xfe\n\n"], "does not answer as OpenAI's chat API"),
        (["raw", "data: {\n\n"], "does not answer as OpenAI's chat API"),
        (["raw", "data: " + "[" * 50_000 + "\n\n"], "does not answer as OpenAI's"),
        (["raw", event({"choices": [{"x": NESTED}]}).decode()], "does not answer as"),
        (["raw", "data: " + "1" * 5_000 + "\n\n"], "does not answer as OpenAI's"),
        (["raw", "<html>Welcome to your router</html>"], "ended its answer"),
        (["raw", ""], "ended its answer in the middle"),
        (["events", {"choices": "all"}], "does not answer as OpenAI's chat API"),
        (["events", {"choices": [7]}], "does not answer as OpenAI's chat API"),
        (["events", chunk("text")], "does not answer as OpenAI's chat API"),
        (["events", chunk({"content": ["text"]})], "does not answer as OpenAI's"),
        (["events", "text"], "does not answer as OpenAI's chat API"),
        (["events", {"error": {"message": SECRET_WORDS}}], "failed while it answered"),
        (["status", 401, {}], "refuses the key"),
        (["status", 403, {}], "refuses the key"),
        (["status", 404, {}], "has no model"),
        (["status", 500, {}], "failed"),
    ],
)
def test_a_server_that_does_not_answer_well_ends_in_an_error_that_says_what_to_do(
    chat: ScriptedChat, deed: list[Any], said: str
) -> None:
    given = settings(chat.url, deed, timeout_s=0.5 if "long" in said else 20)

    with pytest.raises(EngineError, match=f"{said}.*: .*") as caught:
        ask(given)

    message = str(caught.value)
    assert message.startswith(f"The remote engine at {chat.url.removesuffix('/v1')} ")
    assert SECRET_WORDS not in message
    assert not isinstance(caught.value, EngineBusyError | UnusableRequestError)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_refused_request_is_one_that_must_be_put_differently(
    chat: ScriptedChat, status: int
) -> None:
    with pytest.raises(UnusableRequestError, match=str(status)):
        ask(settings(chat.url, ["status", status, {}]))


@pytest.mark.parametrize(
    "sent",
    [
        {"choices": []},
        {"usage": {"total_tokens": 3}},
        chunk(None),
        chunk({"content": None}),
        chunk({"role": "assistant"}),
        chunk({"reasoning_content": "hm"}),
        chunk({}, logprobs={"content": [{"token": 7}, "x", None]}),
        chunk({}, logprobs="none"),
    ],
)
def test_events_without_text_are_passed_over(
    chat: ScriptedChat, sent: dict[str, Any]
) -> None:
    given = settings(chat.url, ["events", sent, chunk({"content": "a dog"})])

    assert ask(given) == [Piece("a dog")]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "error", "logprobs", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(sent=JSON)
@hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_an_event_holds_there_is_an_answer_or_an_engine_error(
    chat: ScriptedChat, sent: object
) -> None:
    try:
        pieces = ask(settings(chat.url, ["events", sent]))
    except EngineError:
        return
    assert all(isinstance(piece.text, str) for piece in pieces)


def test_a_failure_that_may_pass_is_tried_again_after_a_pause_that_varies(
    chat: ScriptedChat,
) -> None:
    pauses = Pauses()
    given = settings(chat.url, ["status", 500, {}], ["reset"], ["answer", ["a dog"]])
    server = ChatServer(given, sleep=pauses)

    assert joined([*server.ask(question())]) == "a dog"
    first, second = pauses
    assert 0.125 <= first <= 0.25 <= second <= 0.5
    bodies = [request["body"] for request in chat.seen(given.model)]
    assert bodies[0] == bodies[1] == bodies[2]


def test_after_a_few_attempts_it_is_enough(chat: ScriptedChat) -> None:
    given = settings(chat.url, ["status", 503, {}])
    with pytest.raises(EngineError, match="503"):
        ask(given)

    assert len(chat.seen(given.model)) == ATTEMPTS


def test_a_busy_server_says_when_to_come_back(chat: ScriptedChat) -> None:
    pauses = Pauses()
    given = settings(
        chat.url, ["status", 429, {"Retry-After": "1.5"}], ["answer", ["a dog"]]
    )

    assert joined([*ChatServer(given, sleep=pauses).ask(question())]) == "a dog"
    assert pauses == [1.5]


@pytest.mark.parametrize(
    "wait", ["3600", "inf", "nan", "-1", "Sun, 22 Nov 2026 12:00:00 GMT"]
)
def test_nobody_waits_for_a_server_that_is_busy_for_long(
    chat: ScriptedChat, wait: str
) -> None:
    pauses = Pauses()
    given = settings(chat.url, ["status", 429, {"Retry-After": wait}])

    with pytest.raises(EngineBusyError, match="too much to do"):
        list(ChatServer(given, sleep=pauses).ask(question()))
    assert pauses == []


def test_no_attempt_begins_that_could_not_end_in_time(chat: ScriptedChat) -> None:
    pauses = Pauses()
    given = settings(chat.url, ["status", 429, {"Retry-After": "2"}], timeout_s=1.9)

    with pytest.raises(EngineBusyError):
        list(ChatServer(given, sleep=pauses).ask(question()))
    assert pauses == []


@pytest.mark.parametrize(
    "deed",
    [
        ["status", 401, {}],
        ["status", 404, {}],
        ["status", 400, {}],
        ["status", 409, {"x-should-retry": "true"}],
        ["status", 302, {"Location": "http://localhost:9/"}],
        ["end_early", ["a"]],
        ["reset", ["a"]],
    ],
)
def test_what_would_fail_again_is_asked_once(
    chat: ScriptedChat, deed: list[Any]
) -> None:
    given = settings(chat.url, deed)
    with pytest.raises(EngineError):
        ask(given)

    assert len(chat.seen(given.model)) == 1


def test_a_time_out_is_not_tried_again(chat: ScriptedChat) -> None:
    given = settings(chat.url, ["silence"], timeout_s=1)
    with pytest.raises(EngineError, match="higher than 1"):
        ask(given)

    assert len(chat.seen(given.model)) == 1


def test_a_redirect_is_told_and_not_followed(chat: ScriptedChat) -> None:
    with scripted_chat() as elsewhere:
        location = {"Location": f"{elsewhere.url}/chat/completions"}
        given = settings(chat.url, ["status", 307, location], api_key=SecretStr(KEY))
        with pytest.raises(EngineError, match=r"from elsewhere \(307\)"):
            ask(given)

        assert elsewhere.seen(given.model) == []


def test_closing_the_answer_closes_the_connection(chat: ScriptedChat) -> None:
    given = settings(chat.url, ["silence_after", ["a dog"]])
    pieces = ChatServer(given).ask(question())

    assert next(pieces) == Piece("a dog")
    pieces.close()
    assert chat.was_left(given.model)


def test_an_answer_that_was_cut_says_so(chat: ScriptedChat) -> None:
    given = settings(chat.url, ["answer", ["a dog", " and"], None, "length"])

    assert [piece.cut for piece in ask(given)] == [False, False, True]


def test_tokens_come_with_their_probabilities(chat: ScriptedChat) -> None:
    given = settings(chat.url, ["answer", ["a", " dog"], [-0.5, 1]])

    assert [piece.tokens for piece in ask(given, logprobs=True)] == [
        (("a", -0.5),),
        ((" dog", 0.0),),
    ]


@pytest.mark.parametrize("logprob", ["NaN", "-Infinity", "1e999", "-1" + "0" * 400])
def test_a_probability_is_one_whatever_was_sent(
    chat: ScriptedChat, logprob: str
) -> None:
    sent = chunk({"content": "a"}, "stop", {"content": [{"token": "a", "logprob": 7}]})
    body = event(sent).decode().replace("7", logprob)
    ((token, read),) = ask(settings(chat.url, ["raw", body]))[0].tokens

    assert token == "a"
    assert -1000 <= read <= 0


def test_nothing_heard_and_no_key_stands_in_a_log_even_at_debug_level(
    chat: ScriptedChat, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for library in ("openai", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, library)
    for deed in (
        ["status", 500, {"X-Heard": SECRET_WORDS}],
        ["answer", [SECRET_WORDS]],
        ["raw", f"data: {SECRET_WORDS}\n\n"],
        ["status", 500, {}, json.dumps({"error": {"message": SECRET_WORDS}})],
    ):
        given = settings(chat.url, deed, api_key=SecretStr(KEY))
        with suppress(EngineError):
            ask(given)
        # Sent it was.
        assert KEY in chat.seen(given.model)[0]["headers"]["authorization"]

    for secret in (SECRET_WORDS, KEY, base64.b64encode(PCM.tobytes()).decode()[:40]):
        assert secret not in caplog.text


class Time:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def failing(server: ChatServer) -> str:
    """The error of a question."""
    with pytest.raises(EngineError) as caught:
        list(server.ask(question()))
    return str(caught.value)


def test_a_server_that_keeps_failing_is_left_alone_then_tried_once(
    chat: ScriptedChat,
) -> None:
    clock = Time()
    given = settings(
        chat.url, *[["end_early", []]] * (FAILED_CALLS + 1), ["answer", ["a dog"]]
    )
    server = ChatServer(given, clock, Pauses())

    def asked() -> int:
        return len(chat.seen(given.model))

    for _ in range(FAILED_CALLS):
        failing(server)
    assert asked() == FAILED_CALLS
    assert "left alone for another 15 s" in failing(server)
    assert asked() == FAILED_CALLS

    clock.now += REST_S
    assert "ended its answer" in failing(server)
    assert asked() == FAILED_CALLS + 1
    assert "left alone" in failing(server)

    clock.now += REST_S
    assert joined([*server.ask(question())]) == "a dog"
    assert joined([*server.ask(question())]) == "a dog"


def test_the_call_that_tries_again_has_one_attempt(chat: ScriptedChat) -> None:
    clock = Time()
    given = settings(chat.url, ["status", 500, {}])
    server = ChatServer(given, clock, Pauses())
    for _ in range(FAILED_CALLS):
        failing(server)
    before = len(chat.seen(given.model))
    clock.now += REST_S
    failing(server)

    assert before == FAILED_CALLS * ATTEMPTS
    assert len(chat.seen(given.model)) == before + 1


@pytest.mark.parametrize(
    "deed",
    [
        ["status", 429, {"Retry-After": "60"}],
        ["status", 422, {}],
        ["silence_after", ["a dog"]],
    ],
)
def test_a_server_that_refuses_or_is_left_early_is_there(
    chat: ScriptedChat, deed: list[Any]
) -> None:
    given = settings(chat.url, deed)
    server = ChatServer(given, sleep=Pauses())
    calls = FAILED_CALLS + 1
    for _ in range(calls):
        pieces = server.ask(question())
        with suppress(EngineError):
            next(pieces)
        pieces.close()

    assert len(chat.seen(given.model)) == calls


def test_an_answer_that_stalls_is_given_up_before_its_time_is_over(
    chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_chat, "STALL_S", 0.2)
    # Longer than a test may last.
    given = settings(chat.url, ["silence_after", ["a dog"]], timeout_s=600)
    with pytest.raises(EngineError, match="took too long"):
        ask(given)


def test_the_call_that_tries_again_waits_less_for_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = []

    def connect(_: object, timeout: float, **more: object) -> None:
        waits.append(timeout)
        raise httpcore2.ConnectTimeout

    monkeypatch.setattr(bounded_http._Backend, "connect_tcp", connect)
    clock = Time()
    server = ChatServer(RemoteSettings(url="http://gpu.lan:8000/v1"), clock)
    for _ in range(FAILED_CALLS):
        failing(server)
    clock.now += REST_S
    failing(server)

    assert waits == [CONNECT_S] * FAILED_CALLS + [TRIAL_CONNECT_S]


def test_a_server_that_is_not_there_does_not_answer() -> None:
    pauses = Pauses()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    given = RemoteSettings(url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(EngineError, match="does not answer: check that it runs"):
        list(ChatServer(given, sleep=pauses).ask(question()))

    assert len(pauses) == ATTEMPTS - 1


def test_a_machine_that_is_off_is_not_waited_for_twice() -> None:
    pauses = Pauses()
    with ExitStack() as stack:
        # As one that is off: once its queue is full, nobody answers a connection.
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        given = RemoteSettings(url=f"http://127.0.0.1:{deaf.getsockname()[1]}/v1")
        with pytest.raises(EngineError, match="does not answer: check that it runs"):
            list(ChatServer(given, sleep=pauses).ask(question()))

    assert pauses == []


def test_a_name_that_nobody_has_is_not_asked_for_again() -> None:
    pauses = Pauses()
    given = RemoteSettings(url="http://earshot.invalid:8000/v1")
    with pytest.raises(EngineError, match="cannot be found by its name"):
        list(ChatServer(given, sleep=pauses).ask(question()))

    assert pauses == []
