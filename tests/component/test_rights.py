"""What a microphone may do depends on where it is, and on whether anybody is home."""

from dataclasses import replace
from pathlib import Path

from homeassistant.components.alarm_control_panel.const import AlarmControlPanelState
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_mock_service,
)

from custom_components.earshot.client import Intent
from custom_components.earshot.commands import async_run_command
from custom_components.earshot.confirm import Question
from custom_components.earshot.outcome import (
    NEEDS_CONFIRMATION,
    NOT_UNDERSTOOD,
    CommandOutcome,
)
from custom_components.earshot.rights import ARMED, UNTRUSTED, Rights

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer
from .house import Calls, Furnish, called, device_in, said

OUTDOOR = Rights(outdoor=True)
AWAY = (
    AlarmControlPanelState.ARMED_AWAY,
    AlarmControlPanelState.ARMED_VACATION,
    AlarmControlPanelState.PENDING,
    AlarmControlPanelState.TRIGGERED,
)
HOME = (
    AlarmControlPanelState.DISARMED,
    AlarmControlPanelState.ARMED_HOME,
    AlarmControlPanelState.ARMED_NIGHT,
    "unavailable",
)


@pytest.fixture
def garden(hass: HomeAssistant, calls: Calls, furnish: Furnish) -> str:
    """A garden with two lights and a gate beside a house; its microphone's device."""
    device_id = device_in(hass, "Garden")
    furnish("light.path", "path light", "Garden")
    furnish("light.tree", "tree light", "Garden")
    furnish("light.hall", "hall lamp", "Hall")
    furnish("lock.door", "front door", "Garden", state="locked")
    furnish("cover.gate", "gate", "Garden", device_class="gate", supported_features=15)
    furnish("switch.pump", "pump", "Garden")
    return device_id


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("turn on the path light", ["light.path"]),
        ("turn on the lights", ["light.path", "light.tree"]),
        ("turn off the lights in the garden", ["light.path", "light.tree"]),
    ],
)
async def test_from_outdoors_its_own_lights_are_switched(
    hass: HomeAssistant, garden: str, text: str, targets: list[str]
) -> None:
    outcome = await async_run_command(hass, said(text), garden, OUTDOOR)
    assert (outcome.refused, outcome.targets) == (None, targets)


@pytest.mark.parametrize(
    "text",
    [
        "unlock the front door",
        "lock the front door",
        "open the gate",
        "turn on the pump",
        "turn on the hall lamp",
        "turn on the lights in the hall",
        "turn on all the lights",
        "is the front door locked",
        "set a timer for 5 minutes",
        "add milk to my shopping list",
        "pause the music",
    ],
)
async def test_from_outdoors_nothing_else_is_done_told_or_asked(
    hass: HomeAssistant, calls: Calls, garden: str, text: str
) -> None:
    question = Question()
    outcome = await async_run_command(hass, said(text), garden, OUTDOOR, question)
    assert outcome.refused in (UNTRUSTED, NOT_UNDERSTOOD)
    assert outcome.response == ""
    await async_run_command(hass, said("yes"), garden, OUTDOOR, question)
    assert called(calls) == []


async def test_a_model_has_no_more_rights_outdoors(
    hass: HomeAssistant, calls: Calls, garden: str
) -> None:
    for slots in ({"name": "front door"}, {"name": "pump"}, {"name": "hall lamp"}):
        meant = Intent("HassTurnOff", slots)
        outcome = await async_run_command(
            hass, said("whatever", meant), garden, OUTDOOR
        )
        assert outcome.refused == UNTRUSTED
    assert called(calls) == []


async def test_a_light_that_stands_for_others_is_not_of_the_garden(
    hass: HomeAssistant, calls: Calls, garden: str, furnish: Furnish
) -> None:
    furnish("light.all", "party", "Garden", entity_id=["light.path", "light.hall"])
    furnish("light.own", "borders", "Garden", entity_id=["light.path", "light.tree"])
    outcome = await async_run_command(hass, said("turn on party"), garden, OUTDOOR)
    assert outcome.refused == UNTRUSTED
    outcome = await async_run_command(hass, said("turn on borders"), garden, OUTDOOR)
    assert outcome.refused is None


async def test_a_microphone_outdoors_without_an_area_switches_nothing(
    hass: HomeAssistant, calls: Calls, garden: str
) -> None:
    command = said("turn on the path light")
    outcome = await async_run_command(hass, command, None, OUTDOOR)
    assert (outcome.refused, outcome.targets) == (UNTRUSTED, ["light.path"])
    assert called(calls) == []


async def test_anybody_may_ask_for_the_time(hass: HomeAssistant, garden: str) -> None:
    for state in (*AWAY, *HOME):
        hass.states.async_set("alarm_control_panel.home", state)
        outcome = await async_run_command(
            hass, said("what time is it"), garden, OUTDOOR
        )
        assert outcome.refused is None
        assert outcome.response


@pytest.mark.parametrize("state", AWAY)
@pytest.mark.parametrize("panel", [None, "alarm_control_panel.home"])
async def test_while_nobody_is_home_nothing_is_opened(
    hass: HomeAssistant, calls: Calls, garden: str, state: str, panel: str | None
) -> None:
    hass.states.async_set("alarm_control_panel.home", state)
    inside = Rights(panel=panel)
    command = said("unlock the front door")
    outcome = await async_run_command(hass, command, None, inside)
    assert (outcome.refused, outcome.targets) == (ARMED, ["lock.door"])
    command = said("turn on the path light")
    outside = replace(OUTDOOR, panel=panel)
    outcome = await async_run_command(hass, command, garden, outside)
    assert outcome.refused == ARMED
    assert called(calls) == []
    # What is not protected is still done inside: somebody may have stayed.
    outcome = await async_run_command(hass, said("turn on the hall lamp"), None, inside)
    assert outcome.refused is None


@pytest.mark.parametrize("state", HOME)
async def test_while_somebody_is_home_it_is_asked(
    hass: HomeAssistant, garden: str, state: str
) -> None:
    hass.states.async_set("alarm_control_panel.home", state)
    outcome = await async_run_command(hass, said("unlock the front door"), None)
    assert outcome.refused == NEEDS_CONFIRMATION


@pytest.mark.parametrize("state", ["unavailable", "unknown", None])
async def test_a_chosen_panel_that_is_away_opens_nothing(
    hass: HomeAssistant, garden: str, state: str | None
) -> None:
    if state is not None:
        hass.states.async_set("alarm_control_panel.home", state)
    rights = Rights(panel="alarm_control_panel.home")
    command = said("unlock the front door")
    assert (await async_run_command(hass, command, None, rights)).refused == ARMED


async def test_only_the_chosen_panel_counts(hass: HomeAssistant, garden: str) -> None:
    hass.states.async_set("alarm_control_panel.home", "disarmed")
    hass.states.async_set("alarm_control_panel.shed", "armed_away")
    rights = Rights(panel="alarm_control_panel.home")
    command = said("unlock the front door")
    outcome = await async_run_command(hass, command, None, rights)
    assert outcome.refused == NEEDS_CONFIRMATION


async def test_what_was_armed_between_question_and_answer_stays_closed(
    hass: HomeAssistant, calls: Calls, garden: str
) -> None:
    question = Question()

    async def obey(text: str) -> CommandOutcome:
        return await async_run_command(hass, said(text), None, None, question)

    assert (await obey("unlock the front door")).refused == NEEDS_CONFIRMATION
    hass.states.async_set("alarm_control_panel.home", "armed_away")
    assert (await obey("yes")).refused == ARMED
    assert called(calls) == []


async def test_a_microphone_of_the_form_has_the_rights_of_its_place(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    furnish: Furnish,
    tone: Path,
) -> None:
    await set_up(
        hass,
        server,
        microphone({"url": str(tone)}, "Gate", place="outdoor"),
        options={"alarm_panel": "alarm_control_panel.home"},
    )
    unlocked = async_mock_service(hass, "lock", "unlock")
    hass.states.async_set("alarm_control_panel.home", "disarmed")
    furnish("lock.door", "front door")
    stream = await server.stream()
    await stream.transcript("unlock the front door")
    await stream.transcript("yes", seconds=0)
    hass.states.async_set("alarm_control_panel.home", "armed_away")
    await stream.transcript("unlock the front door")
    await wait_for(lambda: len(witness.on("earshot/gate/intent")) == 2)
    reasons = [one["refused"] for one in witness.json("earshot/gate/intent")]
    assert reasons[-1] == ARMED
    assert set(reasons) <= {UNTRUSTED, ARMED}
    assert unlocked == []
