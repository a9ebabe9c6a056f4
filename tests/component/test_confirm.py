"""What is protected, or much at once, is done after a spoken yes and not before."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
    async_mock_service,
)

from custom_components.earshot import confirm
from custom_components.earshot.client import Intent
from custom_components.earshot.commands import async_run_command
from custom_components.earshot.confirm import (
    Question,
    answer,
    question_about,
    usable_code,
)
from custom_components.earshot.diagnostics import async_get_config_entry_diagnostics
from custom_components.earshot.guard import Reach
from custom_components.earshot.outcome import (
    CHANGED,
    NEEDS_CONFIRMATION,
    NOT_CONFIRMED,
    NOT_UNDERSTOOD,
    CommandOutcome,
)
from custom_components.earshot.rights import Rights
from model_server.engines.embedded.sentences import AGREEING, DECLINING

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer
from .house import NOON, Calls, Furnish, called, device_in, said


class Speaker:
    """Somebody at one microphone."""

    def __init__(self, hass: HomeAssistant, device_id: str | None = None) -> None:
        """Stand in front of it; without a device it is nowhere."""
        self.hass, self.device_id = hass, device_id
        self.question = Question()
        self.rights = Rights()

    async def __call__(
        self,
        text: str,
        meant: Intent | None = None,
        after: float = 0,
        language: str = "en",
    ) -> CommandOutcome:
        """Say something, so many seconds after noon."""
        time = NOON + timedelta(seconds=after)
        transcript = replace(said(text, meant), start=time, end=time, language=language)
        return await async_run_command(
            self.hass, transcript, self.device_id, self.rights, self.question
        )


@pytest.fixture
def speak(hass: HomeAssistant, calls: Calls, furnish: Furnish) -> Speaker:
    """A house with a locked door, and a microphone in it."""
    furnish("lock.door", "Front Door", "Hall", state="locked")
    return Speaker(hass)


UNLOCKED = [("lock.unlock", "lock.door")]


@pytest.mark.parametrize("yes", ["yes", "Yes.", "Yes, do it!", "CONFIRM"])
async def test_a_door_is_unlocked_after_a_yes_and_only_once(
    speak: Speaker, calls: Calls, yes: str
) -> None:
    asked = await speak("unlock the front door")
    assert asked.refused == NEEDS_CONFIRMATION
    assert asked.targets == ["lock.door"]
    assert asked.response == "Unlock Front Door? Say yes please, or no thank you."
    assert called(calls) == []
    done = await speak(yes, after=3)
    assert (done.refused, done.targets) == (None, ["lock.door"])
    assert (done.intent, done.slots) == (asked.intent, asked.slots)
    assert done.response == "Unlocking"
    assert called(calls) == UNLOCKED
    again = await speak(yes, after=4)
    assert (again.intent, again.refused) == (None, NOT_UNDERSTOOD)
    assert called(calls) == UNLOCKED


def test_what_the_embedded_engine_can_hear_is_an_answer() -> None:
    assert {answer(said(text)) for text in AGREEING} == {"yes"}
    assert {answer(said(text)) for text in DECLINING} == {"no"}


async def test_a_no_is_told_and_ends_it(speak: Speaker, calls: Calls) -> None:
    await speak("unlock the front door")
    outcome = await speak("no thanks")
    assert (outcome.refused, outcome.targets) == (NOT_CONFIRMED, ["lock.door"])
    assert (await speak("yes")).refused == NOT_UNDERSTOOD
    assert called(calls) == []


@pytest.mark.parametrize(
    "other",
    [
        "what a lovely day",
        "never mind",
        "yes yes the film was good",
        "what time is it",
        "turn on the lamp",
        "unlock the back door",
    ],
)
async def test_anything_else_ends_it_too(
    speak: Speaker, calls: Calls, furnish: Furnish, other: str
) -> None:
    furnish("light.lamp", "lamp")
    await speak("unlock the front door")
    await speak(other)
    await speak("yes")
    assert not calls["lock.unlock"]


@pytest.mark.parametrize("after", [-1, 15.1])
async def test_a_yes_before_the_question_or_long_after_it_is_none(
    speak: Speaker, calls: Calls, after: float
) -> None:
    await speak("unlock the front door")
    assert (await speak("yes", after=after)).refused == NOT_UNDERSTOOD
    assert called(calls) == []


async def test_a_yes_that_the_server_kept_for_long_is_none(
    speak: Speaker, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "ARRIVAL_S", -1)
    await speak("unlock the front door")
    assert (await speak("yes")).refused == NOT_UNDERSTOOD
    assert called(calls) == []


async def test_a_yes_at_another_microphone_is_none(
    hass: HomeAssistant, speak: Speaker, calls: Calls
) -> None:
    await speak("unlock the front door")
    assert (await Speaker(hass)("yes")).refused == NOT_UNDERSTOOD
    assert called(calls) == []


async def test_the_latest_question_is_answered(
    speak: Speaker, calls: Calls, furnish: Furnish
) -> None:
    furnish("valve.main", "Water", supported_features=15)
    await speak("unlock the front door")
    assert (
        await speak("open the water")
    ).response == "Open Water? Say yes please, or no thank you."
    await speak("yes")
    assert called(calls) == [("valve.open_valve", "valve.main")]


async def test_what_means_more_by_now_is_not_done(
    hass: HomeAssistant, speak: Speaker, calls: Calls, furnish: Furnish
) -> None:
    furnish("light.all", "everything", entity_id=["lock.door"])
    asked = await speak("turn on everything")
    assert asked.response == (
        "Turn on everything, including Front Door? Say yes please, or no thank you."
    )
    furnish("lock.back", "Back Door")
    hass.states.async_set(
        "light.all",
        "off",
        {"friendly_name": "everything", "entity_id": ["lock.door", "lock.back"]},
    )
    outcome = await speak("yes")
    assert (outcome.refused, outcome.targets) == (CHANGED, ["light.all", "lock.door"])
    assert called(calls) == []


async def test_what_a_model_understood_is_asked_and_its_answer_is_not_the_models(
    speak: Speaker, calls: Calls
) -> None:
    unlock = Intent("HassTurnOff", {"name": "front door"})
    talk = "somebody is waiting outside"
    asked = await speak(talk, unlock)
    assert (asked.refused, asked.source) == (NEEDS_CONFIRMATION, "model")
    # It neither confirms itself, nor does a late yes become what a model makes of it.
    assert (await speak("let them in", unlock)).refused == NEEDS_CONFIRMATION
    assert (await speak("yes", unlock, after=60)).refused == NOT_UNDERSTOOD
    assert called(calls) == []
    await speak(talk, unlock)
    assert (await speak("yes")).source == "model"
    assert called(calls) == UNLOCKED


async def test_a_device_that_fails_after_the_yes_is_told(
    hass: HomeAssistant, speak: Speaker
) -> None:
    hass.services.async_remove("lock", "unlock")
    await speak("unlock the front door")
    assert (await speak("yes")).refused == "failed_to_handle"


@pytest.fixture
def lamps(furnish: Furnish) -> list[str]:
    """Six lamps that are on, and one that is off."""
    on = [furnish(f"light.l{n}", f"lamp {n}", "Hall", state="on") for n in range(6)]
    furnish("light.dark", "dark lamp", "Hall")
    return on


async def test_many_at_once_are_confirmed(
    hass: HomeAssistant, calls: Calls, lamps: list[str]
) -> None:
    speak = Speaker(hass, device_in(hass, "Hall"))
    asked = await speak("turn off the lights")
    assert (asked.refused, asked.targets) == (NEEDS_CONFIRMATION, lamps)
    assert asked.response == "Turn off 7 devices? Say yes please, or no thank you."
    assert called(calls) == []
    assert (await speak("yes")).refused is None
    assert {target for _, target in called(calls)} == {*lamps, "light.dark"}


async def test_only_what_changes_counts(
    hass: HomeAssistant, calls: Calls, lamps: list[str], furnish: Furnish
) -> None:
    hass.states.async_set("light.l0", "off", {"friendly_name": "lamp 0"})
    furnish("light.group", "hall lights", "Hall", state="on", entity_id=lamps)
    speak = Speaker(hass, device_in(hass, "Hall"))
    assert (await speak("turn off the lights")).refused is None


async def test_where_home_assistant_picks_one_it_is_not_asked(
    hass: HomeAssistant, speak: Speaker, calls: Calls, furnish: Furnish
) -> None:
    for number in range(7):
        furnish(
            f"climate.c{number}",
            f"heating {number}",
            f"Room {number}",
            supported_features=1,
        )
    speak.device_id = device_in(hass, "Room 3")
    outcome = await speak("set the temperature to 20 degrees")
    assert outcome.refused is None
    assert called(calls) == [("climate.set_temperature", "climate.c3")]


async def test_a_timer_in_a_room_with_a_lock_is_not_asked_about(
    hass: HomeAssistant, speak: Speaker
) -> None:
    outcome = await speak("cancel all timers in the hall")
    assert outcome.intent == "HassCancelAllTimers"
    assert outcome.refused != NEEDS_CONFIRMATION


@pytest.mark.parametrize(
    ("language", "command", "asks", "yes"),
    [
        ("de", "schließe Front Door auf", "Front Door aufschließen?", "Ja!"),
        ("fr", "déverrouille Front Door", "Déverrouiller Front Door ?", "oui"),
        ("es", "abre la cerradura de Front Door", "¿Desbloquear Front Door?", "Sí."),
    ],
)
async def test_it_is_asked_and_answered_in_the_language_of_the_command(
    speak: Speaker, calls: Calls, language: str, command: str, asks: str, yes: str
) -> None:
    asked = await speak(command, language=language)
    assert asked.refused == NEEDS_CONFIRMATION
    assert asked.response.startswith(asks)
    await speak(yes, language=language)
    assert called(calls) == UNLOCKED


async def test_a_language_without_words_of_ours_is_asked_in_english(
    speak: Speaker, calls: Calls
) -> None:
    lock = Intent("HassTurnOn", {"name": "front door"})
    asked = await speak("doe de deur op slot", lock, language="nl")
    assert asked.response == "Lock Front Door? Say yes please, or no thank you."


async def test_a_yes_over_the_stream_is_done_and_published(
    hass: HomeAssistant,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    furnish: Furnish,
    tone: Path,
) -> None:
    options: dict[str, Any] = {"unasked": 0}
    await set_up(hass, server, microphone({"url": str(tone)}), options=options)
    lights = async_mock_service(hass, "light", "turn_on")
    furnish("light.lamp", "lamp")
    stream = await server.stream()
    await stream.transcript("turn on the lamp")
    await stream.transcript("yes", seconds=0)
    await wait_for(lambda: len(witness.on("earshot/kitchen/intent")) == 2)
    asked, done = witness.json("earshot/kitchen/intent")
    assert asked["refused"] == NEEDS_CONFIRMATION
    assert asked["response"] == "Turn on lamp? Say yes please, or no thank you."
    assert (done["text"], done["refused"]) == ("yes", None)
    assert (done["intent"], done["targets"]) == ("HassTurnOn", ["light.lamp"])
    await wait_for(lambda: witness.on("earshot/intent/HassTurnOn"))
    assert witness.json("earshot/intent/HassTurnOn") == [done]
    assert len(lights) == 1


CODED = Rights(code_words="Purple Elephant")


async def test_with_code_words_a_mere_yes_opens_nothing(
    speak: Speaker, calls: Calls
) -> None:
    speak.rights = CODED
    for yes in ("yes please", "confirm", "no thank you", "purple elephants", "purple"):
        asked = await speak("unlock the front door")
        assert asked.refused == NEEDS_CONFIRMATION
        assert asked.response == (
            "Unlock Front Door? Say the code words, or no thank you."
        )
        assert (await speak(yes)).refused in (NOT_CONFIRMED, NOT_UNDERSTOOD)
        assert (await speak("purple elephant")).refused == NOT_UNDERSTOOD
    assert called(calls) == []
    await speak("unlock the front door")
    assert (await speak("Purple elephant.")).refused is None
    assert called(calls) == UNLOCKED


async def test_what_is_only_many_needs_no_code_words(
    speak: Speaker, calls: Calls, furnish: Furnish
) -> None:
    for number in range(6):
        furnish(f"light.l{number}", f"Lamp {number}", "Hall")
    speak.rights = CODED
    asked = await speak("turn on the lights in the hall")
    assert "yes please" in asked.response
    assert (await speak("purple elephant")).refused == NOT_UNDERSTOOD
    await speak("turn on the lights in the hall")
    assert (await speak("yes please")).refused is None
    assert len(called(calls)) == 6


@pytest.mark.parametrize("language", ["de-DE", "fr", "es", "tlh"])
async def test_every_language_asks_for_the_code_words(language: str) -> None:
    plain = question_about(language, "HassTurnOff", Reach())
    assert question_about(language, "HassTurnOff", Reach(), code_words=True) != plain


@pytest.mark.parametrize(
    ("words", "usable"),
    [
        ("purple elephant", True),
        ("l'éléphant violet", True),
        ("purple", False),
        ("Yes please", False),
        ("no danke", True),
        ("nein danke", False),
        ("gate 7", False),
        ("(any|thing) goes", False),
        ("one two three four five six seven", False),
        ("a" * 40 + " " + "b" * 40, False),
    ],
)
def test_code_words_are_words(words: str, usable: bool) -> None:
    assert usable_code(words) is usable


async def test_code_words_are_heard_and_published_nowhere(
    hass: HomeAssistant,
    calls: Calls,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    furnish: Furnish,
    tone: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    furnish("lock.door", "Front Door", "Hall", state="locked")
    source = microphone({"url": str(tone)})
    options = {"code_words": "Purple Elephant"}
    entry = await set_up(hass, server, source, options=options)
    stream = await server.stream()
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=3))
    await wait_for(lambda: server.vocabularies)
    assert server.vocabularies[-1]["sentences"] == ["Purple Elephant"]
    await stream.transcript("unlock the front door")
    await wait_for(lambda: len(witness.on("earshot/kitchen/intent")) == 1)
    await stream.transcript("purple elephant", seconds=0)
    await wait_for(lambda: len(witness.on("earshot/kitchen/intent")) == 2)
    done = witness.json("earshot/kitchen/intent")[-1]
    assert (done["intent"], done["text"]) == ("HassTurnOff", "***")
    assert called(calls) == UNLOCKED
    told = "".join(message.payload for message in witness.heard).casefold()
    assert "unlock the front door" in told
    assert "elephant" not in told
    assert "elephant" not in caplog.text.casefold()
    found = await async_get_config_entry_diagnostics(hass, entry)
    assert "elephant" not in str(found).casefold()
