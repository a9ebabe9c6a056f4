"""Everything that happened, in one list: messages, entity states, what devices did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
import json
import threading
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from demo.client import HomeClient, Json
from demo.devices import Act

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from paho.mqtt.reasoncodes import ReasonCode


@dataclass(frozen=True)
class Message:
    """An MQTT message as its publisher sent it; UTC seconds of its arrival."""

    time: float
    topic: str
    payload: str
    qos: int
    retain: bool
    expiry_s: int | None

    def json(self) -> dict[str, Any]:
        """Return the payload, which is a JSON object. Raises ValueError."""
        content: dict[str, Any] = json.loads(self.payload)
        return content


@dataclass(frozen=True)
class State:
    """An entity's new state, as Home Assistant's WebSocket told it; UTC seconds."""

    time: float
    entity: str
    state: str
    attributes: Json


Entry: TypeAlias = Message | State | Act


class Journal:
    """What happened since the beginning; may be written to from any thread."""

    def __init__(self) -> None:
        """Begin empty. Needs a running loop, which is told of every entry."""
        self.entries: list[Entry] = []
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> None:
        """Write one thing down."""
        with self._lock:
            self.entries.append(entry)
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def _news(self, known: int) -> None:
        """Wait until there are more than `known` entries."""
        while len(self.entries) <= known:
            waiter = self._loop.create_future()
            self._waiting.add(waiter)
            await waiter

    def since(self, start: float) -> list[Entry]:
        """Return what happened from UTC second `start` on."""
        with self._lock:
            return [entry for entry in self.entries if entry.time >= start]

    def messages(self, start: float, topic: str) -> list[Message]:
        """Return the messages on a topic from UTC second `start` on."""
        return [
            entry
            for entry in self.since(start)
            if isinstance(entry, Message) and entry.topic == topic
        ]

    async def until(
        self, enough: Callable[[list[Entry]], bool], start: float, timeout_s: float
    ) -> bool:
        """Wait until what happened from `start` on is enough; False after timeout_s."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    known = len(self.entries)
                    if enough(self.since(start)):
                        return True
                    await self._news(known)
        except TimeoutError:
            return False

    async def follow(self, start: float) -> AsyncIterator[Entry]:
        """Yield what happened from `start` on and what happens, for ever."""
        told = 0
        while True:
            for entry in self.entries[told:]:
                told += 1
                if entry.time >= start:
                    yield entry
            await self._news(told)


class MessageObserver:
    """Writes every message of the given topics into a journal, whatever the broker does.

    Messages that the broker kept from before are not news and are left out.
    """

    def __init__(self, journal: Journal, port: int, topics: tuple[str, ...]) -> None:
        """Listen on 127.0.0.1:port from `connect` on."""
        self._journal = journal
        self._port = port
        self._topics = topics
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="journal", protocol=paho.MQTTv5
        )
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()

    def connect(self) -> None:
        """Begin to listen."""
        self._client.connect_async("127.0.0.1", self._port, keepalive=15)
        self._client.loop_start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the broker has confirmed the subscription."""
        return self._subscribed.wait(timeout_s)

    def disconnect(self) -> None:
        """Cease to listen."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self,
        client: paho.Client,
        _data: Any,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            return
        # Retained as published: otherwise the broker hides which messages it will keep.
        options = SubscribeOptions(
            qos=1,
            retainAsPublished=True,
            retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND,
        )
        client.subscribe([(topic, options) for topic in self._topics])

    def _on_message(
        self, _client: paho.Client, _data: Any, message: paho.MQTTMessage
    ) -> None:
        self._journal.add(
            Message(
                time.time(),
                message.topic,
                message.payload.decode(errors="replace"),
                message.qos,
                message.retain,
                getattr(message.properties, "MessageExpiryInterval", None),
            )
        )


async def observe_states(journal: Journal, client: HomeClient) -> None:
    """Write every change of an entity's state into the journal from now on."""

    def changed(event: Json) -> None:
        state = event["data"]["new_state"]
        if state is not None:
            journal.add(
                State(
                    time.time(), state["entity_id"], state["state"], state["attributes"]
                )
            )

    await client.subscribe("subscribe_events", changed, event_type="state_changed")
