"""Sentences that people gave Home Assistant: obeyed, guarded, and told to the server."""

from dataclasses import replace
from datetime import timedelta
import json
from pathlib import Path
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.helpers import (
    area_registry as ar,
    entity_registry as er,
    label_registry as lr,
)
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.earshot import sentence_triggers
from custom_components.earshot.commands import async_run_command
from custom_components.earshot.confirm import Question
from custom_components.earshot.custom_sentences import (
    CustomSentences,
    async_custom_sentences,
)
from custom_components.earshot.outcome import (
    CHANGED,
    NEEDS_CONFIRMATION,
    NOT_CONFIRMED,
    CommandOutcome,
)
from custom_components.earshot.rights import ARMED, UNTRUSTED, Rights

from .conftest import Witness, microphone, set_up, wait_for
from .fake_server import FakeServer
from .house import NOON, Calls, Furnish, called, device_in, said
from .test_vocabulary import quiet, sent

LAMP = {"action": "light.turn_on", "target": {"entity_id": "light.lamp"}}
UNLOCK = {"action": "lock.unlock", "target": {"entity_id": "lock.door"}}


def automation(
    sentences: str | list[str], *actions: dict[str, Any], alias: str = "Evening"
) -> dict[str, Any]:
    """Return an automation that waits for sentences."""
    return {
        "alias": alias,
        "triggers": [{"trigger": "conversation", "command": sentences}],
        "actions": list(actions),
    }


async def automate(hass: HomeAssistant, *automations: dict[str, Any]) -> None:
    """Have automations."""
    config = {"automation": list(automations)}
    assert await async_setup_component(hass, "automation", config)
    await hass.async_block_till_done()


class Voice:
    """Speaks at one microphone."""

    def __init__(self, hass: HomeAssistant, rights: Rights | None = None) -> None:
        """Begin without a question."""
        self.hass = hass
        self.rights = rights
        self.question = Question()
        self.after = 0

    async def __call__(self, text: str, device_id: str | None = None) -> CommandOutcome:
        """Say something, a second after what was said before."""
        self.after += 1
        time = NOON + timedelta(seconds=self.after)
        heard = replace(said(text), start=time, end=time)
        return await async_run_command(
            self.hass, heard, device_id, self.rights, self.question
        )


@pytest.fixture
def voice(hass: HomeAssistant, calls: Calls, furnish: Furnish) -> Voice:
    """A microphone in a house with a lamp and a locked door."""
    furnish("light.lamp", "Lamp", "Hall")
    furnish("lock.door", "Front Door", "Hall", state="locked")
    return Voice(hass)


async def test_a_sentence_starts_its_automation_and_gets_its_answer(
    hass: HomeAssistant, voice: Voice, calls: Calls
) -> None:
    await automate(
        hass,
        automation(
            ["movie time", "time for [a] {what}"],
            LAMP,
            {"set_conversation_response": "Enjoy {{ trigger.slots.what }}"},
        ),
    )
    outcome = await voice("time for a western")
    assert outcome == CommandOutcome(
        intent="SentenceTrigger",
        slots={"what": "western"},
        targets=["automation.evening"],
        response="Enjoy western",
        source="trigger",
    )
    assert called(calls) == [("light.turn_on", "light.lamp")]


async def test_a_trigger_knows_where_it_was_said(
    hass: HomeAssistant, voice: Voice
) -> None:
    answer = {"set_conversation_response": "{{ trigger.device_id }}"}
    await automate(hass, automation("where am I", answer))
    device_id = device_in(hass, "Hall")
    assert (await voice("where am I", device_id)).response == device_id


async def test_a_trigger_comes_before_an_intent_and_after_an_answer(
    hass: HomeAssistant, voice: Voice, calls: Calls
) -> None:
    answer = {"set_conversation_response": "mine"}
    await automate(hass, automation(["turn on the lamp", "yes please"], answer))
    assert (await voice("turn on the lamp")).response == "mine"
    assert called(calls) == []
    await voice("unlock the front door")
    assert (await voice("yes please")).targets == ["lock.door"]
    assert called(calls) == [("lock.unlock", "lock.door")]


@pytest.mark.parametrize(
    "actions",
    [
        [UNLOCK],
        [{"if": "{{ true }}", "then": [LAMP, UNLOCK]}],
        [{"action": "lock.unlock", "target": {"area_id": "hall"}}],
        [{"action": "lock.unlock", "target": {"label_id": "doors"}}],
        [{"action": "script.leave"}],
        [{"action": "script.turn_on", "target": {"entity_id": "script.twice"}}],
        [{"action": "scene.turn_on", "target": {"entity_id": "scene.open"}}],
    ],
)
async def test_what_touches_a_lock_is_asked_first(
    hass: HomeAssistant,
    voice: Voice,
    calls: Calls,
    furnish: Furnish,
    actions: list[dict[str, Any]],
) -> None:
    label = lr.async_get(hass).async_create("Doors")
    er.async_get(hass).async_update_entity("lock.door", labels={label.label_id})
    assert ar.async_get(hass).async_get_area("hall") is not None
    furnish("scene.open", "Open", entity_id=["lock.door"])
    scripts = {
        "leave": {"sequence": [UNLOCK]},
        "twice": {"sequence": [{"action": "script.leave"}]},
    }
    assert await async_setup_component(hass, "script", {"script": scripts})
    await automate(hass, automation("I am leaving", *actions))
    asked = await voice("I am leaving")
    assert (asked.refused, asked.targets) == (NEEDS_CONFIRMATION, ["lock.door"])
    assert asked.response.startswith("Run Evening, including Front Door?")
    assert called(calls) == []
    assert (await voice("no thank you")).refused == NOT_CONFIRMED
    await voice("I am leaving")
    agreed = await voice("yes please")
    await hass.async_block_till_done()
    assert (agreed.refused, agreed.targets) == (None, ["automation.evening"])
    assert agreed.source == "trigger"
    assert len(calls["lock.unlock"] + calls["scene.turn_on"]) == 1


async def test_what_was_changed_since_the_question_is_not_done(
    hass: HomeAssistant, voice: Voice, calls: Calls
) -> None:
    await automate(hass, automation("I am leaving", UNLOCK))
    await voice("I am leaving")
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": "automation.evening"}, blocking=True
    )
    assert (await voice("yes please")).refused == CHANGED
    assert called(calls) == []


@pytest.mark.parametrize(
    ("rights", "state", "refused"),
    [
        (Rights(outdoor=True), "disarmed", UNTRUSTED),
        (Rights(outdoor=True), "armed_away", ARMED),
        (Rights(), "armed_away", ARMED),
        (Rights(), "armed_home", None),
    ],
)
async def test_what_an_automation_does_nobody_knows_wholly(
    hass: HomeAssistant,
    voice: Voice,
    calls: Calls,
    rights: Rights,
    state: str,
    refused: str | None,
) -> None:
    hass.states.async_set("alarm_control_panel.home", state)
    await automate(hass, automation("movie time", LAMP))
    voice.rights = rights
    outcome = await voice("movie time", device_in(hass, "Hall"))
    assert outcome.refused == refused
    assert bool(called(calls)) == (refused is None)


async def test_an_automation_that_takes_long_goes_on_and_keeps_nobody(
    hass: HomeAssistant,
    voice: Voice,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sentence_triggers, "ANSWERED_S", 0.05)
    wait = {"wait_template": "{{ is_state('light.lamp', 'on') }}"}
    await automate(hass, automation("wait for me", wait, UNLOCK | {"enabled": True}))
    voice.question = Question()
    await voice("wait for me")
    outcome = await voice("yes please")
    assert (outcome.refused, outcome.response) == (None, "")
    assert called(calls) == []
    hass.states.async_set("light.lamp", "on")
    await hass.async_block_till_done()
    assert called(calls) == [("lock.unlock", "lock.door")]


async def test_a_script_that_unlocks_is_asked_about(
    hass: HomeAssistant, voice: Voice, furnish: Furnish, calls: Calls
) -> None:
    scripts = {"leave": {"alias": "Goodbye", "sequence": [UNLOCK]}}
    assert await async_setup_component(hass, "script", {"script": scripts})
    furnish("script.leave", "Goodbye")
    asked = await voice("run goodbye")
    assert (asked.refused, asked.targets) == (NEEDS_CONFIRMATION, ["lock.door"])
    assert asked.response.startswith("Run Goodbye, including Front Door?")


async def test_a_scripted_intent_is_guarded_by_what_it_does(
    hass: HomeAssistant, voice: Voice, calls: Calls, written: Path
) -> None:
    config = {
        "conversation": {"intents": {"Leave": ["see you"], "Dim": ["cosy please"]}},
        "intent_script": {
            "Leave": {"action": [UNLOCK], "speech": {"text": "Bye"}},
            "Dim": {"action": [LAMP], "speech": {"text": "Cosy"}},
        },
    }
    assert await async_setup_component(hass, "intent_script", config)
    await configure(hass, config["conversation"])
    assert (await voice("cosy please")).response == "Cosy"
    asked = await voice("see you")
    assert (asked.refused, asked.targets) == (NEEDS_CONFIRMATION, ["lock.door"])
    assert asked.response.startswith("Change Front Door?")
    assert (await voice("yes please")).response == "Bye"
    hass.states.async_set("alarm_control_panel.home", "armed_away")
    assert (await voice("cosy please")).refused == ARMED
    done = [("light.turn_on", "light.lamp"), ("lock.unlock", "lock.door")]
    assert called(calls) == done


async def configure(hass: HomeAssistant, config: dict[str, Any]) -> None:
    """Write Home Assistant's configuration, and have its sentences read again."""
    file = Path(hass.config.path("configuration.yaml"))
    file.write_text(json.dumps({"conversation": config}))
    await hass.services.async_call("conversation", "reload", {}, blocking=True)


@pytest.fixture
def written(hass: HomeAssistant, tmp_path: Path) -> Path:
    """A folder for custom sentences."""
    hass.config.config_dir = str(tmp_path)
    folder = tmp_path / "custom_sentences" / "en"
    folder.mkdir(parents=True)
    (tmp_path / "configuration.yaml").touch()
    return folder


FILE = """
language: en
intents:
  Watch:
    data:
      - sentences:
          - <start> {movie} [in <where>]
          - skip {count} scenes
          - note {anything}
        expansion_rules:
          start: (start|play)
lists:
  movie:
    values:
      - Alien
      - in: the (blue|big) one
        out: blue
  count:
    range: {from: 1, to: 3}
  anything:
    wildcard: true
expansion_rules:
  where: "[the] {area}"
"""


async def test_files_are_told_with_their_lists_and_without_rules(
    hass: HomeAssistant, house: None, written: Path
) -> None:
    (written / "film.yaml").write_text(FILE)
    await configure(hass, {"intents": {"Cosy": ["cosy [please]"]}})
    assert await async_custom_sentences(hass, "en") == CustomSentences(
        (
            "((start|play)) {movie} [in ([the] {area})]",
            "cosy [please]",
            "note {anything}",
            "skip {count} scenes",
        ),
        {"movie": ("Alien", "the big one", "the blue one"), "count": ("1", "2", "3")},
    )


async def test_rules_that_go_round_or_grow_do_not_hang(
    hass: HomeAssistant, house: None, written: Path
) -> None:
    doubling = "\n".join(f"  r{n}: <r{n + 1}> <r{n + 1}>" for n in range(60))
    (written / "bad.yaml").write_text(
        "intents: {Bad: {data: [{sentences: [say <a>, grow <r0>, fine then]}]}}\n"
        f"expansion_rules:\n  a: very <a>\n  r60: word\n{doubling}\n"
    )
    found = await async_custom_sentences(hass, "en")
    assert "fine then" in found.sentences
    assert all(len(sentence) <= 500 for sentence in found.sentences)


async def test_a_broken_file_costs_only_itself(
    hass: HomeAssistant,
    house: None,
    written: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await automate(hass, automation("movie time", LAMP))
    (written / "bad.yaml").write_text("intents: [unclosed")
    await hass.services.async_call("conversation", "reload", {}, blocking=True)
    found = await async_custom_sentences(hass, "en")
    assert found == CustomSentences(("movie time",))
    assert "custom_sentences" in caplog.text


async def test_a_language_without_sentences_has_triggers_alone(
    hass: HomeAssistant, house: None
) -> None:
    await automate(hass, automation("movie time", LAMP))
    assert (await async_custom_sentences(hass, "tlh")).sentences == ("movie time",)


async def test_the_server_is_told_and_told_again(
    hass: HomeAssistant, house: None, server: FakeServer, written: Path
) -> None:
    await set_up(hass, server)
    assert (await sent(hass, server, 1))["sentences"] == []
    await automate(hass, automation(["movie time", "film [time]"], LAMP))
    vocabulary = await sent(hass, server, 2)
    assert vocabulary["sentences"] == ["film [time]", "movie time"]
    (written / "film.yaml").write_text(FILE)
    await hass.services.async_call("conversation", "reload", {}, blocking=True)
    vocabulary = await sent(hass, server, 3)
    assert "skip {count} scenes" in vocabulary["sentences"]
    assert vocabulary["lists"]["count"] == ["1", "2", "3"]
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": "automation.evening"}, blocking=True
    )
    assert "movie time" not in (await sent(hass, server, 4))["sentences"]
    await hass.services.async_call("homeassistant", "check_config", {}, blocking=True)
    await quiet(hass)
    assert len(server.vocabularies) == 4


async def test_it_is_published_as_what_it_is(
    hass: HomeAssistant,
    house: None,
    server: FakeServer,
    mqtt_entry: MockConfigEntry,
    witness: Witness,
    tone: Path,
) -> None:
    await automate(
        hass, automation("movie time", {"set_conversation_response": "Enjoy"})
    )
    await set_up(hass, server, microphone({"url": str(tone)}))
    stream = await server.stream()
    await stream.transcript("movie time")
    await wait_for(lambda: witness.json("earshot/intent/SentenceTrigger"))
    (payload,) = witness.json("earshot/kitchen/intent")
    assert (payload["intent"], payload["source"]) == ("SentenceTrigger", "trigger")
    assert (payload["refused"], payload["response"]) == (None, "Enjoy")
    assert witness.json("earshot/intent/SentenceTrigger") == [payload]
