"""Results to MQTT, through Home Assistant's own MQTT integration: at least once, in order."""

import asyncio
from collections import deque
from dataclasses import dataclass
import logging

from homeassistant.components import mqtt
from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from .const import DOMAIN, ISSUE_MQTT_MISSING
from .payloads import OFFLINE, ONLINE, STATUS_TOPIC

_LOGGER = logging.getLogger(__name__)

CAPACITY = 1000
CLOSE_S = 5.0


@dataclass(frozen=True)
class Message:
    """One MQTT message below the base topic. `expiry_s` bounds a retained one."""

    topic: str
    payload: str
    retain: bool = False
    expiry_s: int | None = None


class Publisher:
    """Keeps messages while the broker is away, and the retained ones for its return.

    A message is handed to the MQTT client only while that is connected: from
    then on the client repeats it until the broker has it, and we never do.
    """

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry, base: str) -> None:
        """Start with nothing to say."""
        self._hass = hass
        self._entry = entry
        self._base = base
        self._queue: deque[Message] = deque()
        self._kept: dict[str, Message] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.published = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Return how many messages wait for the broker."""
        return len(self._queue)

    @property
    def connected(self) -> bool:
        """Return whether there is a broker to talk to now."""
        return mqtt.DATA_MQTT in self._hass.data and mqtt.is_connected(self._hass)

    @callback
    def async_start(self) -> None:
        """Publish from now on, until the entry unloads."""
        entry = self._entry
        entry.async_on_unload(
            mqtt.async_subscribe_connection_status(self._hass, self._connection)
        )
        entry.async_on_unload(
            async_dispatcher_connect(
                self._hass, SIGNAL_CONFIG_ENTRY_CHANGED, self._entry_changed
            )
        )
        self._check_mqtt()
        entry.async_create_background_task(
            self._hass, self._work(), "earshot publisher"
        )
        self.keep(STATUS_TOPIC, ONLINE)

    async def async_close(self) -> None:
        """Say that everything is offline, and wait a little until it is said."""
        for topic, message in list(self._kept.items()):
            if message.payload == ONLINE:
                self.keep(topic, OFFLINE)
        if self.connected:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._idle.wait()
            except TimeoutError:
                _LOGGER.warning("The MQTT broker did not take the last messages")

    @callback
    def send(self, topic: str, payload: str) -> None:
        """Publish an event: exactly in order, now or when the broker returns."""
        self._enqueue(Message(topic, payload))

    @callback
    def send_now(self, topic: str, payload: str) -> None:
        """Publish what is worthless later: only if the broker is there."""
        if self.connected:
            self._enqueue(Message(topic, payload))

    @callback
    def keep(self, topic: str, payload: str, expiry_s: int | None = None) -> None:
        """Publish a retained state, unless it is the one already published."""
        message = Message(topic, payload, retain=True, expiry_s=expiry_s)
        if self._kept.get(topic) == message:
            return
        self._kept[topic] = message
        if self.connected:
            self._enqueue(message)

    def _enqueue(self, message: Message) -> None:
        """Add to the queue; the oldest make room."""
        if len(self._queue) >= CAPACITY:
            self._queue.popleft()
            self.dropped += 1
            if self.dropped == 1:
                _LOGGER.warning("The MQTT broker is away for long: messages are lost")
        self._queue.append(message)
        self._idle.clear()
        self._wake.set()

    async def _work(self) -> None:
        """Hand over what waits, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue and self.connected:
                message = self._queue.popleft()
                if not await self._hand_over(message):
                    self._queue.appendleft(message)
                    break
            if not self._queue:
                self._idle.set()

    async def _hand_over(self, message: Message) -> bool:
        """Give a message to the MQTT client; False if it did not take it."""
        topic = f"{self._base}/{message.topic}"
        try:
            try:
                await mqtt.async_publish(
                    self._hass,
                    topic,
                    message.payload,
                    qos=1,
                    retain=message.retain,
                    message_expiry_interval=message.expiry_s,
                )
            except ServiceValidationError:
                # Brokers before MQTT 5 know no expiry.
                await mqtt.async_publish(
                    self._hass, topic, message.payload, qos=1, retain=message.retain
                )
        except HomeAssistantError as err:
            if err.translation_key == "mqtt_not_setup_cannot_publish":
                return False
            # The connection broke just now. The client has queued the message
            # already and repeats it: to do so here as well would publish it twice.
            _LOGGER.debug("The MQTT client will deliver later: %s", err)
        except ValueError as err:
            # An intent of somebody's own may have a name that no topic can have.
            _LOGGER.warning("A message cannot be published: %s", err)
            return True
        self.published += 1
        return True

    @callback
    def _connection(self, connected: bool) -> None:
        """Publish all states anew, then what waited, when the broker is back."""
        if not connected:
            return
        self._check_mqtt()
        events = [message for message in self._queue if not message.retain]
        self._queue = deque([*self._kept.values(), *events])
        self._idle.clear()
        self._wake.set()

    @callback
    def _entry_changed(self, change: ConfigEntryChange, entry: ConfigEntry) -> None:
        """Notice that MQTT was set up or removed."""
        if entry.domain == mqtt.DOMAIN:
            self._check_mqtt()

    @callback
    def _check_mqtt(self) -> None:
        """Raise or clear the issue that there is no MQTT."""
        if self._hass.config_entries.async_has_entries(
            mqtt.DOMAIN, include_disabled=False, include_ignore=False
        ):
            ir.async_delete_issue(self._hass, DOMAIN, ISSUE_MQTT_MISSING)
        else:
            ir.async_create_issue(
                self._hass,
                DOMAIN,
                ISSUE_MQTT_MISSING,
                is_fixable=False,
                severity=ir.IssueSeverity.WARNING,
                translation_key=ISSUE_MQTT_MISSING,
                learn_more_url="https://www.home-assistant.io/integrations/mqtt/",
            )
