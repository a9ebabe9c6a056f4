"""What each profile listens for, and what an alarm panel has to do with it."""

from dataclasses import replace
import json
from typing import Any

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.earshot.client import Info
from custom_components.earshot.profiles import (
    ActiveProfile,
    Hearing,
    hearings,
    rules,
    sustained,
    watched,
)

from .conftest import microphone
from .fake_server import default_info

INFO = Info.parse(json.dumps(default_info()))
PANEL = "alarm_control_panel.house"


def settings(**changes: Any) -> dict[str, Any]:
    """Return a microphone's settings."""
    return dict(microphone(**changes)["data"])


def follower(hass: HomeAssistant, panel: str | None = PANEL) -> ActiveProfile:
    """Return a profile that follows a panel."""
    options = {} if panel is None else {"alarm_panel": panel}
    return ActiveProfile(hass, MockConfigEntry(domain="earshot", options=options))


def test_a_microphone_of_before_profiles_listens_for_the_same_in_all_of_them() -> None:
    home = Hearing(("smoke", "co", "bark"), "normal")
    assert hearings(settings(), INFO) == {"home": home, "night": home, "away": home}
    assert rules(settings(), ("smoke",)) == {}


def test_each_profile_has_its_own_labels_and_sensitivity() -> None:
    data = settings(
        labels=["smoke"],
        sensitivity="low",
        night={"watch": "chosen", "labels": ["dripping_tap", "smoke", "gone"]},
        away={"sensitivity": "high"},
    )
    assert hearings(data, INFO) == {
        "home": Hearing(("smoke",), "low"),
        "night": Hearing(("smoke", "dripping_tap"), "low"),
        "away": Hearing(("smoke",), "high"),
    }
    assert [label.slug for label in watched(data, INFO)] == ["smoke", "dripping_tap"]


def test_a_profile_may_listen_for_nothing() -> None:
    data = settings(labels=["smoke"], night={"watch": "nothing"})
    assert hearings(data, INFO)["night"] == Hearing()
    data = settings(labels=[], away={"watch": "chosen", "labels": ["smoke"]})
    assert hearings(data, INFO)["home"].labels == ()
    assert [label.slug for label in watched(data, INFO)] == ["smoke"]


def test_without_sounds_nothing_is_listened_for() -> None:
    deaf = replace(INFO, sounds=None)
    assert set(hearings(settings(sounds=False), INFO).values()) == {Hearing()}
    assert set(hearings(settings(), deaf).values()) == {Hearing()}
    assert watched(settings(), deaf) == ()


def test_what_was_kept_by_another_version_does_not_break() -> None:
    data = settings(sensitivity="extreme", night={"sensitivity": "as_at_home"})
    assert {each.sensitivity for each in hearings(data, INFO).values()} == {"normal"}


def test_rules_for_labels_that_nobody_listens_for_are_left_out() -> None:
    data = settings(rules={"smoke": {"on": 0.6}, "gone": {"on": 0.1}})
    assert rules(data, ["smoke", "co"]) == {"smoke": {"on": 0.6}}


def test_what_lasts_is_told_of_labels_with_such_a_rule() -> None:
    labels = watched(settings(), INFO)

    def told(**rules: dict[str, float]) -> list[str]:
        return [label.slug for label in sustained({"rules": rules}, labels)]

    # The catalogue's own.
    assert told() == ["bark"]
    assert told(smoke={"sustain_s": 30}) == ["smoke", "bark"]
    assert told(bark={"on": 0.7}) == ["bark"]
    assert told(bark={"sustain_s": 0}) == []


@pytest.mark.parametrize(
    ("said", "profile"),
    [
        ("armed_away", "away"),
        ("armed_vacation", "away"),
        ("armed_night", "night"),
        ("armed_home", "home"),
        ("disarmed", "home"),
    ],
)
async def test_the_profile_goes_with_the_panel(
    hass: HomeAssistant, said: str, profile: str
) -> None:
    follows = follower(hass)
    stop = follows.async_start()
    follows.async_choose("night" if profile != "night" else "away")
    told: list[str] = []
    forget = follows.async_add_listener(told.append)
    hass.states.async_set(PANEL, said)
    await hass.async_block_till_done()
    assert follows.current == profile
    assert told == [profile]
    forget()
    stop()
    hass.states.async_set(PANEL, "armed_night")
    hass.states.async_set(PANEL, "armed_away")
    await hass.async_block_till_done()
    assert follows.current == profile
    assert told == [profile]


@pytest.mark.parametrize(
    "said",
    [
        "unavailable", "unknown", "arming", "pending", "disarming", "triggered",
        "armed_custom_bypass",
    ],
)  # fmt: skip
async def test_other_states_of_the_panel_change_nothing(
    hass: HomeAssistant, said: str
) -> None:
    hass.states.async_set(PANEL, "armed_night")
    follows = follower(hass)
    stop = follows.async_start()
    assert follows.current == "night"
    hass.states.async_set(PANEL, said)
    await hass.async_block_till_done()
    hass.states.async_remove(PANEL)
    await hass.async_block_till_done()
    assert follows.current == "night"
    stop()


async def test_a_persons_choice_holds_until_the_panel_says_something_else(
    hass: HomeAssistant,
) -> None:
    hass.states.async_set(PANEL, "armed_away")
    follows = follower(hass)
    stop = follows.async_start()
    follows.async_choose("home")
    for said in ("unavailable", "armed_away", "triggered", "armed_away"):
        hass.states.async_set(PANEL, said)
        await hass.async_block_till_done()
    assert follows.current == "home"
    hass.states.async_set(PANEL, "armed_night")
    await hass.async_block_till_done()
    assert follows.current == "night"
    stop()


async def test_without_a_panel_a_person_chooses(hass: HomeAssistant) -> None:
    follows = follower(hass, None)
    follows.async_start()()
    hass.states.async_set(PANEL, "armed_away")
    await hass.async_block_till_done()
    assert follows.current == "home"
