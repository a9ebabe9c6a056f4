"""The client against a server: what works, and a typed error for what does not."""

import asyncio
from collections.abc import AsyncGenerator
import ssl
from typing import Any

import aiohttp
from aiohttp import web
import pytest

from custom_components.earshot.client import (
    CannotConnect,
    Client,
    ConnectionLost,
    ConnectTimeout,
    Endpoint,
    InvalidAuth,
    InvalidMessage,
    Level,
    NotEarshot,
    ProtocolMismatch,
    Start,
    StreamError,
    TlsFailed,
    Transcript,
    Vocabulary,
    VocabularyRefused,
    api,
)
from custom_components.earshot.client.connection import CATCH_UP

from .fake_server import LIMITS, TOKEN, FakeServer

START = Start("kitchen", ("sounds",))


@pytest.fixture
async def session(socket_enabled: None) -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def fake(socket_enabled: None) -> AsyncGenerator[FakeServer]:
    server = FakeServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def client(session: aiohttp.ClientSession, fake: FakeServer) -> Client:
    return Client(session, Endpoint("127.0.0.1", fake.port), TOKEN)


async def serve(handler: Any) -> tuple[web.AppRunner, int]:
    """Serve anything at every path."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    return runner, site._server.sockets[0].getsockname()[1]


async def test_info(client: Client) -> None:
    assert (await client.info()).id == "installation-1"


async def test_a_vocabulary_is_taken(client: Client, fake: FakeServer) -> None:
    report = await client.put_vocabulary(Vocabulary("en"))
    assert report.version == "v1"
    assert fake.vocabularies == [
        {
            "language": "en",
            "entities": [],
            "areas": [],
            "floors": [],
            "items": [],
            "media": [],
            "sentences": [],
            "lists": {},
        }
    ]


async def test_a_refused_vocabulary(client: Client, fake: FakeServer) -> None:
    fake.vocabulary_status = 422
    with pytest.raises(VocabularyRefused, match="422"):
        await client.put_vocabulary(Vocabulary("en"))


async def test_a_wrong_token(session: aiohttp.ClientSession, fake: FakeServer) -> None:
    client = Client(session, Endpoint("127.0.0.1", fake.port), "wrong")
    with pytest.raises(InvalidAuth):
        await client.info()
    with pytest.raises(InvalidAuth):
        async with client.open_stream(START):
            pass


async def test_nobody_there(client: Client, fake: FakeServer) -> None:
    await fake.stop()
    with pytest.raises(CannotConnect):
        await client.info()
    with pytest.raises(CannotConnect):
        async with client.open_stream(START):
            pass


@pytest.mark.parametrize(("status", "error"), [(500, CannotConnect), (404, NotEarshot)])
async def test_a_server_with_trouble(
    client: Client, fake: FakeServer, status: int, error: type[Exception]
) -> None:
    fake.status = status
    with pytest.raises(error):
        await client.info()
    with pytest.raises(error):
        async with client.open_stream(START):
            pass


async def test_an_answer_that_is_no_text(client: Client, fake: FakeServer) -> None:
    fake.info = b"\xff\xfe\xfd"
    with pytest.raises(NotEarshot):
        await client.info()


async def test_another_protocol(client: Client, fake: FakeServer) -> None:
    fake.info["protocol"] = 2
    with pytest.raises(ProtocolMismatch):
        await client.info()


async def test_an_answer_that_is_no_http(
    session: aiohttp.ClientSession,
) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(NotEarshot):
        await Client(session, Endpoint("127.0.0.1", port), TOKEN).info()
    server.close()


async def test_no_answer_in_time(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()

    async def sleep(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/stream":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await over.wait()
            return socket
        await over.wait()
        return web.Response()

    monkeypatch.setattr(api, "ANSWER_S", 0.05)
    runner, port = await serve(sleep)
    client = Client(session, Endpoint("127.0.0.1", port), TOKEN)
    with pytest.raises(ConnectTimeout):
        await client.info()
    with pytest.raises(ConnectTimeout):
        async with client.open_stream(START):
            pass
    over.set()
    await runner.cleanup()


async def test_tls_where_there_is_none(
    session: aiohttp.ClientSession, fake: FakeServer
) -> None:
    client = Client(session, Endpoint("127.0.0.1", fake.port, tls=True), TOKEN)
    with pytest.raises(TlsFailed):
        await client.info()


async def test_a_redirect_never_sees_the_token(
    session: aiohttp.ClientSession, fake: FakeServer
) -> None:
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.1:{fake.port}/v1/info")

    runner, port = await serve(redirect)
    with pytest.raises(NotEarshot, match="302"):
        await Client(session, Endpoint("127.0.0.1", port), TOKEN).info()
    await runner.cleanup()


async def test_a_stream_carries_pcm_up_and_results_down(
    client: Client, fake: FakeServer
) -> None:
    async with client.open_stream(START) as stream:
        peer = await fake.stream()
        assert peer.start["microphone"] == "kitchen"
        await stream.send(bytes(100_000))
        await peer.level(-30)
        await peer.say({"type": "from_the_future"})
        await peer.transcript("hello")
        await stream.end()
        results = [result async for result in stream.results()]
    assert [type(result) for result in results] == [Level, Transcript]
    assert stream.stopped is not None
    assert stream.stopped.reason == "ended"
    assert len(peer.pcm) == 100_000


async def test_a_backlog_goes_at_once_and_the_rest_as_time_goes(
    client: Client, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with client.open_stream(START) as stream:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await stream.send(bytes(int(LIMITS["max_ahead_s"] * 32000)))
        assert waits == []
        await stream.send(bytes(32000))
        monkeypatch.undo()
    # A second more than allowed waits about as long; a fast clock is tolerated.
    assert sum(waits) == pytest.approx(1 / CATCH_UP, abs=0.5)


async def test_a_refused_start(client: Client, fake: FakeServer) -> None:
    fake.refuse_stream = {"type": "error", "code": "unknown_label", "message": "x"}
    with pytest.raises(StreamError, match="unknown_label: x") as err:
        async with client.open_stream(START):
            pass
    assert err.value.code == "unknown_label"


async def test_a_server_that_shuts_down_instead_of_starting(
    client: Client, fake: FakeServer
) -> None:
    fake.refuse_stream = {"type": "stopped", "reason": "shutdown"}
    with pytest.raises(ConnectionLost, match="shutting down"):
        async with client.open_stream(START):
            pass


async def test_a_stream_of_another_protocol(client: Client, fake: FakeServer) -> None:
    fake.refuse_stream = {
        "type": "ready",
        "protocol": 2,
        "session": "s",
        "version": "9",
        "labels": [],
        "limits": LIMITS,
    }
    with pytest.raises(ProtocolMismatch):
        async with client.open_stream(START):
            pass


async def test_an_error_frame_ends_the_results(
    client: Client, fake: FakeServer
) -> None:
    async with client.open_stream(START) as stream:
        peer = await fake.stream()
        await peer.say({"type": "error", "code": "too_fast", "message": "slow down"})
        with pytest.raises(StreamError, match="too_fast"):
            await anext(stream.results())


async def test_a_binary_frame_breaks_the_protocol(
    client: Client, fake: FakeServer
) -> None:
    async with client.open_stream(START) as stream:
        await (await fake.stream()).socket.send_bytes(b"x")
        with pytest.raises(InvalidMessage):
            await anext(stream.results())


async def test_a_broken_stream(client: Client, fake: FakeServer) -> None:
    async with client.open_stream(START) as stream:
        await (await fake.stream()).drop()
        with pytest.raises(ConnectionLost):
            await anext(stream.results())
        with pytest.raises(ConnectionLost):
            await stream.send(bytes(320))
        with pytest.raises(ConnectionLost):
            await stream.end()


def test_ipv6_addresses_are_understood() -> None:
    assert str(Endpoint("::1", 1, tls=True).url("/x")) == "https://[::1]:1/x"


async def test_an_untrusted_certificate(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise aiohttp.ClientConnectorCertificateError(
            aiohttp.client_reqrep.ConnectionKey("h", 1, True, True, None, None, None),
            ssl.SSLCertVerificationError("self-signed"),
        )

    monkeypatch.setattr(session, "request", refuse)
    with pytest.raises(TlsFailed):
        await Client(session, Endpoint("h", 1, tls=True), TOKEN).info()
