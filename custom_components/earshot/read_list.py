"""What is on a to-do list, told: Home Assistant has an intent to add, none to ask."""

from typing import Final, override

from homeassistant.components.todo.const import (
    DATA_COMPONENT,
    DOMAIN as TODO_DOMAIN,
    TodoItemStatus,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import intent
import voluptuous as vol

READ_LIST: Final = "EarshotReadList"

MOST: Final = 10
"""Of more items than this, the rest is only counted."""


class ReadList(intent.IntentHandler):
    """Tells what is still to be done on one list."""

    intent_type = READ_LIST
    description = "Tells the open items of a to-do list"
    slot_schema = {vol.Required("name"): intent.non_empty_string}
    platforms = {TODO_DOMAIN}

    @override
    async def async_handle(self, intent_obj: intent.Intent) -> intent.IntentResponse:
        """Say the items of the exposed list of this name."""
        hass = intent_obj.hass
        name = self.async_validate_slots(intent_obj.slots)["name"]["value"]
        constraints = intent.MatchTargetsConstraints(
            name=name, domains=[TODO_DOMAIN], assistant=intent_obj.assistant
        )
        match = intent.async_match_targets(hass, constraints)
        if not match.is_match:
            raise intent.MatchFailedError(result=match, constraints=constraints)
        state = match.states[0]
        items = open_items(hass, state.entity_id)
        response = intent_obj.create_response()
        response.response_type = intent.IntentResponseType.QUERY_ANSWER
        response.async_set_states(matched_states=[state])
        response.async_set_speech(_told(state.name, items))
        return response


@callback
def open_items(hass: HomeAssistant, entity_id: str) -> list[str]:
    """Return what is still to be done on a list."""
    entity = hass.data[DATA_COMPONENT].get_entity(entity_id)
    return [
        item.summary
        for item in (entity.todo_items or () if entity else ())
        if item.summary and item.status is not TodoItemStatus.COMPLETED
    ]


def _told(name: str, items: list[str]) -> str:
    """Return the items as a sentence."""
    if not items:
        return f"Nothing is on {name}."
    said = items[:MOST]
    if len(items) > MOST:
        said.append(f"{len(items) - MOST} more")
    listed = " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))
    return f"On {name}: {listed}."
