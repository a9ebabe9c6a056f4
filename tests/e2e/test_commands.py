"""Somebody speaks; the lamp acts, and every station on the way says so."""

from __future__ import annotations

from datetime import datetime

from demo import audio
from demo.devices import Act
from demo.house import House
from demo.journal import Message
from demo.outcome import Outcome
from demo.scenes import KITCHEN_LIGHTS, Scene, spoken, switch
from tests.e2e.conftest import Stage


async def test_the_two_commands_switch_the_lamp_and_are_never_confused(
    house: House, stage: Stage
) -> None:
    for scene in spoken():
        played = await stage(scene)
        assert played.observed == scene.expected, scene
        assert not played.missing, scene


async def test_a_command_is_published_once_on_each_of_its_topics(
    house: House, stage: Stage
) -> None:
    text = "turn on the kitchen lights"
    played = await stage(
        Scene(
            text, "", audio.speak(text, audio.VOICES[0]), switch(KITCHEN_LIGHTS, "ON")
        )
    )
    messages = [e for e in played.entries if isinstance(e, Message)]
    by_topic = {m.topic: m for m in messages if "/level" not in m.topic}
    assert sorted(m.topic for m in messages if "/level" not in m.topic) == [
        "earshot/intent/HassTurnOn",
        "earshot/kitchen/intent",
        "earshot/kitchen/transcript",
    ]
    assert {(m.qos, m.retain) for m in by_topic.values()} == {(1, False)}

    transcript = by_topic["earshot/kitchen/transcript"].json()
    assert transcript["text"] == text
    assert transcript["microphone"] == "kitchen"
    assert 0 <= transcript["confidence"] <= 1
    assert transcript["engine"]["name"]

    intent = by_topic["earshot/kitchen/intent"].json()
    assert intent["id"] == transcript["id"]
    assert intent["intent"] == "HassTurnOn"
    assert intent["targets"] == [house.entities[KITCHEN_LIGHTS]]
    assert intent["text"] == text
    assert by_topic["earshot/intent/HassTurnOn"].json() == intent


async def test_the_transcript_says_when_it_was_said(house: House, stage: Stage) -> None:
    text = "turn off the kitchen lights"
    played = await stage(
        Scene(
            text, "", audio.speak(text, audio.VOICES[1]), switch(KITCHEN_LIGHTS, "OFF")
        )
    )
    (message,) = house.journal.messages(
        played.playback.start, "earshot/kitchen/transcript"
    )
    transcript = message.json()
    start = datetime.fromisoformat(transcript["start"]).timestamp()
    end = datetime.fromisoformat(transcript["end"]).timestamp()
    assert abs(start - played.playback.start) < 1
    assert abs(end - played.playback.end) < 1


async def test_the_other_room_s_lamp_is_left_alone(house: House, stage: Stage) -> None:
    text = "turn on the office lights"
    played = await stage(
        Scene(
            text,
            "",
            audio.speak(text, audio.VOICES[0]),
            Outcome(("HassTurnOn",), (), (("office_lights", "ON"),)),
        )
    )
    told = {e.device for e in played.entries if isinstance(e, Act)}
    assert told == {"office_lights"}
