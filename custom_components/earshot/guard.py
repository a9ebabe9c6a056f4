"""The scope guard: what a command would act on, and what of that is protected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeassistant.const import ATTR_DEVICE_CLASS, ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er, intent

from .allowed import ALLOWED
from .const import ASSISTANT
from .performed import async_referred, async_referred_by_intent
from .read_list import READ_LIST

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
        READ_LIST,
    }
)
"""Intents that change nothing."""

DELAYED_COMMAND = "conversation_command"
"""The slot of a timer that holds a sentence to be obeyed when it ends."""

DELAYED = "delayed_command"

_ON: Mapping[str, frozenset[str]] = {
    intent.INTENT_TURN_ON: frozenset({"on", "open", "locked"}),
    intent.INTENT_TURN_OFF: frozenset({"off", "closed", "unlocked"}),
}
"""The states that an intent leaves as they are."""


@dataclass(frozen=True)
class Reach:
    """What an intent would act on, at most.

    `named` is what it means itself; `entities` those and, of groups and scenes, what
    they stand for, and what scripts and automations refer to. `protected` and
    `changing` are ids of some of them. What only stands for others changes nothing
    itself, and how much a script changes was the choice of whoever wrote it.
    """

    named: tuple[State, ...] = ()
    entities: tuple[State, ...] = ()
    protected: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()

    @property
    def ids(self) -> frozenset[str]:
        """Return the ids of all."""
        return frozenset(state.entity_id for state in self.entities)


def reach(hass: HomeAssistant, intent_type: str, slots: Mapping[str, Any]) -> Reach:
    """Return what an intent would act on; nothing if it changes nothing."""
    performed = async_referred_by_intent(hass, intent_type)
    return reach_of(
        hass,
        _named(hass, intent_type, slots),
        [state for state in map(hass.states.get, sorted(performed)) if state],
        still=_ON.get(intent_type, frozenset()),
    )


def reach_of(
    hass: HomeAssistant,
    named: Sequence[State],
    performed: Sequence[State] = (),
    still: frozenset[str] = frozenset(),
) -> Reach:
    """Return what is acted on with these; nothing changes what is in a state of `still`.

    `performed` is what is referred to beside them.
    """
    entities = _members(hass, (*named, *performed), performing=True)
    return Reach(
        tuple(named),
        tuple(entities),
        tuple(sorted(one.entity_id for one in entities if _protected(hass, one))),
        tuple(
            sorted(
                one.entity_id
                for one in _members(hass, named)
                if one.state not in still and ATTR_ENTITY_ID not in one.attributes
            )
        ),
    )


def _named(
    hass: HomeAssistant, intent_type: str, slots: Mapping[str, Any]
) -> list[State]:
    """Return what an intent means, every namesake included."""
    allowed = ALLOWED.get(intent_type)
    if intent_type in READING_INTENTS or (allowed is not None and not allowed.domains):
        # Neither a question nor a timer acts on the entities of the place it names.
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
    return intent.async_match_targets(hass, constraints).states


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


def _members(
    hass: HomeAssistant, states: Iterable[State], performing: bool = False
) -> list[State]:
    """Return states and, of groups and scenes, what they stand for.

    `performing` adds what scripts and automations among them refer to.
    """
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
        if performing:
            referred = async_referred(hass, state.entity_id)
            ahead.extend(filter(None, map(hass.states.get, referred)))
    return list(found.values())


def _protected(hass: HomeAssistant, state: State) -> bool:
    """Tell whether an entity is protected."""
    if state.domain in PROTECTED_DOMAINS:
        return True
    if state.domain != "cover":
        return False
    classes = {state.attributes.get(ATTR_DEVICE_CLASS)}
    if (entry := er.async_get(hass).async_get(state.entity_id)) is not None:
        classes |= {entry.device_class, entry.original_device_class}
    return not classes.isdisjoint(PROTECTED_COVERS)
