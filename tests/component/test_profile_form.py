"""The folded parts of a microphone's form: profiles, sensitivity and rules."""

from pathlib import Path
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData, section
import pytest

from .conftest import microphone, set_up
from .fake_server import FakeServer
from .test_microphone_flow import begin, fill

AS_AT_HOME = {"watch": "as_at_home", "labels": [], "sensitivity": "as_at_home"}


async def add(
    hass: HomeAssistant, server: FakeServer, tone: Path, **changes: Any
) -> tuple[Any, Any]:
    """Submit a form; return the flow's next step and what is kept, if anything is."""
    entry = await set_up(hass, server)
    flow = await begin(hass, entry, "url")
    flow = await fill(hass, flow, {"name": "Hall", "url": str(tone)} | changes)
    kept = [dict(subentry.data) for subentry in entry.subentries.values()]
    return flow, kept[0] if kept else None


async def test_what_is_left_as_it_is_leaves_nothing_behind(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    flow, kept = await add(
        hass,
        server,
        tone,
        night=AS_AT_HOME,
        away=AS_AT_HOME,
        tuning={"sensitivity": "normal", "rules": []},
    )
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    assert set(kept) == {
        "url",
        "sounds",
        "labels",
        "commands",
        "clips",
        "guard",
        "slug",
    }


async def test_profiles_and_rules_are_kept_and_used(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    rule = {"label": "bark", "on": 0.7, "off": 0.3, "k": 2.0, "n": 4, "sustain_s": 600}
    flow, kept = await add(
        hass,
        server,
        tone,
        labels=["smoke"],
        night={"watch": "chosen", "labels": ["smoke", "bark"], "sensitivity": "high"},
        away={"watch": "nothing"},
        tuning={"sensitivity": "low", "rules": [rule, {"label": "smoke", "n": 2}]},
    )
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    assert kept["night"] == {
        "watch": "chosen",
        "labels": ["smoke", "bark"],
        "sensitivity": "high",
    }
    assert kept["away"] == {"watch": "nothing"}
    assert kept["sensitivity"] == "low"
    rules = {
        "bark": {"on": 0.7, "off": 0.3, "k": 2, "n": 4, "sustain_s": 600},
        "smoke": {"n": 2},
    }
    assert kept["rules"] == rules
    stream = await server.stream()
    assert stream.start["labels"] == ["smoke"]
    assert stream.start["sensitivity"] == "low"
    assert stream.start["rules"] == rules
    # Whole numbers stay such on their way.
    assert isinstance(stream.start["rules"]["bark"]["k"], int)


@pytest.mark.parametrize(
    ("changes", "error", "names"),
    [
        (
            {"night": {"watch": "chosen"}},
            "profile_without_labels",
            {"profile": "night"},
        ),
        (
            {"away": {"watch": "nothing", "labels": ["bark"]}},
            "profile_labels_unused",
            {"profile": "away"},
        ),
        (
            {"tuning": {"rules": [{"label": "bark"}]}},
            "rule_empty",
            {"label": "bark"},
        ),
        (
            {"tuning": {"rules": [{"label": "bark", "on": 0.5}] * 2}},
            "rule_repeated",
            {"label": "bark"},
        ),
        (
            {"tuning": {"rules": [{"label": "bark", "k": 1.5}]}},
            "rule_not_whole",
            {"label": "bark", "field": "k"},
        ),
        (
            {"tuning": {"rules": [{"label": "bark", "on": 1.5}]}},
            "rule_out_of_range",
            {"label": "bark", "field": "on", "low": "0.01", "high": "1"},
        ),
        (
            {"tuning": {"rules": [{"label": "bark", "hold_s": 0}]}},
            "rule_out_of_range",
            {"label": "bark", "field": "hold_s", "low": "0.5", "high": "120"},
        ),
        (
            {"tuning": {"rules": [{"label": "bark", "on": 0.2, "off": 0.3}]}},
            "rule_order",
            {"label": "bark", "field": "off", "other": "on"},
        ),
        (
            {"tuning": {"rules": [{"label": "bark", "k": 3, "n": 2}]}},
            "rule_order",
            {"label": "bark", "field": "k", "other": "n"},
        ),
    ],
)
async def test_a_mistake_is_said_by_label_and_field(
    hass: HomeAssistant,
    server: FakeServer,
    tone: Path,
    changes: dict[str, Any],
    error: str,
    names: dict[str, str],
) -> None:
    flow, kept = await add(hass, server, tone, **changes)
    assert flow["errors"] == {"base": error}
    assert flow["description_placeholders"] == names
    assert kept is None
    # What was filled in is still there.
    folded = {
        str(key): suggested(value.schema)
        for key, value in flow["data_schema"].schema.items()
        if isinstance(value, section)
    }
    for name, given in changes.items():
        assert given.items() <= folded[name].items()


def suggested(schema: Any) -> dict[str, Any]:
    """Return what a form shows."""
    return {
        str(key): key.description["suggested_value"]
        for key in schema.schema
        if key.description
    }


async def test_some_sound_has_to_be_chosen_for_some_profile(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    night = {"watch": "chosen", "labels": ["bark"]}
    flow, kept = await add(hass, server, tone, labels=[], night=night)
    assert flow["type"] is FlowResultType.CREATE_ENTRY
    assert kept["labels"] == []
    stream = await server.stream()
    assert stream.start["labels"] == []


async def test_a_field_that_no_rule_has_is_refused(
    hass: HomeAssistant, server: FakeServer, tone: Path
) -> None:
    with pytest.raises(InvalidData):
        await add(hass, server, tone, tuning={"rules": [{"label": "bark", "of": 1}]})


async def test_the_form_shows_the_profiles_and_rules_of_now(
    hass: HomeAssistant, server: FakeServer
) -> None:
    entry = await set_up(
        hass,
        server,
        microphone(
            sensitivity="high",
            night={"watch": "chosen", "labels": ["bark", "gone"]},
            rules={"bark": {"on": 0.7}, "gone": {"on": 0.7}},
        ),
    )
    (subentry,) = entry.subentries.values()
    flow = await entry.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    schema = flow["data_schema"]
    assert schema is not None
    folded = {
        str(key): suggested(value.schema)
        for key, value in schema.schema.items()
        if isinstance(value, section)
    }
    assert folded == {
        "night": {"watch": "chosen", "labels": ["bark"]},
        "away": {},
        "tuning": {"sensitivity": "high", "rules": [{"label": "bark", "on": 0.7}]},
    }


async def test_a_server_without_sounds_offers_no_profiles(
    hass: HomeAssistant, server: FakeServer
) -> None:
    server.info["sounds"] = None
    entry = await set_up(hass, server)
    flow = await begin(hass, entry, "url")
    schema = flow["data_schema"]
    assert schema is not None
    assert not [each for each in schema.schema.values() if isinstance(each, section)]
