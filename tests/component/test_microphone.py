"""One microphone's life: whatever vanishes and returns, nothing is lost or repeated."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
import logging

import aiohttp
import pytest

from custom_components.earshot import microphone as module
from custom_components.earshot.backoff import Backoff
from custom_components.earshot.client import (
    Client,
    Endpoint,
    Listen,
    Listening,
    Sound,
    Start,
    Transcript,
)
from custom_components.earshot.client.connection import Stream, StreamResult
from custom_components.earshot.microphone import Microphone, Settings
from custom_components.earshot.open_sounds import OpenSounds
from custom_components.earshot.sources.base import SourceError

from .conftest import wait_for
from .fake_server import LIMITS, TOKEN, FakeServer, FakeStream

SETTINGS = Settings("kitchen", ("sounds", "commands"), "en", ("smoke",))


class Tap:
    """A source that runs until a test turns it off."""

    def __init__(self) -> None:
        """Begin closed."""
        self.opened = 0
        self.failure: str | None = None
        self._end: asyncio.Event | None = None

    async def open(self) -> AsyncGenerator[bytes]:
        self.opened += 1
        if self.failure is not None:
            raise SourceError(self.failure)
        self._end = asyncio.Event()
        while not self._end.is_set():
            yield b"\x01\x00" * 320
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        assert self._end is not None
        self._end.set()


class Ear:
    """Keeps what a microphone tells."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.results: list[StreamResult] = []
        self.states: list[bool] = []
        self.refused = 0
        self.streams = 0

    def heard(self, result: StreamResult) -> None:
        self.results.append(result)

    def available(self, available: bool) -> None:
        self.states.append(available)

    def connected(self) -> None:
        self.streams += 1

    def token_refused(self) -> None:
        self.refused += 1

    def sounds(self) -> list[tuple[str, str]]:
        return [(r.id, r.state) for r in self.results if isinstance(r, Sound)]


def quick() -> Backoff:
    return Backoff(first_s=0.02, cap_s=0.05)


class Rig:
    """A running microphone between a tap and a fake server."""

    def __init__(self, server: FakeServer, session: aiohttp.ClientSession) -> None:
        """Connect the two, with nothing running."""
        self.server = server
        self.tap = Tap()
        self.ear = Ear()
        self.client = Client(session, Endpoint("127.0.0.1", server.port), TOKEN)
        self.task: asyncio.Task[None] | None = None

    def start(self, **options: object) -> None:
        self.microphone = Microphone(
            "Kitchen",
            SETTINGS,
            self.tap,
            self.client,
            self.ear,
            backoff=quick,
            **options,  # type: ignore[arg-type]  # each test gives what it is about
        )
        self.task = asyncio.create_task(self.microphone.run())

    async def stop(self) -> None:
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task])


@pytest.fixture
async def rig(socket_enabled: None) -> AsyncGenerator[Rig]:
    server = FakeServer()
    await server.start()
    async with aiohttp.ClientSession() as session:
        rig = Rig(server, session)
        yield rig
        await rig.stop()
        await server.stop()


def down(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.message for r in caplog.records if "does not hear" in r.message]


def up(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.message for r in caplog.records if "hears again" in r.message]


async def test_audio_goes_up_and_results_come_down(rig: Rig) -> None:
    before = datetime.now(UTC)
    rig.start()
    stream = await rig.server.stream()
    assert stream.start["tasks"] == ["sounds", "commands"]
    assert stream.start["labels"] == ["smoke"]
    assert abs((stream.begin - before).total_seconds()) < 10
    await wait_for(lambda: len(stream.pcm) > 3200)
    assert stream.pcm[:4] == b"\x01\x00\x01\x00"
    await stream.transcript("hello")
    await stream.level(-20)
    await wait_for(lambda: len(rig.ear.results) == 2)
    assert isinstance(rig.ear.results[0], Transcript)
    assert rig.ear.states == [True]


async def test_without_sounds_no_labels_are_asked_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        f"{__name__}.SETTINGS", Settings("kitchen", ("commands",), "en", ())
    )
    rig.start()
    assert "labels" not in (await rig.server.stream()).start


async def test_it_ends_even_while_a_stream_is_being_closed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, closed = asyncio.Event(), asyncio.Event()

    async def close(stream: Stream) -> None:
        closing.set()
        await closed.wait()

    monkeypatch.setattr(Stream, "close", close)
    rig.start()
    await (await rig.server.stream()).drop()
    await closing.wait()
    assert rig.task is not None
    rig.task.cancel()
    await asyncio.sleep(0)
    closed.set()
    await wait_for(rig.task.done)
    assert rig.task.cancelled()


async def test_a_server_restart_in_an_alarm_gives_one_start_and_one_end(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.start()
    stream = await rig.server.stream()
    await stream.sound("smoke", "start", "first")
    await wait_for(rig.ear.sounds)
    await rig.server.stop()
    await wait_for(lambda: rig.ear.states[-1] is False)
    await rig.server.start()
    stream = await rig.server.stream(2)
    await wait_for(lambda: rig.ear.states == [True, False, True])
    await stream.sound("smoke", "start", "second")
    await stream.sound("smoke", "end", "second")
    await wait_for(lambda: len(rig.ear.sounds()) == 2)
    assert rig.ear.sounds() == [("first", "start"), ("first", "end")]
    assert len(down(caplog)) == 1
    assert len(up(caplog)) == 1


async def test_an_alarm_that_is_over_after_a_restart_ends_once(rig: Rig) -> None:
    rig.start(sounds=OpenSounds(grace_s=0.2))
    stream = await rig.server.stream()
    await stream.sound("smoke", "start", "first")
    await wait_for(rig.ear.sounds)
    lost_after = datetime.now(UTC)
    await stream.drop()
    await rig.server.stream(2)
    await wait_for(lambda: len(rig.ear.sounds()) == 2)
    end = rig.ear.results[-1]
    assert isinstance(end, Sound)
    assert end.state == "end"
    assert end.end is not None
    # The loss, not the end of the grace.
    assert abs((end.end - lost_after).total_seconds()) < 0.2


async def test_audio_of_the_absence_is_sent_with_its_time(rig: Rig) -> None:
    rig.start()
    first = await rig.server.stream()
    await wait_for(lambda: len(first.pcm) > 3200)
    await rig.server.stop()
    await wait_for(lambda: rig.ear.states[-1] is False)
    gone = datetime.now(UTC)
    await asyncio.sleep(0.5)
    await rig.server.start()
    second = await rig.server.stream(2)
    opened = datetime.now(UTC)
    await wait_for(lambda: len(second.pcm) > 16000)
    # The new stream begins where the old one broke, not where it was opened.
    assert abs((second.begin - gone).total_seconds()) < 0.3
    assert (opened - second.begin).total_seconds() > 0.3


async def test_an_orderly_shutdown_of_the_server_is_not_the_end(rig: Rig) -> None:
    rig.start()
    stream = await rig.server.stream()
    await stream.say({"type": "stopped", "reason": "shutdown"})
    assert await rig.server.stream(2)


async def test_a_source_that_ends_is_opened_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.start()
    stream = await rig.server.stream()
    await wait_for(lambda: rig.ear.states == [True])
    rig.tap.stop()
    await asyncio.wait_for(stream.ended.wait(), 20)
    await rig.server.stream(2)
    await wait_for(lambda: rig.ear.states == [True, False, True])
    assert down(caplog) == ["Microphone Kitchen does not hear: the source ended"]
    assert len(up(caplog)) == 1


async def test_a_source_that_fails_is_tried_for_ever_and_named_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.tap.failure = "no route"
    rig.start()
    await wait_for(lambda: rig.tap.opened > 5)
    assert down(caplog) == ["Microphone Kitchen does not hear: no route"]
    assert rig.ear.states == [False]
    rig.tap.failure = None
    await wait_for(lambda: rig.ear.states == [False, True])


async def test_a_refused_token_is_told(rig: Rig) -> None:
    rig.server.token = "another"
    rig.start()
    await wait_for(lambda: rig.ear.refused)
    rig.server.token = TOKEN
    await wait_for(lambda: True in rig.ear.states)


async def test_an_error_frame_is_not_the_end(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.start()
    stream = await rig.server.stream()
    await stream.say({"type": "error", "code": "idle", "message": "nothing came"})
    assert await rig.server.stream(2)
    assert down(caplog) == ["Microphone Kitchen does not hear: idle: nothing came"]


async def test_nonsense_from_the_server_is_not_the_end(rig: Rig) -> None:
    rig.start()
    await (await rig.server.stream()).say({"type": "sound"})
    assert await rig.server.stream(2)


async def test_cancelling_ends_open_events_and_the_stream(rig: Rig) -> None:
    rig.start()
    stream = await rig.server.stream()
    await stream.sound("smoke", "start", "first")
    await wait_for(rig.ear.sounds)
    await rig.stop()
    assert rig.ear.sounds() == [("first", "start"), ("first", "end")]
    assert rig.ear.states == [True, False]
    await asyncio.wait_for(stream.closed.wait(), 20)


async def test_cancelling_while_an_event_waits_ends_it_once(rig: Rig) -> None:
    rig.start()
    stream = await rig.server.stream()
    await stream.sound("smoke", "start", "first")
    await wait_for(rig.ear.sounds)
    await rig.server.stop()
    await wait_for(lambda: rig.ear.states[-1] is False)
    await rig.stop()
    assert rig.ear.sounds() == [("first", "start"), ("first", "end")]


async def test_a_jump_of_the_clock_opens_another_stream(rig: Rig) -> None:
    ahead = [0.0]

    def clock() -> datetime:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + ahead[0], UTC)

    rig.start(clock=clock)
    first = await rig.server.stream()
    await wait_for(lambda: len(first.pcm) > 3200)
    ahead[0] = 60
    second = await rig.server.stream(2)
    assert (second.begin - first.begin).total_seconds() > 55
    # Not a loss: the microphone never stopped to hear.
    assert rig.ear.states == [True]
    await wait_for(lambda: rig.ear.streams == 2)


async def test_a_server_that_never_finishes_is_left(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()

    async def deaf(stream: object) -> None:
        await over.wait()

    monkeypatch.setattr(module, "FINISH_S", 0.05)
    monkeypatch.setattr(rig.server, "_receive", deaf)
    rig.start()
    await rig.server.stream()
    rig.tap.stop()
    assert await rig.server.stream(2)
    over.set()


async def test_a_source_that_ran_for_long_begins_its_waits_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    resets: list[int] = []
    original: Callable[[Backoff], None] = Backoff.reset

    def reset(self: Backoff) -> None:
        resets.append(1)
        original(self)

    monkeypatch.setattr(Backoff, "reset", reset)
    monkeypatch.setattr(module, "SETTLED_S", 0.0)
    rig.start()
    await rig.server.stream()
    rig.tap.stop()
    await wait_for(lambda: resets)


async def test_the_limits_of_the_server_are_kept(rig: Rig) -> None:
    rig.start()
    stream = await rig.server.stream()
    await wait_for(lambda: len(stream.pcm) > 6400)
    assert len(stream.pcm) < LIMITS["max_ahead_s"] * 32000


async def test_nothing_from_before_a_switch_off_is_sent_after_it(rig: Rig) -> None:
    rig.server.token = "another"
    rig.start()
    await wait_for(lambda: rig.ear.refused)
    await asyncio.sleep(0.3)
    await rig.stop()
    stopped = datetime.now(UTC)
    rig.server.token = TOKEN
    rig.task = asyncio.create_task(rig.microphone.run())
    stream = await rig.server.stream()
    assert (stream.begin - stopped).total_seconds() > -0.1


async def test_what_is_asked_while_a_stream_opens_reaches_it(rig: Rig) -> None:
    rig.start()
    # Not answered before something else is asked.
    rig.microphone.listen_for(("smoke", "bark"), "night", "high")
    rig.microphone.listen_for(("bark",), "away", "low")
    stream = await rig.server.stream()
    assert stream.start["labels"] == ["bark"]
    assert stream.start["profile"] == "away"
    rig.microphone.listen_for(("smoke",), "home", "normal")
    rig.microphone.listen_for(("bark",), "night", "normal")
    await wait_for(lambda: len(stream.listens) == 2)
    assert [listen["labels"] for listen in stream.listens] == [["smoke"], ["bark"]]


async def test_nothing_is_asked_of_a_stream_whose_end_was_said(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()
    received: list[object] = []

    async def deaf(stream: FakeStream) -> None:
        async for frame in stream.socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                received.append(frame.data)
                if len(rig.server.streams) == 1:
                    await over.wait()
                    await stream.socket.close()

    monkeypatch.setattr(rig.server, "_receive", deaf)
    rig.start()
    await rig.server.stream()
    rig.tap.stop()
    await wait_for(lambda: received)
    rig.microphone.listen_for(("bark",), "night", "normal")
    await asyncio.sleep(0.05)
    over.set()
    second = await rig.server.stream(2)
    assert second.start["profile"] == "night"
    assert received == ['{"type": "end"}']


async def test_the_server_says_what_it_listens_for(rig: Rig) -> None:
    start = Start("kitchen", ("sounds",), labels=("smoke",))
    async with rig.client.open_stream(start) as stream:
        assert stream.listening is None
        await stream.ask(Listen(("bark",), "night", "high"))
        await stream.end()
        assert [result async for result in stream.results()] == []
        assert stream.listening == Listening(("bark",), "night", "high")
