"""The scope guard: what a microphone must never act on, however it was asked."""

from collections.abc import Iterable, Mapping
from typing import Any

from homeassistant.const import ATTR_DEVICE_CLASS, ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er, intent

from .allowed import ALLOWED
from .const import ASSISTANT

PROTECTED_DOMAINS = frozenset({"alarm_control_panel", "lock", "valve"})
PROTECTED_COVERS = frozenset({"door", "garage", "gate"})

READING_INTENTS = frozenset(
    {
        intent.INTENT_GET_CURRENT_DATE,
        intent.INTENT_GET_CURRENT_TIME,
        intent.INTENT_GET_STATE,
        intent.INTENT_GET_TEMPERATURE,
        intent.INTENT_NEVERMIND,
        intent.INTENT_RESPOND,
        intent.INTENT_TIMER_STATUS,
        "HassGetWeather",
    }
)
"""Intents that change nothing."""

DELAYED_COMMAND = "conversation_command"
"""The slot of a timer that holds a sentence to be obeyed when it ends."""

PROTECTED = "protected_target"
DELAYED = "delayed_command"


def protected_targets(
    hass: HomeAssistant, intent_type: str, slots: Mapping[str, Any]
) -> list[str]:
    """Return which protected entities an intent would act on, itself or by a group."""
    if intent_type in READING_INTENTS:
        return []
    domains = values(slots.get("domain")) or _handled_domains(hass, intent_type)
    name = slots.get("name")
    constraints = intent.MatchTargetsConstraints(
        name=None if name == "all" else name,
        area_name=slots.get("area"),
        floor_name=slots.get("floor"),
        domains=domains or None,
        device_classes=values(slots.get("device_class")) or None,
        assistant=ASSISTANT,
        # The intent may choose among namesakes; here each of them counts.
        allow_duplicate_names=True,
    )
    if not constraints.has_constraints:
        return []
    states = intent.async_match_targets(hass, constraints).states
    return sorted(
        {state.entity_id for state in _members(hass, states) if _protected(hass, state)}
    )


def values(value: Any) -> set[str]:
    """Return a slot's one or many values."""
    if value is None:
        return set()
    return set(value) if isinstance(value, list) else {str(value)}


def _handled_domains(hass: HomeAssistant, intent_type: str) -> set[str]:
    """Return the domains to which an intent limits itself; empty for any."""
    allowed = ALLOWED.get(intent_type)
    if allowed is not None and len(allowed.wholes) == 1 == len(allowed.domains):
        # Home Assistant's own, which say nowhere what they look for.
        return set(allowed.wholes)
    for handler in intent.async_get(hass):
        if handler.intent_type == intent_type:
            return set(getattr(handler, "required_domains", None) or ())
    return set()


def _members(hass: HomeAssistant, states: Iterable[State]) -> list[State]:
    """Return states and, of groups and scenes, what they stand for."""
    found: dict[str, State] = {}
    ahead = list(states)
    while ahead:
        state = ahead.pop()
        if state.entity_id in found:
            continue
        found[state.entity_id] = state
        members = state.attributes.get(ATTR_ENTITY_ID)
        if isinstance(members, list | tuple):
            ahead.extend(filter(None, map(hass.states.get, members)))
    return list(found.values())


def _protected(hass: HomeAssistant, state: State) -> bool:
    """Tell whether a microphone must never act on an entity."""
    if state.domain in PROTECTED_DOMAINS:
        return True
    if state.domain != "cover":
        return False
    classes = {state.attributes.get(ATTR_DEVICE_CLASS)}
    if (entry := er.async_get(hass).async_get(state.entity_id)) is not None:
        classes |= {entry.device_class, entry.original_device_class}
    return not classes.isdisjoint(PROTECTED_COVERS)
