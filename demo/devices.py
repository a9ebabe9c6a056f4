"""Three kinds of MQTT devices as one buys them: a lamp, a siren and a lock.

Each announces itself by Home Assistant's MQTT discovery, obeys its command
topic, reports on its state topic, and has a last will that says it is offline.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.reasoncodes import ReasonCode

DISCOVERY = "homeassistant"
STATES = {"ON": "ON", "OFF": "OFF", "LOCK": "LOCKED", "UNLOCK": "UNLOCKED"}
"""The state that a command leads to."""


@dataclass(frozen=True)
class Act:
    """What a device did: received a command, or reported a state; UTC seconds."""

    time: float
    device: str
    kind: Literal["command", "report"]
    value: str


class Device:
    """A thing on an MQTT broker that obeys. Its thread calls `heard` for all it does."""

    def __init__(
        self,
        slug: str,
        name: str,
        platform: Literal["light", "siren", "lock"],
        port: int,
        heard: Callable[[Act], None],
    ) -> None:
        """Describe the device; `connect` brings it to life."""
        self.slug = slug
        self.name = name
        self.state = "LOCKED" if platform == "lock" else "OFF"
        self.commands: list[Act] = []
        self._platform = platform
        self._port = port
        self._heard = heard
        self._topic = f"home/{slug}"
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"device-{slug}",
            protocol=paho.MQTTv5,
        )
        self._client.reconnect_delay_set(min_delay=1, max_delay=2)
        self._client.will_set(
            f"{self._topic}/availability", "offline", qos=1, retain=True
        )
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()

    @property
    def entity(self) -> str:
        """The entity that Home Assistant makes of it."""
        return f"{self._platform}.{self.slug}"

    def connect(self) -> None:
        """Join the broker, and join again whenever it returns."""
        self._client.connect_async("127.0.0.1", self._port, keepalive=15)
        self._client.loop_start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the device listens to its commands."""
        return self._subscribed.wait(timeout_s)

    def disconnect(self) -> None:
        """Leave the broker, saying so."""
        self._client.publish(
            f"{self._topic}/availability", "offline", qos=1, retain=True
        )
        self._client.disconnect()
        self._client.loop_stop()

    def press(self, state: str) -> None:
        """Switch it by hand, as with a button on it; it reports that like any change."""
        self.state = state
        self._client.publish(f"{self._topic}/state", state, qos=1, retain=True)

    def discovery(self) -> dict[str, object]:
        """Return the payload that Home Assistant learns the device from."""
        return {
            "name": None,
            "unique_id": f"demo_{self.slug}",
            "default_entity_id": self.entity,
            "command_topic": f"{self._topic}/set",
            "state_topic": f"{self._topic}/state",
            "availability_topic": f"{self._topic}/availability",
            "qos": 1,
            "device": {
                "identifiers": [f"demo_{self.slug}"],
                "name": self.name,
                "manufacturer": "Earshot demo",
            },
        }

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
        client.subscribe(f"{self._topic}/set", qos=1)
        client.publish(
            f"{DISCOVERY}/{self._platform}/demo_{self.slug}/config",
            json.dumps(self.discovery()),
            qos=1,
            retain=True,
        )
        client.publish(f"{self._topic}/availability", "online", qos=1, retain=True)
        client.publish(f"{self._topic}/state", self.state, qos=1, retain=True)

    def _on_message(
        self, client: paho.Client, _data: Any, message: paho.MQTTMessage
    ) -> None:
        command = Act(time.time(), self.slug, "command", _wanted(message.payload))
        self.commands.append(command)
        self._heard(command)
        if command.value not in STATES:
            return
        self.state = STATES[command.value]
        client.publish(f"{self._topic}/state", self.state, qos=1, retain=True)
        self._heard(Act(time.time(), self.slug, "report", self.state))


def _wanted(payload: bytes | bytearray) -> str:
    """Read a command from a plain payload or from the JSON that a siren gets."""
    text = payload.decode(errors="replace")
    try:
        content = json.loads(text)
    except ValueError:
        return text
    return (
        str(content["state"])
        if isinstance(content, dict) and "state" in content
        else text
    )
