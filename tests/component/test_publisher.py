"""Results on a real Mosquitto: the topics, and what a broker's absence does to them."""

import json
from pathlib import Path

from homeassistant.components import mqtt
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.earshot import publisher as module
from custom_components.earshot.const import DOMAIN

from .conftest import Broker, Witness, microphone, set_up, wait_for
from .fake_server import FakeServer, FakeStream
from .house import Calls, Furnish

MICROPHONE = "earshot/kitchen"


async def test_a_sound_is_on_its_topics(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    tone: Path,
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    await wait_for(lambda: witness.on(f"{MICROPHONE}/availability") == ["online"])
    await stream.sound("smoke", "start", "event-1", score=0.8)
    await stream.sound("smoke", "end", "event-1", score=0.9)
    await wait_for(lambda: len(witness.on(f"{MICROPHONE}/sound/smoke")) == 3)
    start, end = witness.json(f"{MICROPHONE}/sound")
    assert start == {
        "id": "event-1",
        "time": start["time"],
        "microphone": "kitchen",
        "state": "start",
        "label": "smoke",
        "score": 0.8,
        "threshold": 0.5,
        "scores": {"smoke": 0.8},
        "start": start["start"],
        "end": None,
        "verified": False,
        "engine": {"name": "fake", "version": "1"},
        "windows": [],
        "gates": [],
        "profile": None,
        "description": None,
        "clip": None,
    }
    assert (end["id"], end["state"], end["score"]) == ("event-1", "end", 0.9)
    assert end["end"] is not None
    assert witness.on(f"{MICROPHONE}/sound/smoke") == ["OFF", "ON", "OFF"]
    assert witness.on("earshot/status") == ["online"]
    await hass.config_entries.async_unload(entry.entry_id)
    await wait_for(lambda: witness.on("earshot/status") == ["online", "offline"])
    assert witness.on(f"{MICROPHONE}/availability") == ["online", "offline"]
    assert witness.on(f"{MICROPHONE}/level") == []


async def test_states_are_retained_and_expire(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    broker: Broker,
    tone: Path,
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    await stream.sound("smoke", "start", "event-1")
    await wait_for(lambda: published(hass) >= 8)
    late = Witness()
    await late.start(broker.port, "earshot/#")
    await wait_for(lambda: len(late.heard) >= 6)
    await late.stop()
    kept = {message.topic: message for message in late.heard}
    health = kept.pop(f"{MICROPHONE}/health")
    assert health.retained
    assert json.loads(health.payload)["problems"] == []
    assert {topic: message.payload for topic, message in kept.items()} == {
        "earshot/status": "online",
        f"{MICROPHONE}/availability": "online",
        f"{MICROPHONE}/sound/smoke": "ON",
        f"{MICROPHONE}/sound/co": "OFF",
        f"{MICROPHONE}/sound/bark": "OFF",
    }
    assert all(message.retained for message in kept.values())
    expiry = kept[f"{MICROPHONE}/sound/smoke"].expiry
    assert expiry is not None
    assert 0 < expiry <= 3600
    assert kept["earshot/status"].expiry is None


def published(hass: HomeAssistant) -> int:
    """Return how many messages the broker was given."""
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    count: int = entry.runtime_data.publisher.published
    return count


async def test_a_broker_restart_loses_and_repeats_nothing(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    broker: Broker,
    witness: Witness,
    tone: Path,
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    await stream.sound("smoke", "start", "before")
    await wait_for(lambda: len(witness.on(f"{MICROPHONE}/sound")) == 1)
    await broker.stop()
    # Some while Home Assistant has not noticed yet, some after it has.
    await stream.sound("bark", "start", "just-after")
    await wait_for(lambda: not mqtt.is_connected(hass))
    await stream.sound("smoke", "end", "before")
    await stream.sound("co", "start", "away")
    await stream.transcript("what time is it")
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    await wait_for(lambda: entry.runtime_data.publisher.waiting >= 3)
    await broker.start()
    # Home Assistant's MQTT client tries again every 10 seconds.
    await wait_for(lambda: len(witness.on(f"{MICROPHONE}/sound")) == 4, timeout=60)
    await wait_for(lambda: witness.on(f"{MICROPHONE}/transcript"), timeout=60)
    changes = [(m["id"], m["state"]) for m in witness.json(f"{MICROPHONE}/sound")]
    assert sorted(changes) == [
        ("away", "start"),
        ("before", "end"),
        ("before", "start"),
        ("just-after", "start"),
    ]
    assert changes.index(("before", "end")) < changes.index(("away", "start"))
    # The broker forgot its retained states: all are there again.
    await wait_for(lambda: witness.on(f"{MICROPHONE}/sound/co")[-1:] == ["ON"])
    assert witness.on(f"{MICROPHONE}/sound/smoke")[-1] == "OFF"
    assert witness.on("earshot/status") == ["online", "online"]


async def test_the_level_is_published_only_when_asked_for(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    broker: Broker,
    tone: Path,
) -> None:
    witness = Witness()
    await witness.start(broker.port, "house/#")
    await set_up(
        hass,
        server,
        microphone({"url": str(tone)}),
        options={"base_topic": "house/ears", "publish_level": True},
    )
    stream = await server.stream()
    await stream.level(-33)
    await wait_for(lambda: witness.on("house/ears/kitchen/level"))
    await witness.stop()
    (level,) = witness.json("house/ears/kitchen/level")
    assert level["rms_dbfs"] == -33
    assert level["peak_dbfs"] == -27
    assert level["microphone"] == "kitchen"


async def shown(hass: HomeAssistant, server: FakeServer, tone: Path) -> FakeStream:
    """Return the stream of a microphone whose words are shown, but not its code words."""
    await set_up(
        hass,
        server,
        microphone({"url": str(tone)}),
        options={"publish_partials": True, "code_words": "purple elephant"},
    )
    return await server.stream()


async def test_words_are_published_while_they_are_said(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    tone: Path,
) -> None:
    stream = await shown(hass, server, tone)
    assert stream.start["partials"] is True
    await stream.speech("start")
    secret = (
        "purple",
        "please purple el",
        "Purple elephants",
        "oh purple elephant now",
    )
    for text in ("turn on", "turn on the lamp", *secret):
        await stream.partial(text)
    # What was said was no command after all.
    await stream.speech("end")
    await wait_for(lambda: len(witness.on("earshot/kitchen/partial")) == 3)
    await stream.speech("end")
    await stream.partial("lock")
    await wait_for(lambda: len(witness.on("earshot/kitchen/partial")) == 4)
    await stream.drop()
    await wait_for(lambda: len(witness.on("earshot/kitchen/partial")) == 5)
    told = witness.json("earshot/kitchen/partial")
    texts = [one["text"] for one in told]
    assert texts == ["turn on", "turn on the lamp", "", "lock", ""]
    assert told[0]["microphone"] == "kitchen"
    assert told[2]["id"] == told[1]["id"]


async def test_an_answer_that_may_be_the_code_words_is_shown_nobody(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    calls: Calls,
    furnish: Furnish,
    tone: Path,
) -> None:
    furnish("lock.door", "front door", "Hall", state="locked")
    furnish("light.lamp", "lamp", "Kitchen")
    stream = await shown(hass, server, tone)
    await stream.transcript("unlock the front door", seconds=0)
    await wait_for(lambda: witness.on("earshot/kitchen/intent"))
    (asked,) = witness.json("earshot/kitchen/intent")
    assert asked["refused"] == "needs_confirmation"
    await stream.partial("purpose elephant")
    await stream.level(-20)
    await stream.transcript("turn on the lamp", seconds=0)
    await wait_for(lambda: len(witness.on("earshot/kitchen/intent")) == 2)
    assert not witness.on("earshot/kitchen/partial")
    await stream.partial("turn on")
    await wait_for(lambda: witness.on("earshot/kitchen/partial"))


async def test_nobody_is_asked_for_words_that_nobody_publishes(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    assert "partials" not in (await server.stream()).start


async def test_without_mqtt_an_issue_says_so_and_the_rest_works(
    hass: HomeAssistant,
    server: FakeServer,
    issue_registry: ir.IssueRegistry,
    tone: Path,
) -> None:
    await set_up(
        hass, server, microphone({"url": str(tone)}), options={"publish_level": True}
    )
    issue = issue_registry.async_get_issue(DOMAIN, "mqtt_missing")
    assert issue is not None
    assert issue.severity is ir.IssueSeverity.WARNING
    stream = await server.stream()
    await stream.level(-20)
    await stream.sound("smoke", "start", "event-1")
    await wait_for(
        lambda: hass.states.get("binary_sensor.kitchen_smoke_alarm").state == "on"  # type: ignore[union-attr]  # it exists by now
    )


async def test_mqtt_that_appears_clears_the_issue_and_gets_what_waited(
    hass: HomeAssistant,
    server: FakeServer,
    broker: Broker,
    witness: Witness,
    issue_registry: ir.IssueRegistry,
    tone: Path,
    mock_hass_config: None,
) -> None:
    earshot = await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    await stream.sound("smoke", "start", "event-1")
    await wait_for(lambda: earshot.runtime_data.publisher.waiting == 1)
    entry = MockConfigEntry(
        domain=mqtt.DOMAIN,
        data=broker.entry_data,
        version=mqtt.CONFIG_ENTRY_VERSION,
        minor_version=mqtt.CONFIG_ENTRY_MINOR_VERSION,
    )
    await hass.config_entries.async_add(entry)
    await wait_for(lambda: witness.on(f"{MICROPHONE}/sound"))
    assert issue_registry.async_get_issue(DOMAIN, "mqtt_missing") is None
    await wait_for(lambda: witness.on(f"{MICROPHONE}/sound/smoke") == ["ON"])
    await hass.config_entries.async_remove(entry.entry_id)
    assert issue_registry.async_get_issue(DOMAIN, "mqtt_missing") is not None
    # Without a broker everything waits again.
    await stream.sound("smoke", "end", "event-1")
    await wait_for(lambda: earshot.runtime_data.publisher.waiting == 1)


async def test_brokers_without_expiry_get_the_states_too(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    tone: Path,
) -> None:
    # What Home Assistant notes of a broker before MQTT 5; Mosquitto always speaks 5.
    hass.data[mqtt.DATA_MQTT].client.is_mqttv5 = False
    await set_up(hass, server, microphone({"url": str(tone)}))
    await wait_for(lambda: witness.on(f"{MICROPHONE}/sound/smoke") == ["OFF"])
    assert {message.expiry for message in witness.heard} == {None}


async def test_the_memory_for_an_absent_broker_is_bounded(
    hass: HomeAssistant,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "CAPACITY", 3)
    entry = await set_up(hass, server)
    publisher = entry.runtime_data.publisher
    for number in range(5):
        publisher.send("topic", str(number))
    assert publisher.waiting == 3
    assert publisher.dropped == 2
    assert caplog.text.count("messages are lost") == 1


async def test_an_mqtt_entry_that_vanishes_meanwhile_keeps_the_message(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = await set_up(hass, server)
    publisher = entry.runtime_data.publisher
    await wait_for(lambda: witness.on("earshot/status"))
    with monkeypatch.context() as patch:
        patch.setattr(mqtt.client, "mqtt_config_entry_enabled", lambda hass: False)
        publisher.send("topic", "kept")
        await hass.async_block_till_done(wait_background_tasks=False)
        await wait_for(lambda: publisher.waiting == 1)
    publisher.send("topic", "next")
    await wait_for(lambda: witness.on("earshot/topic") == ["kept", "next"])


async def test_a_topic_that_cannot_be_does_not_stop_the_others(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    caplog: pytest.LogCaptureFixture,
) -> None:
    entry = await set_up(hass, server)
    entry.runtime_data.publisher.send("intent/Own#Intent", "x")
    entry.runtime_data.publisher.send("intent/Fine", "y")
    await wait_for(lambda: witness.on("earshot/intent/Fine") == ["y"])
    assert "cannot be published" in caplog.text


async def test_a_broker_that_takes_nothing_does_not_hold_the_unloading(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    entry = await set_up(hass, server)
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    monkeypatch.setattr(entry.runtime_data.publisher, "_idle", type(
        "Never", (), {"wait": staticmethod(wait_for_ever), "clear": lambda self: None,
                      "set": lambda self: None})())  # fmt: skip
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert "did not take the last messages" in caplog.text


async def wait_for_ever() -> None:
    await wait_for(lambda: False)
