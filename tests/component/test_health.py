"""A microphone that cannot hear: its sensor, its repair issues, its topic."""

from pathlib import Path

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import (
    ATTR_ENTITY_ID,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
    EntityCategory,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er, issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
)

from custom_components.earshot import health as module
from custom_components.earshot.const import DOMAIN
from custom_components.earshot.health import EXPLAINED

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer, FakeStream

PROBLEM = "binary_sensor.kitchen_problem"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a problem last in no time, and never take silence for good news."""
    monkeypatch.setattr(module, "LASTS_S", 0.0)
    monkeypatch.setattr(module, "SETTLE_S", 600.0)


def state(hass: HomeAssistant) -> str:
    """Return the sensor's state, or "gone"."""
    found = hass.states.get(PROBLEM)
    return found.state if found else "gone"


def problems(hass: HomeAssistant) -> list[str]:
    """Return what the sensor says is wrong."""
    found = hass.states.get(PROBLEM)
    assert found is not None
    listed: list[str] = found.attributes["problems"]
    return listed


def issues(hass: HomeAssistant) -> set[str]:
    """Return the repair issues about microphones."""
    return {
        issue.translation_key
        for (domain, _), issue in ir.async_get(hass).issues.items()
        if domain == DOMAIN
        and issue.translation_key
        and issue.translation_key.startswith("microphone_")
    }


async def hearing(
    hass: HomeAssistant, server: FakeServer, number: int = 1
) -> FakeStream:
    """Wait until the microphone hears."""
    stream = await server.stream(number)
    await wait_for(lambda: state(hass) in {STATE_OFF, STATE_ON})
    return stream


async def test_a_problem_turns_the_sensor_on_and_asks_for_repair_until_it_is_healed(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    entity_registry: er.EntityRegistry,
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    assert state(hass) == STATE_OFF
    assert problems(hass) == []
    registered = entity_registry.async_get(PROBLEM)
    assert registered is not None
    assert registered.entity_category is EntityCategory.DIAGNOSTIC
    assert registered.original_device_class == "problem"

    await stream.health("silent")
    await wait_for(lambda: state(hass) == STATE_ON)
    assert problems(hass) == ["silent"]
    await wait_for(lambda: issues(hass) == {"microphone_silent"})
    (subentry,) = entry.subentries
    issue = ir.async_get(hass).async_get_issue(DOMAIN, f"microphone_silent_{subentry}")
    assert issue is not None
    assert issue.translation_placeholders == {"name": "Kitchen"}
    assert issue.severity is ir.IssueSeverity.WARNING

    await stream.health("clipped", "starved")
    await wait_for(lambda: issues(hass) == {"microphone_clipped", "microphone_starved"})
    assert problems(hass) == ["clipped", "starved"]

    await stream.health()
    await wait_for(lambda: state(hass) == STATE_OFF)
    assert issues(hass) == set()


async def test_a_problem_that_is_soon_over_calls_nobody(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LASTS_S", 0.2)
    created = async_capture_events(hass, ir.EVENT_REPAIRS_ISSUE_REGISTRY_UPDATED)
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    await stream.health("clipped")
    await wait_for(lambda: state(hass) == STATE_ON)
    await stream.health()
    await wait_for(lambda: state(hass) == STATE_OFF)
    await stream.health("dc")
    await wait_for(lambda: issues(hass) == {"microphone_dc"})
    assert not [each for each in created if "clipped" in each.data["issue_id"]]


async def test_each_microphone_has_its_own(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(
        hass,
        server,
        microphone({"url": str(tone)}),
        microphone({"url": str(tone)}, title="Door"),
    )
    streams = [await server.stream(number) for number in (1, 2)]
    await wait_for(lambda: state(hass) == STATE_OFF)
    for stream in streams:
        await stream.health("looped")
    await wait_for(lambda: len(ir.async_get(hass).issues) >= 3)
    looped = [issue for _, issue in ir.async_get(hass).issues if "looped" in issue]
    assert len(looped) == 2
    for stream in streams:
        if stream.start["microphone"] == "door":
            await stream.health()
    await wait_for(
        lambda: [i for _, i in ir.async_get(hass).issues if "looped" in i] != looped
    )
    assert problems(hass) == ["looped"]
    assert issues(hass) == {"microphone_looped"}


async def test_what_a_newer_server_finds_is_shown_without_advice(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    await stream.health("haunted", "stuck")
    await wait_for(lambda: issues(hass) == {"microphone_stuck"})
    assert problems(hass) == ["haunted", "stuck"]
    await stream.health("haunted")
    await wait_for(lambda: problems(hass) == ["haunted"])
    assert issues(hass) == set()
    assert state(hass) == STATE_ON


async def test_a_stream_that_is_opened_anew_keeps_the_problem_it_tells_again(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    await stream.health("starved")
    await wait_for(lambda: issues(hass) == {"microphone_starved"})
    await stream.drop()
    await wait_for(lambda: state(hass) == STATE_UNAVAILABLE)
    assert issues(hass) == {"microphone_starved"}
    stream = await hearing(hass, server, 2)
    assert state(hass) == STATE_ON
    await stream.health("starved")
    await stream.sound("smoke", "start", "event-1")
    await wait_for(
        lambda: (
            (smoke := hass.states.get("binary_sensor.kitchen_smoke_alarm")) is not None
            and smoke.state == STATE_ON
        )
    )
    assert problems(hass) == ["starved"]


async def test_a_server_that_knows_of_no_problem_any_more_ends_it(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    await stream.health("silent")
    await wait_for(lambda: issues(hass) == {"microphone_silent"})
    monkeypatch.setattr(module, "SETTLE_S", 0.0)
    await stream.drop()
    await hearing(hass, server, 2)
    await wait_for(lambda: state(hass) == STATE_OFF)
    assert issues(hass) == set()


async def test_who_is_switched_off_or_unloaded_has_no_problem(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    await stream.health("silent")
    await wait_for(lambda: issues(hass) == {"microphone_silent"})
    switch = {ATTR_ENTITY_ID: "switch.kitchen_listening"}
    await hass.services.async_call("switch", "turn_off", switch, blocking=True)
    assert issues(hass) == set()
    assert state(hass) == STATE_UNAVAILABLE
    await hass.services.async_call("switch", "turn_on", switch, blocking=True)
    stream = await hearing(hass, server, 2)
    assert state(hass) == STATE_OFF
    await stream.health("dc")
    await wait_for(lambda: issues(hass) == {"microphone_dc"})
    await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert issues(hass) == set()


async def test_it_is_kept_on_the_broker(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    tone: Path,
) -> None:
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await hearing(hass, server)
    await stream.health("silent")
    await wait_for(lambda: len(witness.on("earshot/kitchen/health")) == 2)
    await stream.health()
    await wait_for(lambda: len(witness.on("earshot/kitchen/health")) == 3)
    published = witness.json("earshot/kitchen/health")
    assert [each["problems"] for each in published] == [[], ["silent"], []]
    assert {each["microphone"] for each in published} == {"kitchen"}
    assert all(each["time"] for each in published)


def test_every_problem_of_the_protocol_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    assert all(f"| `{problem}` |" in page for problem in EXPLAINED)
