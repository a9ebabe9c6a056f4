"""What scripts, automations and scripted intents refer to, as far as their text tells."""

from collections.abc import Iterator
from typing import Any

from homeassistant.components.automation import (
    DATA_COMPONENT as AUTOMATIONS,
    BaseAutomationEntity,
)
from homeassistant.components.intent_script import DOMAIN as INTENT_SCRIPT
from homeassistant.components.script import BaseScriptEntity
from homeassistant.components.script.const import DOMAIN as SCRIPT
from homeassistant.const import (
    ATTR_AREA_ID,
    ATTR_DEVICE_ID,
    ATTR_ENTITY_ID,
    ATTR_FLOOR_ID,
    ATTR_LABEL_ID,
    CONF_ACTION,
)
from homeassistant.core import HomeAssistant, State, callback, split_entity_id
from homeassistant.helpers.entity_component import EntityComponent
from homeassistant.helpers.script import Script
from homeassistant.helpers.target import (
    TargetSelection,
    async_extract_referenced_entity_ids,
)


@callback
def async_referred(hass: HomeAssistant, entity_id: str) -> set[str]:
    """Return the entities that a script or an automation refers to."""
    domain = split_entity_id(entity_id)[0]
    entity: BaseAutomationEntity | BaseScriptEntity | None = None
    if domain == AUTOMATIONS and AUTOMATIONS in hass.data:
        entity = hass.data[AUTOMATIONS].get_entity(entity_id)
    elif domain == SCRIPT and SCRIPT in hass.data:
        scripts: EntityComponent[BaseScriptEntity] = hass.data[SCRIPT]
        entity = scripts.get_entity(entity_id)
    return _referred(hass, entity, entity.raw_config) if entity else set()


@callback
def async_referred_by_intent(hass: HomeAssistant, intent_type: str) -> set[str]:
    """Return the entities that the actions of a scripted intent refer to."""
    action = hass.data.get(INTENT_SCRIPT, {}).get(intent_type, {}).get(CONF_ACTION)
    if not isinstance(action, Script):
        return set()
    return _referred(hass, action, action.sequence)


@callback
def async_triggered_by(hass: HomeAssistant, sentences: set[str]) -> list[State]:
    """Return the automations that one of these sentences starts, as it is written."""
    if AUTOMATIONS not in hass.data:
        return []
    found = (
        hass.states.get(entity.entity_id)
        for entity in hass.data[AUTOMATIONS].entities
        if not sentences.isdisjoint(_texts(entity.raw_config))
    )
    return [state for state in found if state is not None]


def _referred(
    hass: HomeAssistant,
    entity: BaseAutomationEntity | BaseScriptEntity | Script,
    config: Any,
) -> set[str]:
    """Return all that it names, also by device, area, floor and label."""
    selection = TargetSelection(
        {
            ATTR_ENTITY_ID: list(entity.referenced_entities),
            ATTR_DEVICE_ID: list(entity.referenced_devices),
            ATTR_AREA_ID: list(entity.referenced_areas),
            ATTR_FLOOR_ID: list(entity.referenced_floors),
            ATTR_LABEL_ID: list(entity.referenced_labels),
        }
    )
    selected = async_extract_referenced_entity_ids(hass, selection)
    # An action may be a script's name, which is no reference to Home Assistant.
    scripts = {text for text in _texts(config) if text.startswith(f"{SCRIPT}.")}
    return selected.referenced | selected.indirectly_referenced | scripts


def _texts(config: Any) -> Iterator[str]:
    """Yield every text in a configuration."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, dict):
        for value in config.values():
            yield from _texts(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _texts(value)
