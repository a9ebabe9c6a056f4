"""A device that Home Assistant does not know is added, spoken to, and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import json

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
import pytest_asyncio

from demo import audio, home
from demo.client import Json
from demo.house import House
from tests.e2e.speaking import say

TOPIC = "earshot_test_pump"


class Tasmota:
    """A relay with Tasmota's topics, on the real broker."""

    def __init__(self, port: int) -> None:
        """Join the broker."""
        self.told: list[str] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"cmnd/{TOPIC}/POWER", qos=1)
        self._client.loop_start()

    def leave(self) -> None:
        """Leave it."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(
        self, client: paho.Client, _data: object, message: paho.MQTTMessage
    ) -> None:
        self.told.append(message.payload.decode())
        state = json.dumps({"POWER": self.told[-1]})
        client.publish(f"stat/{TOPIC}/RESULT", state, qos=1)


@pytest_asyncio.fixture(loop_scope="session")
async def fountain(house: House) -> AsyncIterator[Tasmota]:
    """The house with a fountain, added as a person would."""
    client = house.client
    (entry,) = await client.call("config_entries/get", domain="earshot")
    flow = "/api/config/config_entries/subentries/flow"
    step: Json = await client.request(
        "POST", flow, {"handler": [entry["entry_id"], "mqtt_device"]}
    )
    flow = f"{flow}/{step['flow_id']}"
    answers = {"preset": "tasmota", "kind": "switch", "device_topic": TOPIC}
    step = await client.request("POST", flow, answers)
    filled = {
        field["name"]: field["description"]["suggested_value"]
        for field in step["data_schema"]
        if "suggested_value" in (field.get("description") or {})
    }
    step = await client.request("POST", flow, {"name": "Fountain", **filled})
    assert step["type"] == "create_entry", step
    relay = Tasmota(house.stack.broker_port)
    await home.entities_appear(client, [house.entities["event"]])
    # The vocabulary is sent two quiet seconds after a change, and compiles.
    await asyncio.sleep(8)
    yield relay
    relay.leave()
    subentries = await client.call(
        "config_entries/subentries/list", entry_id=entry["entry_id"]
    )
    (added,) = [one for one in subentries if one["subentry_type"] == "mqtt_device"]
    await client.call(
        "config_entries/subentries/delete",
        entry_id=entry["entry_id"],
        subentry_id=added["subentry_id"],
    )
    await asyncio.sleep(2)
    await home.entities_appear(client, [house.entities["event"]])


async def test_a_fountain_is_switched_by_voice_and_says_so(
    house: House, fountain: Tasmota
) -> None:
    for voice in audio.VOICES:
        done = await say(house, "turn on the fountain", voice)
        if done is not None and done["refused"] is None:
            break
    assert done is not None
    assert (done["refused"], done["targets"]) == (None, ["switch.fountain"])
    assert fountain.told[-1] == "ON"
    states = await house.client.states()
    assert states["switch.fountain"]["state"] == "on"

    # Nothing answers any more: the house says that, instead of "turned off".
    fountain.leave()
    for voice in audio.VOICES:
        done = await say(house, "turn off the fountain", voice)
        if done is not None:
            break
    assert done is not None
    assert done["refused"] == "no_answer"
    assert done["response"] == "Fountain did not answer."
