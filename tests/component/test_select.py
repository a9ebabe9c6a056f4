"""The profile of a server: chosen by a person or a panel, kept, and heard with."""

from pathlib import Path
from typing import Any
import wave

from homeassistant.const import ATTR_ENTITY_ID, STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import (
    async_capture_events,
    mock_restore_cache,
    mock_restore_cache_with_extra_data,
)

from custom_components.earshot.const import DOMAIN
from custom_components.earshot.diagnostics import async_get_config_entry_diagnostics

from .conftest import Broker, Witness, microphone, set_up, wait_for
from .fake_server import FakeServer

PROFILE = "select.server_profile"
BARK = "binary_sensor.kitchen_dog_barking"
SMOKE = "binary_sensor.kitchen_smoke_alarm"
EVENT = "event.kitchen_sound"
PANEL = "alarm_control_panel.house"
RULES = {"bark": {"sustain_s": 600.0}}


def kitchen(tone: Path, **changes: Any) -> Any:
    """Return a microphone that listens for dogs at night only."""
    night = {"watch": "chosen", "labels": ["smoke", "bark"], "sensitivity": "high"}
    settings = {"labels": ["smoke"], "night": night, "rules": RULES, **changes}
    return microphone({"url": str(tone)}, **settings)


def state(hass: HomeAssistant, entity_id: str) -> str:
    """Return a state, or "gone"."""
    found = hass.states.get(entity_id)
    return found.state if found else "gone"


async def choose(hass: HomeAssistant, profile: str) -> None:
    """Choose a profile as a person does."""
    await hass.services.async_call(
        "select",
        "select_option",
        {ATTR_ENTITY_ID: PROFILE, "option": profile},
        blocking=True,
    )


async def test_a_choice_reaches_the_open_stream_without_a_new_one(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server, kitchen(tone))
    stream = await server.stream()
    assert stream.start["labels"] == ["smoke"]
    assert stream.start["profile"] == "home"
    assert stream.start["rules"] == RULES
    shown = hass.states.get(PROFILE)
    assert shown is not None
    assert shown.state == "home"
    assert shown.attributes["options"] == ["home", "night", "away"]
    await wait_for(lambda: state(hass, BARK) == STATE_OFF)
    # What only night listens for has its entity all the time.
    await stream.sound("bark", "start", "not-for-us")
    await stream.sound("smoke", "start", "smoke-1")
    await wait_for(lambda: state(hass, SMOKE) == STATE_ON)
    assert state(hass, BARK) == STATE_OFF
    await choose(hass, "night")
    assert state(hass, PROFILE) == "night"
    await wait_for(lambda: stream.listens)
    assert stream.listens == [
        {
            "type": "listen",
            "labels": ["smoke", "bark"],
            "profile": "night",
            "sensitivity": "high",
            "rules": RULES,
            "wake": {},
        }
    ]
    await stream.sound("bark", "start", "bark-1", profile="night")
    await wait_for(lambda: state(hass, BARK) == STATE_ON)
    heard = hass.states.get(EVENT)
    assert heard is not None
    assert heard.attributes["id"] == "bark-1"
    assert heard.attributes["profile"] == "night"
    diagnostics = await async_get_config_entry_diagnostics(hass, entry)
    assert diagnostics["profile"]["current"] == "night"
    (heard_by,) = diagnostics["microphones"]
    assert heard_by["hearing"] == {"labels": ("smoke", "bark"), "sensitivity": "high"}
    assert heard_by["settings"]["rules"] == RULES
    # The same again is no change.
    await choose(hass, "night")
    await choose(hass, "home")
    await wait_for(lambda: len(stream.listens) == 2)
    assert len(server.streams) == 1


async def test_no_audio_is_lost_by_a_choice(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, kitchen(tone))
    stream = await server.stream()
    await wait_for(lambda: len(stream.pcm) > 16000)
    for profile in ("night", "away", "home"):
        await choose(hass, profile)
    await wait_for(lambda: len(stream.listens) == 3)
    size = len(stream.pcm)
    await wait_for(lambda: len(stream.pcm) > size + 16000)
    with wave.open(str(tone)) as file:
        whole = file.readframes(file.getnframes())
    assert stream.pcm == whole[: len(stream.pcm)]
    assert len(server.streams) == 1


async def test_sounds_that_are_no_longer_listened_for_end_once(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    mqtt_entry: object,
    broker: Broker,
    witness: Witness,
) -> None:
    await set_up(hass, server, kitchen(tone))
    stream = await server.stream()
    await choose(hass, "night")
    await wait_for(lambda: stream.listens)
    await stream.sound("bark", "start", "bark-1")
    await stream.sound("smoke", "start", "smoke-1")
    await wait_for(lambda: state(hass, SMOKE) == STATE_ON)
    assert state(hass, BARK) == STATE_ON
    changes = async_capture_events(hass, "state_changed")
    await choose(hass, "home")
    assert state(hass, BARK) == STATE_OFF
    assert state(hass, SMOKE) == STATE_ON
    # The server ends it, too; and what it decided meanwhile is nobody's business.
    await stream.sound("bark", "end", "bark-1")
    await stream.sound("bark", "start", "bark-2")
    await stream.sound("smoke", "end", "smoke-1")
    await wait_for(lambda: state(hass, SMOKE) == STATE_OFF)
    barks = [c for c in changes if c.data["entity_id"] == BARK]
    assert [c.data["new_state"].state for c in barks] == [STATE_OFF]
    await wait_for(lambda: "OFF" in witness.on("earshot/kitchen/sound/smoke")[1:])
    assert witness.on("earshot/kitchen/sound/bark") == ["OFF", "ON", "OFF"]
    told = [
        (message["id"], message["state"])
        for message in witness.json("earshot/kitchen/sound")
    ]
    assert told == [
        ("bark-1", "start"), ("smoke-1", "start"), ("bark-1", "end"), ("smoke-1", "end")
    ]  # fmt: skip


async def test_a_server_that_is_away_gets_it_with_the_next_stream(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, kitchen(tone))
    stream = await server.stream()
    await choose(hass, "night")
    await wait_for(lambda: stream.listens)
    await stream.sound("bark", "start", "bark-1")
    await wait_for(lambda: state(hass, BARK) == STATE_ON)
    await server.stop()
    await wait_for(lambda: state(hass, BARK) == "unavailable")
    assert state(hass, PROFILE) == "night"
    changes = async_capture_events(hass, "state_changed")
    await choose(hass, "away")
    await server.start()
    stream = await server.stream(2)
    assert stream.start["profile"] == "away"
    assert stream.start["labels"] == ["smoke"]
    assert "sensitivity" not in stream.start
    await wait_for(lambda: state(hass, BARK) == STATE_OFF)
    assert stream.listens == []
    on = [c for c in changes if c.data["new_state"].state == STATE_ON]
    assert on == []


async def test_the_choice_outlives_a_restart(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    mock_restore_cache(hass, [State(PROFILE, "night")])
    await set_up(hass, server, kitchen(tone))
    stream = await server.stream()
    assert state(hass, PROFILE) == "night"
    # From the first frame on.
    assert stream.start["profile"] == "night"
    assert stream.start["sensitivity"] == "high"
    assert stream.listens == []


@pytest.mark.parametrize("kept", ["unavailable", "from_the_future"])
async def test_nonsense_is_not_restored(
    hass: HomeAssistant, server: FakeServer, tone: Path, kept: str
) -> None:
    mock_restore_cache_with_extra_data(
        hass, [(State(PROFILE, kept), {"heeded": ["only one"]})]
    )
    entry = await set_up(hass, server, kitchen(tone))
    assert state(hass, PROFILE) == "home"
    assert entry.runtime_data.profile.heeded is None


async def test_the_choice_outlives_a_reload(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server, kitchen(tone))
    await choose(hass, "away")
    await hass.config_entries.async_reload(entry.entry_id)
    assert state(hass, PROFILE) == "away"


async def test_it_follows_the_panel_and_a_restart_is_no_change_of_it(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    hass.states.async_set(PANEL, "armed_away")
    options = {"alarm_panel": PANEL}
    entry = await set_up(hass, server, kitchen(tone), options=options)
    assert state(hass, PROFILE) == "away"
    stream = await server.stream()
    assert stream.start["profile"] == "away"
    hass.states.async_set(PANEL, "armed_night")
    await wait_for(lambda: state(hass, PROFILE) == "night")
    await wait_for(lambda: stream.listens)
    await choose(hass, "home")
    await hass.config_entries.async_reload(entry.entry_id)
    # The panel still says the same: the person's choice holds.
    assert state(hass, PROFILE) == "home"
    diagnostics = await async_get_config_entry_diagnostics(hass, entry)
    assert diagnostics["profile"] == {
        "current": "home",
        "follows": True,
        "heeded": "armed_night",
    }
    await hass.config_entries.async_unload(entry.entry_id)
    hass.states.async_set(PANEL, "armed_away")
    await hass.config_entries.async_setup(entry.entry_id)
    # It changed while nobody looked.
    assert state(hass, PROFILE) == "away"


async def test_a_disabled_entity_does_not_keep_the_panel_from_being_followed(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    entity_registry: er.EntityRegistry,
) -> None:
    options = {"alarm_panel": PANEL}
    entry = await set_up(hass, server, kitchen(tone), options=options)
    entity_registry.async_update_entity(
        PROFILE, disabled_by=er.RegistryEntryDisabler.USER
    )
    await hass.config_entries.async_reload(entry.entry_id)
    assert hass.states.get(PROFILE) is None
    hass.states.async_set(PANEL, "armed_night")
    await hass.async_block_till_done(wait_background_tasks=False)
    assert entry.runtime_data.profile.current == "night"


async def test_a_server_that_hears_no_sounds_has_no_profile(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    server.info["sounds"] = None
    await set_up(hass, server, kitchen(tone))
    stream = await server.stream()
    assert "labels" not in stream.start
    assert hass.states.get(PROFILE) is None
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    # A microphone for commands alone is told nothing of profiles.
    entry.runtime_data.profile.async_choose("night")
    await stream.transcript("hello")
    assert stream.listens == []


async def test_the_panel_is_chosen_in_the_options(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(hass, server)
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    await hass.config_entries.options.async_configure(
        flow["flow_id"], {"alarm_panel": PANEL}
    )
    assert entry.options["alarm_panel"] == PANEL
    hass.states.async_set(PANEL, "armed_away")
    await wait_for(lambda: state(hass, PROFILE) == "away")
    flow = await hass.config_entries.options.async_init(entry.entry_id)
    await hass.config_entries.options.async_configure(flow["flow_id"], {})
    assert "alarm_panel" not in entry.options
