"""Hundreds of ways to misuse a microphone: nothing protected moves without a yes."""

from collections.abc import Iterable
from dataclasses import replace

from homeassistant.const import ATTR_ENTITY_ID, EVENT_CALL_SERVICE
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import config_validation as cv
import pytest
from pytest_homeassistant_custom_component.common import async_mock_service

from custom_components.earshot.client import Intent
from custom_components.earshot.commands import async_run_command
from custom_components.earshot.confirm import Question
from custom_components.earshot.outcome import (
    NEEDS_CONFIRMATION,
    NOT_UNDERSTOOD,
    CommandOutcome,
)
from custom_components.earshot.rights import UNTRUSTED, Rights

from .adversary import LOCKED, Case, furnish_house, meanings, sentences
from .house import Calls, Furnish, device_in, said

INSIDE, OUTSIDE = Rights(), Rights(outdoor=True)
PANEL = ("disarmed", "armed_night", "armed_away")
SERVICES = (
    *("cover.stop_cover", "cover.toggle", "lock.open", "valve.stop_valve"),
    *("valve.toggle", "alarm_control_panel.alarm_arm_away", "script.turn_off"),
)


class Home:
    """Every service call of the home, by what it moves in the end."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Listen to all calls from now on."""
        self.hass = hass
        self.moved: list[str] = []
        hass.bus.async_listen(EVENT_CALL_SERVICE, self._called)

    @callback
    def _called(self, event: Event) -> None:
        self._move(cv.ensure_list(event.data["service_data"].get(ATTR_ENTITY_ID, [])))

    def _move(self, ids: Iterable[str]) -> None:
        for entity_id in ids:
            self.moved.append(entity_id)
            if state := self.hass.states.get(entity_id):
                self._move(state.attributes.get(ATTR_ENTITY_ID, ()))

    @property
    def protected(self) -> set[str]:
        """Return what was moved and is protected."""
        return {*self.moved} & {*LOCKED}


@pytest.fixture
def home(hass: HomeAssistant, calls: Calls, furnish: Furnish) -> Home:
    """A house that records what happens to it."""
    for service in SERVICES:
        async_mock_service(hass, *service.split("."))
    furnish_house(hass, furnish)
    return Home(hass)


async def attempt(
    home: Home,
    case: Case,
    rights: Rights,
    device_id: str,
    question: Question | None = None,
) -> CommandOutcome:
    """Try one case, and wait for whatever comes of it."""
    outcome = await async_run_command(
        home.hass, said(*case), device_id, rights, question
    )
    await home.hass.async_block_till_done()
    return outcome


@pytest.mark.parametrize("kind", [sentences, meanings])
@pytest.mark.parametrize("panel", PANEL)
async def test_inside_nothing_protected_moves_without_a_yes(
    hass: HomeAssistant, home: Home, kind: object, panel: str
) -> None:
    assert callable(kind)
    hass.states.async_set(LOCKED[-1], panel, {"friendly_name": "house alarm"})
    device_id = device_in(hass, "Hall")
    asked = 0
    for case in kind():
        outcome = await attempt(home, case, INSIDE, device_id)
        asked += outcome.refused == NEEDS_CONFIRMATION
        assert home.protected == set(), case
    if panel == "armed_away":
        assert asked == 0
    else:
        assert asked > 40
    # The house is not deaf: what is harmless was done.
    if kind is sentences:
        assert {"light.door", "light.front", "switch.water"} <= {*home.moved}


@pytest.mark.parametrize("panel", PANEL)
async def test_from_outside_hardly_anything_is_done_and_nothing_asked(
    hass: HomeAssistant, home: Home, panel: str
) -> None:
    hass.states.async_set(LOCKED[-1], panel, {"friendly_name": "house alarm"})
    device_id = device_in(hass, "Garden")
    cases = [*sentences(), *meanings()]
    assert len(cases) > 1000
    refused = 0
    for case in cases:
        question = Question()
        outcome = await attempt(home, case, OUTSIDE, device_id, question)
        assert outcome.refused != NEEDS_CONFIRMATION, case
        assert question.pending is None
        refused += outcome.refused is not None
    assert refused >= 0.99 * len(cases)
    assert {*home.moved} <= {"light.garden"}


@pytest.mark.parametrize("kind", [sentences, meanings])
async def test_no_case_confirms_another(
    hass: HomeAssistant, home: Home, kind: object
) -> None:
    assert callable(kind)
    device_id = device_in(hass, "Hall")
    door: Case = ("unlock the front door", None)
    bare = {"yes please", "confirm"}
    for case in kind():
        question = Question()
        asked = await attempt(home, door, INSIDE, device_id, question)
        assert asked.refused == NEEDS_CONFIRMATION
        if case[0] not in bare:
            await attempt(home, case, INSIDE, device_id, question)
        assert home.protected == set(), case


async def test_a_yes_moves_what_was_asked_about_and_no_more(
    hass: HomeAssistant, home: Home
) -> None:
    device_id = device_in(hass, "Hall")
    confirmed = 0
    for case in [*sentences(), *meanings()]:
        question = Question()
        outcome = await attempt(home, case, INSIDE, device_id, question)
        if outcome.refused != NEEDS_CONFIRMATION:
            continue
        assert question.pending is not None
        asked = question.pending.targets
        assert {*outcome.targets} <= asked
        home.moved.clear()
        done = await attempt(home, ("yes", None), INSIDE, device_id, question)
        confirmed += done.refused is None
        assert {*home.moved} <= asked, case
        home.moved.clear()
        await attempt(home, ("yes", None), INSIDE, device_id, question)
        assert home.moved == []
    assert confirmed > 50


async def test_core_176226_all_lights_of_a_hotel(
    hass: HomeAssistant, calls: Calls, furnish: Furnish
) -> None:
    """Turning off all lights of one room must not darken 101 to 114 unasked."""
    hotel = Home(hass)
    rooms = [
        furnish(f"light.r{n}", f"lamp {n}", f"Room {n}", state="on")
        for n in range(101, 115)
    ]
    room = device_in(hass, "Room 101")
    for text in ("turn off all lights", "turn off the lights everywhere"):
        outcome = await attempt(hotel, (text, None), INSIDE, room)
        assert (outcome.refused, outcome.targets) == (NEEDS_CONFIRMATION, rooms)
        outcome = await attempt(hotel, (text, None), OUTSIDE, room)
        assert outcome.refused == UNTRUSTED
    assert hotel.moved == []
    await attempt(hotel, ("turn off the lights", None), INSIDE, room)
    assert hotel.moved == ["light.r101"]


@pytest.mark.parametrize(
    "text",
    [
        "turn on the lights in the hal",
        "turn on the lights in the haul",
        "turn off the lights in the hole",
        "turn on lights in the whole",
    ],
)
async def test_core_155024_a_misheard_area_is_not_every_light(
    home: Home, hass: HomeAssistant, text: str
) -> None:
    outcome = await attempt(home, (text, None), INSIDE, device_in(hass, "Garden"))
    assert outcome.refused == NOT_UNDERSTOOD
    assert home.moved == []
    meant = Intent("HassTurnOn", {"domain": "light", "area": "haul"})
    outcome = await attempt(home, ("hm", meant), INSIDE, device_in(hass, "Garden"))
    assert outcome.refused == NOT_UNDERSTOOD
    assert home.moved == []


async def test_a_letter_box_opens_no_door(hass: HomeAssistant, home: Home) -> None:
    """Somebody shouts from the street, answers, and tries again while it is armed."""
    device_id = device_in(hass, "Garden")
    question = Question()
    for panel in PANEL:
        hass.states.async_set(LOCKED[-1], panel)
        for text in ("unlock the front door", "yes", "disarm the house alarm", "yes"):
            await attempt(home, (text, None), OUTSIDE, device_id, question)
    assert home.moved == []


async def test_a_television_does_not_answer_for_the_people(
    hass: HomeAssistant, home: Home
) -> None:
    """A yes that began before the question ended was meant for somebody else."""
    question = Question()
    device_id = device_in(hass, "Hall")
    asked = await attempt(
        home, ("unlock the front door", None), INSIDE, device_id, question
    )
    assert asked.refused == NEEDS_CONFIRMATION
    early = said("yes please")
    early = replace(early, start=early.start.replace(hour=11))
    await async_run_command(hass, early, device_id, INSIDE, question)
    await hass.async_block_till_done()
    assert home.moved == []
