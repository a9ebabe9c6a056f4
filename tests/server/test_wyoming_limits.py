"""Bad input at the Wyoming port: it ends its own connection and harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
import json
import logging
from pathlib import Path
import socket
from typing import Any

from hypothesis import given, strategies as st
import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect

from model_server.api import wyoming, wyoming_events
from model_server.api.intake import StreamError
from model_server.api.server import BindError
from model_server.api.wyoming_talk import Talk
from model_server.listen import wake
from model_server.settings import Settings
from tests.server.client import House, Serve
from tests.server.test_api_limits import Slow
from tests.server.voices import say, silence
from tests.server.wyoming_client import OPEN, Client, connected, port


@asynccontextmanager
async def opened(serve: Serve, **wyoming_settings: Any) -> AsyncGenerator[House]:
    """A server with a quick recogniser and a Wyoming port."""
    async with serve(recognizer=Slow(), wyoming=OPEN | wyoming_settings) as house:
        yield house


@pytest.fixture
async def door(serve: Serve) -> AsyncGenerator[House]:
    """One with the settings that everybody has."""
    async with opened(serve) as house:
        yield house


class Raw:
    """A socket that says what it likes."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Speak through this connection."""
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def last(self) -> dict[str, Any]:
        """The one event that the server says before it closes; {} for none."""
        async with asyncio.timeout(60):
            said = await self.reader.read()
        if not said:
            return {}
        line, _, data = said.partition(b"\n")
        header = json.loads(line)
        assert header["type"] == "error"
        assert header["data_length"] == len(data)
        answer: dict[str, Any] = json.loads(data)
        return answer


@asynccontextmanager
async def raw(house: House) -> AsyncGenerator[Raw]:
    """Connect a socket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port(house))
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def neighbour(house: House) -> AsyncGenerator[None]:
    """A client in the middle of an utterance that must come through unharmed."""
    async with connected(house) as client:
        await client.send(Transcribe())
        await client.play(say("turn on the light"))
        yield
        await client.send(AudioStop())
        assert await client.transcript() == "slowly"


async def connections(house: House, count: int) -> None:
    """Wait until so many connections are open."""
    while await house.metric("earshot_wyoming_connections") != count:
        await asyncio.sleep(0.01)


def header(**changes: Any) -> bytes:
    """The line of an `audio-chunk`."""
    form = {"rate": 16000, "width": 2, "channels": 1}
    return json.dumps({"type": "audio-chunk", "data": form} | changes).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"GET / HTTP/1.1\r\n", "JSON object"),
        (b"\x16\x03\x01\x02\x00\x01\x00\n", "JSON object"),
        (b"\xff\xfe\x00\n", "JSON object"),
        (b"\n", "JSON object"),
        (b"[]\n", "JSON object"),
        (b"[" * 50_000 + b"\n", "JSON object"),
        (b'{"type": "x", "data": ' + b'{"a":' * 9_000 + b"\n", "JSON object"),
        (b"{}\n", "type"),
        (b'{"type": 5}\n', "type"),
        (b'{"type": "' + b"x" * 100 + b'"}\n', "type"),
        (b'{"type": "ping", "data": []}\n', "data"),
        (b"{" + b" " * (1 << 17), "65536 bytes"),
        (header(data_length=65537), "65536 bytes"),
        (header(data_length=1 << 50), "65536 bytes"),
        (header(data_length=-1), "data_length"),
        (header(data_length="9"), "data_length"),
        (header(data_length=1.5), "data_length"),
        (header(data_length=True), "data_length"),
        (header(data_length=2) + b"[]", "JSON object"),
        (header(data_length=2) + b"{{", "JSON object"),
        (header(payload_length=(1 << 20) + 1), "1048576 bytes"),
        (header(payload_length=10**300), "1048576 bytes"),
        (header(payload_length=-(1 << 40)), "payload_length"),
        (header(payload_length=[1]), "payload_length"),
    ],
)
async def test_what_is_no_event_ends_its_connection_only(
    door: House, data: bytes, hint: str
) -> None:
    async with neighbour(door), raw(door) as client:
        await client.send(data)
        error = await client.last()
        await connections(door, 1)

    assert error["code"] == "bad_message"
    assert hint in error["text"]
    assert await door.metric("earshot_wyoming_errors_total", code="bad_message") == 1


@pytest.mark.parametrize(
    ("kind", "data", "hint"),
    [
        ("ping", {"text": 5}, "text"),
        ("transcribe", {"language": ["en"]}, "language"),
        ("transcribe", {"language": "x" * 65}, "language"),
        ("transcribe", {"name": {}}, "name"),
        ("detect", {"names": "alexa"}, "names"),
        ("detect", {"names": [None]}, "names.0"),
        ("detect", {"names": ["alexa"] * 65}, "names"),
        ("audio-start", {}, "rate"),
        ("audio-start", {"rate": 16000.0, "width": 2, "channels": 1}, "rate"),
        ("audio-start", {"rate": True, "width": 2, "channels": 1}, "rate"),
        ("audio-start", {"rate": 10**40, "width": 2, "channels": 1}, "rate"),
        ("audio-chunk", {"rate": 16000, "width": "2", "channels": 1}, "width"),
        ("audio-chunk", {"rate": 16000, "width": 2, "channels": -1}, "channels"),
        (
            "audio-chunk",
            {"rate": 16000, "width": 2, "channels": 1, "timestamp": "now"},
            "timestamp",
        ),
    ],
)
async def test_a_field_that_is_wrong_is_named_and_the_connection_goes_on(
    door: House, kind: str, data: dict[str, Any], hint: str
) -> None:
    async with connected(door) as client:
        await client.client.write_event(Event(kind, data))
        error = await client.error()
        await client.send(Transcribe())
        assert await client.heard(say("turn on the light")) == "slowly"

    assert error.code == "bad_message"
    assert error.text.startswith(f"{hint}:")


async def test_what_old_clients_write_on_one_line_is_understood(door: House) -> None:
    async with raw(door) as client:
        await client.send(b'{"type": "ping", "data": {"text": "a"}}\n')
        await client.send(b'{"type": "ping", "data": null, "data_length": null}\n')
        await client.send(b'{"type": "ping", "data_length": 13}\n{"text": "b"}')
        client.writer.write_eof()
        async with asyncio.timeout(60):
            said = await client.reader.read()

    # The second has no text.
    assert said.count(b'"type": "pong"') == 3
    assert b'{"text": "a"}' in said
    assert b'{"text": "b"}' in said


@pytest.mark.parametrize(
    "part",
    [b"{", header(data_length=10) + b"{", header(payload_length=10) + b"\0"],
    ids=["header", "data", "payload"],
)
async def test_an_event_that_stops_half_way_is_not_waited_for(
    door: House, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wyoming_events, "READ_S", 0.2)
    async with neighbour(door), raw(door) as client:
        await client.send(part)
        error = await client.last()

    assert error["code"] == "idle"
    assert "from first to last byte" in error["text"]


async def test_bytes_that_trickle_do_not_hold_a_connection(
    door: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time; the event as a whole does not."""
    monkeypatch.setattr(wyoming_events, "READ_S", 0.3)

    async def trickle(client: Raw) -> None:
        while True:
            await client.send(b" ")
            await asyncio.sleep(0.02)

    async with raw(door) as client:
        await client.send(b"{")
        trickling = asyncio.create_task(trickle(client))
        error = await client.last()
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)

    assert error["code"] == "idle"


async def test_a_client_that_says_nothing_is_let_go(serve: Serve) -> None:
    async with (
        serve(recognizer=None, wyoming=OPEN, idle_s=0.2) as house,
        connected(house) as client,
    ):
        error = await client.error()
        assert await client.next() is None

    assert error.code == "idle"
    assert "0.2 s" in error.text


async def test_one_connection_too_many_is_told_so(serve: Serve) -> None:
    async with opened(serve, max_connections=2) as house:
        async with neighbour(house), connected(house) as second:
            await second.send(Ping())
            await second.next()
            async with connected(house) as third:
                await third.send(Describe())
                error = await third.error()
                assert await third.next() is None
            assert await house.metric("earshot_wyoming_connections") == 2
        await connections(house, 0)
        async with connected(house) as client:
            await client.send(Ping("room again"))
            event = await client.next()

    assert error.code == "too_many_streams"
    assert "max_connections" in error.text
    assert event is not None
    assert Pong.is_type(event.type)


async def test_a_crowd_of_connections_is_cut_off_without_a_word(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are served, two are being told that they are not, the others get nothing."""
    monkeypatch.setattr(wyoming, "LINGER_S", 60)
    async with opened(serve, max_connections=2) as house, neighbour(house):
        crowd = [
            await asyncio.open_connection("127.0.0.1", port(house)) for _ in range(9)
        ]
        name = "earshot_wyoming_errors_total"
        while await house.metric(name, code="refused") < 6:
            await asyncio.sleep(0.01)
        assert await house.metric(name, code="too_many_streams") == 2
        for _, writer in crowd:
            writer.transport.abort()


@pytest.mark.parametrize(
    ("allow", "welcome"),
    [
        (["127.0.0.0/8"], True),
        (["192.0.2.0/24", "127.0.0.1"], True),
        (["192.0.2.0/24", "::1"], False),
    ],
)
async def test_only_addresses_that_are_allowed_may_connect(
    serve: Serve, allow: list[str], welcome: bool
) -> None:
    async with opened(serve, allow=allow) as house:
        async with raw(house) as client:
            await client.send(b'{"type": "ping", "data": {"text": "a"}}\n')
            try:
                async with asyncio.timeout(60):
                    line = await client.reader.readline()
            except ConnectionResetError:
                line = b""
        refused = await house.metric("earshot_wyoming_errors_total", code="refused")

    assert (b"pong" in line) == welcome
    assert refused == (0 if welcome else 1)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_an_ipv4_client_of_an_ipv6_port_is_known_by_its_ipv4_address(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        opened(serve, host="::", allow=["127.0.0.1"]) as house,
        connected(house) as client,
    ):
        await client.send(Ping("a"))
        event = await client.next()
        assert house.server.wyoming is not None
        assert house.server.wyoming.url == f"tcp://[::]:{port(house)}"

    assert event is not None
    assert "only addresses of wyoming.allow may use the server" in caplog.text


async def test_a_port_that_others_can_reach_is_warned_of(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(serve):
        pass
    assert "Wyoming" not in caplog.text
    async with opened(serve, host="0.0.0.0"):
        pass
    assert "whoever can reach it may use the server" in caplog.text


async def test_a_client_that_vanishes_within_an_utterance_frees_its_place(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(serve, max_connections=1) as house:
        for events in (
            (Transcribe(), AudioStart(16000, 2, 1)),
            (Detect(), AudioStart(48000, 2, 2)),
        ):
            async with connected(house) as client:
                await client.send(*events)
                await client.play(say("turn on the light"))
            await connections(house, 0)
        async with raw(house) as cut:
            await cut.send(header(payload_length=100) + b"half")
            await connections(house, 1)
        await connections(house, 0)
        async with connected(house) as client:
            assert await client.heard(say("turn on the light")) == "slowly"

    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_a_client_that_leaves_before_its_transcript_harms_nobody(
    door: House, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw(door) as client:
        wire = bytearray()
        for event in (
            AudioStart(16000, 2, 1).event(),
            AudioChunk(16000, 2, 1, say("turn on the light").tobytes()).event(),
            AudioStop().event(),
        ):
            payload = event.payload or b""
            line = event.to_dict() | {"payload_length": len(payload)}
            wire += json.dumps(line).encode() + b"\n" + payload
        await client.send(bytes(wire))
        await connections(door, 1)
    name = "earshot_utterances_total"
    while await door.metric(name, outcome="recognised") < 1:
        await asyncio.sleep(0.01)
    await connections(door, 0)

    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_a_client_that_takes_no_answers_is_cut_off(
    door: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks and asks; what it does not read fills its connection, and no more."""
    monkeypatch.setattr(wyoming, "WRITE_S", 0.2)
    monkeypatch.setattr(wyoming_events, "WRITE_S", 0.2)
    line = b'{"type": "ping", "data": {"text": "' + b"x" * 60_000 + b'"}}\n'
    async with neighbour(door):
        sock = socket.create_connection(("127.0.0.1", port(door)))
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        with sock, pytest.raises(ConnectionError):
            await until_cut_off(lambda: loop.sock_sendall(sock, line))
        await connections(door, 1)


async def test_a_refused_client_that_goes_on_sending_is_cut_off(
    door: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wyoming, "LINGER_S", 0.2)
    async with raw(door) as client:
        await client.send(b"[]\n")
        with pytest.raises(ConnectionError):
            await until_cut_off(lambda: client.send(bytes(1 << 16)))


async def until_cut_off(send: Callable[[], Awaitable[None]]) -> None:
    """Send for ever. Raises ConnectionError."""
    async with asyncio.timeout(60):
        while True:
            await send()
            # What is sent to a connection that has closed meanwhile raises nothing.
            await asyncio.sleep(0)


async def test_when_the_server_stops_its_clients_are_let_go(serve: Serve) -> None:
    async with opened(serve) as house:
        taken = port(house)
        client = AsyncTcpClient("127.0.0.1", taken)
        await client.connect()
        await Client(client).play(silence(1))
        await connections(house, 1)
    async with asyncio.timeout(60):
        assert await client.read_event() is None
    await client.disconnect()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", taken)


async def test_a_wyoming_port_that_is_taken_says_which_settings_to_change(
    serve: Serve,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(BindError, match="--wyoming-port"):
            async with opened(serve, port=number):
                pass


async def test_a_defect_ends_its_connection_and_gives_nothing_away(
    door: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(self: Talk, event: Event) -> None:
        raise RuntimeError("a secret that was said")

    async with raw(door) as client:
        monkeypatch.setattr(Talk, "take", fail)
        await client.send(b'{"type": "describe"}\n')
        error = await client.last()

    assert error["code"] == "engine_failed"
    assert "Wyoming connection failed: RuntimeError at" in caplog.text
    assert "secret" not in caplog.text + error["text"]


def test_an_allowed_address_is_a_network() -> None:
    settings = Settings.model_validate({"wyoming": {"allow": ["10.0.0.0/8", "::1"]}})
    assert [str(each) for each in settings.wyoming.allow] == ["10.0.0.0/8", "::1/128"]
    with pytest.raises(ValueError, match="allow"):
        Settings.model_validate({"wyoming": {"allow": ["kitchen"]}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner)
    ),
    max_leaves=6,
)


@given(
    st.lists(
        st.binary(max_size=40)
        | st.fixed_dictionaries(
            {},
            optional={
                "type": st.text(max_size=9) | json_values,
                "data": json_values,
                "data_length": st.integers(-1, 40) | json_values,
                "payload_length": st.integers(-1, 40) | json_values,
            },
        ).map(lambda line: json.dumps(line).encode() + b"\n"),
        max_size=5,
    ).map(b"".join)
)
async def test_any_bytes_are_events_or_refused(data: bytes) -> None:
    reader = asyncio.StreamReader(limit=wyoming_events.MAX_HEADER_BYTES)
    reader.feed_data(data)
    reader.feed_eof()
    refusals = []
    try:
        while event := await wyoming_events.read_event(reader, 1, 30):
            assert isinstance(event.type, str)
            assert isinstance(event.data, dict)
            assert len(event.payload or b"") <= 30
    except StreamError as error:
        refusals.append(error)
    except EOFError:
        pass
    for refusal in refusals:
        assert refusal.code == "bad_message"
        assert refusal.message.endswith(".")


def test_the_documented_limits_are_the_ones_that_hold() -> None:
    page = (Path(__file__).parents[2] / "docs" / "wyoming.md").read_text("utf-8")
    settings = Settings()
    rows = [
        f"{settings.wyoming.max_connections}: `wyoming.max_connections`",
        f"{settings.max_utterance_s:g} s: `--max-utterance-s`",
        f"{settings.max_message_bytes >> 20} MiB: `--max-message-bytes`",
        f"{settings.idle_s:g} s: `--idle-s`",
        f"its data | {wyoming_events.MAX_HEADER_BYTES >> 10} KiB each",
        f"from first to last byte | {wyoming_events.READ_S:g} s",
        f"does not take | {wyoming_events.WRITE_S:g} s",
    ]
    assert [row for row in rows if row not in page] == []
    assert wyoming_events.MAX_HEADER_BYTES == wyoming_events.MAX_DATA_BYTES
    words = [word.phrase for word in wake.wake_words().values()]
    assert [phrase for phrase in words if f"*{phrase}*" not in page] == []
