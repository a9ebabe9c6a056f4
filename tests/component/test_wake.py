"""Microphones that obey only after a wake word or a gesture."""

from pathlib import Path
from typing import Any

from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import (
    async_mock_service,
    mock_restore_cache_with_extra_data,
)

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import LABELS, WAKE_WORDS, FakeServer
from .house import Furnish
from .test_gestures import CLAP
from .test_microphone_flow import begin, fill

WAKE = "event.kitchen_wake_word"
THRESHOLD = "number.kitchen_threshold_of_okay_nabu"
OWN = {"okay_nabu": None, "double_clap": None}


@pytest.fixture
def alert(server: FakeServer) -> FakeServer:
    """A server that hears wake words and claps."""
    server.info["wake_words"] = WAKE_WORDS
    server.info["sounds"] = server.info["sounds"] | {"labels": [*LABELS, CLAP]}
    return server


def kitchen(tone: Path, *wake: str, **changes: Any) -> Any:
    """A microphone that is woken by these."""
    return microphone({"url": str(tone)}, wake=[*wake], **changes)


async def test_a_wake_word_and_a_clap_are_asked_for_and_told(
    hass: HomeAssistant,
    alert: FakeServer,
    tone: Path,
    mqtt_entry: Any,
    witness: Witness,
) -> None:
    await set_up(hass, alert, kitchen(tone, "okay_nabu", "double_clap"))
    stream = await alert.stream()
    assert stream.start["wake"] == OWN
    assert stream.start["tasks"] == ["sounds", "commands"]
    assert stream.start["labels"] == ["smoke", "co", "bark"]
    await wait_for(lambda: hass.states.get(WAKE).state == "unknown")

    await stream.wake("okay_nabu", 2)
    await wait_for(lambda: hass.states.get(WAKE).state != "unknown")
    told = hass.states.get(WAKE).attributes
    assert told["event_types"] == ["okay_nabu", "double_clap"]
    assert (told["event_type"], told["score"]) == ("okay_nabu", 0.97)
    assert told["time"].startswith(stream.start["time"][:10])
    await wait_for(lambda: witness.on("earshot/kitchen/wake"))
    (heard,) = witness.json("earshot/kitchen/wake")
    assert (heard["word"], heard["microphone"]) == ("okay_nabu", "kitchen")

    before = hass.states.get(WAKE).state
    await stream.wake("of_a_newer_server")
    await stream.wake("double_clap")
    await wait_for(lambda: hass.states.get(WAKE).state != before)
    assert hass.states.get(WAKE).attributes["event_type"] == "double_clap"
    # A gesture has no score that could be set.
    assert hass.states.async_entity_ids("number") == [THRESHOLD]


async def test_a_clap_is_heard_where_no_sound_is_listened_for(
    hass: HomeAssistant, alert: FakeServer, tone: Path
) -> None:
    await set_up(hass, alert, kitchen(tone, "double_clap", sounds=False))
    start = (await alert.stream()).start
    assert start["tasks"] == ["sounds", "commands"]
    assert start["labels"] == []
    assert start["wake"] == {"double_clap": None}


async def test_the_threshold_is_the_words_own_until_somebody_sets_another(
    hass: HomeAssistant, alert: FakeServer, tone: Path
) -> None:
    await set_up(hass, alert, kitchen(tone, "okay_nabu", "double_clap"))
    stream = await alert.stream()
    await wait_for(lambda: hass.states.get(THRESHOLD))
    state = hass.states.get(THRESHOLD)
    assert float(state.state) == 0.85
    assert (state.attributes["min"], state.attributes["max"]) == (0.5, 0.99)
    data = {"entity_id": THRESHOLD, "value": 0.95}
    await hass.services.async_call("number", "set_value", data, blocking=True)

    await wait_for(lambda: stream.listens)
    (listen,) = stream.listens
    assert listen["wake"] == OWN | {"okay_nabu": 0.95}
    assert listen["labels"] == ["smoke", "co", "bark"]
    assert float(hass.states.get(THRESHOLD).state) == 0.95
    await stream.drop()
    assert (await alert.stream(2)).start["wake"] == OWN | {"okay_nabu": 0.95}
    # It can be set while nobody listens.
    assert hass.states.get(THRESHOLD).state != STATE_UNAVAILABLE


async def test_the_threshold_survives_a_restart(
    hass: HomeAssistant, alert: FakeServer, tone: Path
) -> None:
    stored = {
        "native_max_value": 0.99,
        "native_min_value": 0.5,
        "native_step": 0.01,
        "native_unit_of_measurement": None,
        "native_value": 0.7,
    }
    kept = [(State(THRESHOLD, "0.7"), stored)]
    mock_restore_cache_with_extra_data(hass, kept)
    await set_up(hass, alert, kitchen(tone, "okay_nabu"))
    assert (await alert.stream()).start["wake"] == {"okay_nabu": 0.7}
    assert float(hass.states.get(THRESHOLD).state) == 0.7


async def test_an_answer_needs_no_wake_word(
    hass: HomeAssistant, house: None, furnish: Furnish, alert: FakeServer, tone: Path
) -> None:
    furnish("lock.door", "Front Door", state="locked")
    unlocked = async_mock_service(hass, "lock", "unlock")
    await set_up(hass, alert, kitchen(tone, "okay_nabu"))
    stream = await alert.stream()
    await stream.transcript("unlock the front door")
    await wait_for(lambda: stream.attends)
    assert stream.attends == [pytest.approx(15, abs=0.5)]
    assert not unlocked
    await stream.transcript("yes please", seconds=0, later_s=1)
    await wait_for(lambda: unlocked)


async def test_without_a_wake_word_nothing_is_asked_for(
    hass: HomeAssistant, house: None, furnish: Furnish, alert: FakeServer, tone: Path
) -> None:
    furnish("lock.door", "Front Door", state="locked")
    await set_up(hass, alert, kitchen(tone))
    stream = await alert.stream()
    assert "wake" not in stream.start
    assert hass.states.get(WAKE) is None
    await stream.transcript("unlock the front door")
    await stream.transcript("good morning")
    await hass.async_block_till_done()
    assert stream.attends == []


async def test_a_wake_word_that_the_server_lost_leaves_nobody_to_obey(
    hass: HomeAssistant, alert: FakeServer, tone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alert.info["wake_words"] = []
    await set_up(hass, alert, kitchen(tone, "okay_nabu", "double_clap"))
    start = (await alert.stream()).start
    assert start["tasks"] == ["sounds"]
    assert "wake" not in start
    assert "Kitchen obeys nobody" in caplog.text
    assert hass.states.async_entity_ids("number") == []


async def test_wake_words_are_chosen_in_the_form_and_left_again(
    hass: HomeAssistant, alert: FakeServer, tone: Path
) -> None:
    entry = await set_up(hass, alert)
    flow = await begin(hass, entry, "url")
    (field,) = [key for key in flow["data_schema"].schema if key == "wake"]
    options = flow["data_schema"].schema[field].config["options"]
    assert [each["label"] for each in options] == ["Okay Nabu", "Alexa", "Double clap"]
    chosen = ["alexa", "double_clap"]
    await fill(hass, flow, {"name": "Kitchen", "url": str(tone), "wake": chosen})
    (subentry,) = entry.subentries.values()
    assert subentry.data["wake"] == chosen
    await alert.stream()

    flow = await entry.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    (field,) = [key for key in flow["data_schema"].schema if key == "wake"]
    assert field.description["suggested_value"] == chosen
    await fill(hass, flow, {"name": "Kitchen", "url": str(tone), "wake": []})
    (subentry,) = entry.subentries.values()
    assert "wake" not in subentry.data
    assert "wake" not in (await alert.stream(2)).start


async def test_a_server_without_speech_offers_no_choice(
    hass: HomeAssistant, alert: FakeServer
) -> None:
    alert.info["speech"] = None
    entry = await set_up(hass, alert)
    flow = await begin(hass, entry, "url")
    assert "wake" not in flow["data_schema"].schema


async def test_a_new_wake_word_is_offered_without_a_restart(
    hass: HomeAssistant, alert: FakeServer, tone: Path
) -> None:
    alert.info["wake_words"] = WAKE_WORDS[1:]
    entry = await set_up(hass, alert, kitchen(tone, "okay_nabu", "alexa"))
    assert (await alert.stream()).start["wake"] == {"alexa": None}
    alert.info["wake_words"] = WAKE_WORDS
    await entry.runtime_data.coordinator.async_refresh()
    start = (await alert.stream(2)).start
    assert start["wake"] == {"okay_nabu": None, "alexa": None}
    assert er.async_get(hass).async_get(THRESHOLD) is not None
