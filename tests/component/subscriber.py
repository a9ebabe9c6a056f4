"""Prints every message of a broker, one JSON line each: an independent witness."""

import json
import sys
from typing import Any

from paho.mqtt import client as paho


def tell(line: list[Any]) -> None:
    """Write a line at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(port: int, topic: str) -> None:
    """Subscribe, and again whenever the broker returns."""
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTProtocolVersion.MQTTv5
    )

    def connected(*_: Any) -> None:
        client.subscribe(topic, qos=1)

    def subscribed(*_: Any) -> None:
        tell(["", "subscribed", False, None])

    def message(_client: Any, _data: Any, received: paho.MQTTMessage) -> None:
        expiry = getattr(received.properties, "MessageExpiryInterval", None)
        tell([received.topic, received.payload.decode(), received.retain, expiry])

    client.on_connect = connected
    client.on_subscribe = subscribed
    client.on_message = message
    client.reconnect_delay_set(0.05, 0.1)
    client.connect("127.0.0.1", port)
    client.loop_forever(retry_first_connection=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
