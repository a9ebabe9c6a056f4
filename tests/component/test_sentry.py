"""Guard: signs become a heads-up and an alarm, and calm ends both."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from homeassistant.components import automation
from homeassistant.const import (
    ATTR_ENTITY_ID,
    SERVICE_TURN_OFF,
    SERVICE_TURN_ON,
    STATE_OFF,
    STATE_ON,
)
from homeassistant.core import HomeAssistant, State
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import (
    async_mock_service,
    mock_restore_cache,
)

from custom_components.earshot import sentry as module
from custom_components.earshot.client import Clip, Engine, Level, Sound
from custom_components.earshot.sentry import GuardState, Sentry

from .conftest import Broker, Witness, microphone, set_up, wait_for
from .fake_server import LABELS, FakeServer, default_info
from .test_blueprint import blueprints

assert blueprints

GUARD = "sensor.car_guard"
SWITCH = "switch.car_guard"
BEGIN = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
HOUR = 3600.0


class Night:
    """A sentry, and sounds that it is told of."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Be armed in a quiet street."""
        self.changes = 0
        self.sentry = Sentry(hass, self._changed)
        self.sentry.async_arm()
        self._number = 0

    def _changed(self) -> None:
        self.changes += 1

    def hear(self, label: str, at: float = 0.0) -> GuardState:
        """Tell of a sound so many seconds after the beginning."""
        self._number += 1
        time = BEGIN + timedelta(seconds=at)
        self.sentry.sound(
            Sound(
                f"{label}-{self._number}",
                time,
                "car",
                "start",
                label,
                0.9,
                0.8,
                time,
                Engine("fake", "1"),
            )
        )
        return self.sentry.state

    def levels(self, *rms: float) -> None:
        """Tell how loud it was, second by second."""
        for one in rms:
            self.sentry.level(Level(BEGIN, "car", one, one + 10))


@pytest.fixture
async def night(hass: HomeAssistant) -> AsyncGenerator[Night]:
    """Guard from now on, and have no timer left."""
    night = Night(hass)
    yield night
    night.sentry.async_disarm()


@pytest.mark.parametrize("label", ["glass_break", "engine_start"])
async def test_breaking_in_is_an_alarm_at_once(night: Night, label: str) -> None:
    assert night.hear(label) is GuardState.ALARM


@pytest.mark.parametrize("label", ["scratch", "impact", "footsteps"])
async def test_one_sign_is_a_heads_up(night: Night, label: str) -> None:
    assert night.hear(label) is GuardState.HEADS_UP


@pytest.mark.parametrize("first", ["scratch", "impact"])
@pytest.mark.parametrize("second", ["scratch", "impact"])
async def test_a_second_touch_is_an_alarm(
    night: Night, first: str, second: str
) -> None:
    night.hear(first)
    assert night.hear(second, 30) is GuardState.ALARM


@pytest.mark.parametrize("at", [0.0, 2.9, 60.1, 4000.0])
async def test_one_blow_that_two_labels_name_and_two_that_are_far_apart_are_none(
    night: Night, at: float
) -> None:
    night.hear("impact")
    assert night.hear("scratch", at) is GuardState.HEADS_UP


async def test_people_who_walk_by_and_talk_are_never_an_alarm(night: Night) -> None:
    night.levels(*[-60.0] * 60, -40.0)
    for second in range(0, 50, 5):
        assert night.hear("footsteps", second) is GuardState.HEADS_UP
        assert night.hear("speaking", second) is GuardState.HEADS_UP
    assert night.hear("scratch", 51) is GuardState.HEADS_UP


async def test_an_alarm_stays_one_whatever_follows(night: Night) -> None:
    night.hear("glass_break")
    assert night.hear("footsteps", 10) is GuardState.ALARM


@pytest.mark.parametrize(
    ("levels", "near"),
    [
        ([-60.0] * 60 + [-44.0], True),
        ([-60.0] * 60 + [-44.0] + [-60.0] * 3, True),
        ([-60.0] * 60 + [-44.0] + [-60.0] * 4, False),
        ([-60.0] * 60 + [-46.0], False),
        ([-60.0] * 58 + [-20.0], False),
        ([], False),
        ([-30.0] * 600 + [-20.0], False),
    ],
    ids=["loud", "just now", "past", "far", "too soon to tell", "new", "noisy street"],
)
async def test_voices_count_when_they_stand_out(
    night: Night, levels: list[float], near: bool
) -> None:
    night.levels(*levels)
    expected = GuardState.HEADS_UP if near else GuardState.QUIET
    assert night.hear("speaking") is expected


@pytest.mark.parametrize("label", ["smoke", "bark", "knock"])
async def test_other_sounds_are_no_signs(night: Night, label: str) -> None:
    assert night.hear(label) is GuardState.QUIET
    assert night.sentry.signs == []


async def test_calm_ends_a_step_and_forgets_its_signs(
    hass: HomeAssistant, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALM_S", {"heads_up": 0.01, "alarm": HOUR})
    night.hear("impact")
    await wait_for(lambda: night.sentry.state is GuardState.QUIET)
    assert night.sentry.signs == []
    night.hear("glass_break")
    assert night.sentry.state is GuardState.ALARM


async def test_each_sign_begins_the_wait_anew(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALM_S", {"heads_up": HOUR, "alarm": HOUR})
    night.hear("impact")
    first = night.sentry._calm
    night.hear("footsteps", 1)
    assert first is not None
    assert first.cancelled()


async def test_only_the_latest_signs_are_kept(night: Night) -> None:
    for second in range(50):
        night.hear("footsteps", second)
    assert len(night.sentry.signs) == 20
    assert night.sentry.signs[-1].id == "footsteps-50"


async def test_who_stands_down_hears_nothing(night: Night) -> None:
    night.hear("glass_break")
    night.sentry.async_disarm()
    changes = night.changes
    night.sentry.async_disarm()
    assert night.hear("glass_break", 5) is GuardState.OFF
    assert night.sentry.signs == []
    assert night.changes == changes


async def test_a_clip_is_noted_at_its_sign(night: Night) -> None:
    night.hear("scratch")
    (sign,) = night.sentry.signs
    changes = night.changes
    night.sentry.clip(Clip("other", BEGIN, "car", "scratch", BEGIN, 9.0, "no-sign"))
    assert night.changes == changes
    night.sentry.clip(Clip("clip-1", BEGIN, "car", "scratch", BEGIN, 9.0, sign.id))
    assert [one.clip for one in night.sentry.signs] == ["clip-1"]
    assert night.changes == changes + 1


def car(server: FakeServer, tone: Path, **changes: Any) -> Any:
    """A car's microphone, at a server that knows what a guard listens for."""
    known = [
        {"slug": slug, "name": slug, "group": "security", "device_class": "sound"}
        | {"default": False, "source": "classifier"}
        for slug in ("scratch", "impact", "glass_break")
    ]
    server.info = default_info()
    server.info["sounds"]["labels"] = [*LABELS, *known]
    data = {"guard": True, "labels": [], "commands": False} | changes
    return microphone({"url": str(tone)}, title="Car", **data)


def shown(hass: HomeAssistant) -> State:
    """The guard's sensor."""
    found = hass.states.get(GUARD)
    assert found is not None
    return found


async def test_two_steps_in_the_house_and_over_mqtt(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    mqtt_entry: object,
    broker: Broker,
    witness: Witness,
) -> None:
    night = {"watch": "nothing"}
    entry = await set_up(hass, server, car(server, tone, night=night))
    stream = await server.stream()
    await wait_for(lambda: hass.states.is_state(GUARD, "quiet"))
    assert hass.states.is_state(SWITCH, STATE_ON)
    signs = {"scratch", "impact", "glass_break"}
    assert set(stream.start["labels"]) == signs
    microphone_ = next(iter(entry.runtime_data.microphones.values()))
    microphone_.async_use_profile("night")
    assert set(microphone_.hearing.labels) == signs

    await stream.sound("scratch", "start", "scratch-1")
    await wait_for(lambda: hass.states.is_state(GUARD, "heads_up"))
    await stream.sound("scratch", "end", "scratch-1")
    await stream.sound("glass_break", "start", "glass-1")
    await wait_for(lambda: hass.states.is_state(GUARD, "alarm"))
    listed = shown(hass).attributes["signs"]
    assert [one["sound"] for one in listed] == ["scratch", "glass_break"]
    assert [one["id"] for one in listed] == ["scratch-1", "glass-1"]
    assert [one["clip"] for one in listed] == [None, None]

    await hass.services.async_call(
        "switch", SERVICE_TURN_OFF, {ATTR_ENTITY_ID: SWITCH}, blocking=True
    )
    assert shown(hass).state == "off"
    assert shown(hass).attributes["signs"] == []
    assert hass.states.is_state(SWITCH, STATE_OFF)
    topic = "earshot/car/guard"
    await wait_for(lambda: len(witness.json(topic)) == 4)
    told = witness.json(topic)
    assert [one["state"] for one in told] == ["quiet", "heads_up", "alarm", "off"]
    assert [sign["label"] for sign in told[2]["signs"]] == ["scratch", "glass_break"]
    assert all(one["microphone"] == "car" for one in told)

    await hass.services.async_call(
        "switch", SERVICE_TURN_ON, {ATTR_ENTITY_ID: SWITCH}, blocking=True
    )
    assert shown(hass).state == "quiet"


async def test_a_guard_that_was_off_stays_off(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    mock_restore_cache(hass, [State(SWITCH, STATE_OFF)])
    await set_up(hass, server, car(server, tone))
    stream = await server.stream()
    await wait_for(lambda: hass.states.is_state(GUARD, "off"))
    await stream.sound("glass_break", "start", "glass-1")
    await wait_for(
        lambda: hass.states.is_state("binary_sensor.car_glass_breaking", STATE_ON)
    )
    assert shown(hass).state == "off"


async def test_a_microphone_that_listens_no_more_has_nothing_under_way(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, car(server, tone))
    stream = await server.stream()
    await wait_for(lambda: hass.states.is_state(GUARD, "quiet"))
    await stream.sound("glass_break", "start", "glass-1")
    await wait_for(lambda: hass.states.is_state(GUARD, "alarm"))
    await hass.services.async_call(
        "switch",
        SERVICE_TURN_OFF,
        {ATTR_ENTITY_ID: "switch.car_listening"},
        blocking=True,
    )
    await hass.services.async_call(
        "switch",
        SERVICE_TURN_ON,
        {ATTR_ENTITY_ID: "switch.car_listening"},
        blocking=True,
    )
    await wait_for(lambda: hass.states.is_state(GUARD, "quiet"))
    assert shown(hass).attributes["signs"] == []


async def test_without_a_guard_there_is_no_guard(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, car(server, tone, guard=False, labels=["scratch"]))
    await server.stream()
    await wait_for(lambda: hass.states.get("switch.car_listening"))
    assert hass.states.get(GUARD) is None
    assert hass.states.get(SWITCH) is None


async def test_the_blueprint_acts_in_two_steps(
    hass: HomeAssistant, blueprints: None
) -> None:
    sensor = "sensor.car_guard"
    assert await async_setup_component(hass, "homeassistant", {})
    hass.states.async_set(sensor, "quiet", {"signs": []})
    step = {"data": {"sound": "{{ sound }}"}}
    inputs = {
        "guards": [sensor],
        "heads_up": [{"action": "test.lamp"} | step],
        "alarm": [{"action": "test.siren"} | step],
    }
    use = {"path": "earshot/guard_alert.yaml", "input": inputs}
    config = {automation.DOMAIN: {"alias": "guard", "use_blueprint": use}}
    assert await async_setup_component(hass, automation.DOMAIN, config)
    lamp = async_mock_service(hass, "test", "lamp")
    siren = async_mock_service(hass, "test", "siren")

    hass.states.async_set(sensor, "heads_up", {"signs": [{"sound": "scratch"}]})
    await hass.async_block_till_done()
    assert [call.data["sound"] for call in lamp] == ["scratch"]
    assert siren == []

    signs = [{"sound": "scratch"}, {"sound": "glass_break"}]
    hass.states.async_set(sensor, "alarm", {"signs": signs})
    await hass.async_block_till_done()
    assert len(lamp) == 1
    assert [call.data["sound"] for call in siren] == ["glass break"]
