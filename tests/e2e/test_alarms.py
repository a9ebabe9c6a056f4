"""An alarm sounds; its event is everywhere it should be, and the siren starts."""

from __future__ import annotations

from datetime import datetime

import pytest

from demo.house import House
from demo.journal import State
from demo.scenes import alarms
from tests.e2e.conftest import Stage


@pytest.mark.parametrize(("number", "label"), [(0, "smoke"), (1, "co")])
async def test_an_alarm_starts_the_siren_and_is_told_once_everywhere(
    house: House, stage: Stage, number: int, label: str
) -> None:
    scene = list(alarms())[number]
    played = await stage(scene)
    assert played.observed == scene.expected
    assert not played.missing
    began = played.playback.start

    start, end = house.journal.messages(began, "earshot/kitchen/sound")
    assert {(m.qos, m.retain) for m in (start, end)} == {(1, False)}
    onset, release = start.json(), end.json()
    assert (onset["state"], release["state"]) == ("start", "end")
    assert onset["id"] == release["id"]
    assert onset["label"] == release["label"] == label
    assert onset["end"] is None
    assert onset["score"] >= onset["threshold"]
    assert onset["engine"]["name"]
    assert abs(datetime.fromisoformat(onset["start"]).timestamp() - began) < 2
    assert (
        abs(datetime.fromisoformat(release["end"]).timestamp() - played.playback.end)
        < 10
    )

    kept = house.journal.messages(began, f"earshot/kitchen/sound/{label}")
    assert [m.payload for m in kept] == ["ON", "OFF"]
    assert {(m.qos, m.retain) for m in kept} == {(1, True)}
    assert all(m.expiry_s for m in kept)

    sensor = [e for e in house.journal.since(began) if _is(e, house.sensors[label])]
    assert [s.state for s in sensor] == ["on", "off"]
    (event,) = [e for e in played.entries if _is(e, house.entities["event"])]
    assert event.attributes["event_type"] == label
    assert event.attributes["score"] == onset["score"]


async def test_the_sensors_tell_home_assistant_what_kind_of_danger_they_mean(
    house: House,
) -> None:
    states = await house.client.states()
    classes = {
        label: states[house.sensors[label]]["attributes"]["device_class"]
        for label in ("smoke", "co")
    }
    assert classes == {"smoke": "smoke", "co": "carbon_monoxide"}


def _is(entry: object, entity: str) -> bool:
    return isinstance(entry, State) and entry.entity == entity
