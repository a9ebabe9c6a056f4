"""The few sentences that only Earshot understands: they count at its microphones alone."""

from functools import cache
import json
from pathlib import Path

from hassil.intents import Intents, SlotList, TextSlotList
from hassil.recognize import recognize
from hassil.util import remove_punctuation
from homeassistant.components.homeassistant.exposed_entities import async_should_expose
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er, intent

from .client import Intent, Transcript
from .const import ASSISTANT

_FILE = Path(__file__).with_suffix(".json")
"""The model server has the same file: what is understood here can be heard there."""


@cache
def _templates() -> tuple[str, Intents]:
    """Read the sentences and their language."""
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    return data["language"], Intents.from_dict(data)


async def async_understand(hass: HomeAssistant, said: Transcript) -> Intent | None:
    """Return what a text means by these sentences; None if it is none of them."""
    language, intents = await hass.async_add_executor_job(_templates)
    if said.language.partition("-")[0].casefold() != language:
        return None
    lists: dict[str, SlotList] = {
        "name": TextSlotList.from_tuples(
            ((name, name, {"domain": "todo"}) for name in _list_names(hass)),
            allow_template=False,
            name="name",
        )
    }
    result = recognize(said.text, intents, slot_lists=lists)
    if result is None:
        return None
    slots = {name: str(slot.value) for name, slot in result.entities.items()}
    return Intent(result.intent.name, slots)


@callback
def _list_names(hass: HomeAssistant) -> list[str]:
    """Return what the exposed to-do lists are called."""
    registry = er.async_get(hass)
    return [
        remove_punctuation(name)
        for state in hass.states.async_all("todo")
        if async_should_expose(hass, ASSISTANT, state.entity_id)
        for name in intent.async_get_entity_aliases(
            hass, registry.async_get(state.entity_id), state=state
        )
    ]
