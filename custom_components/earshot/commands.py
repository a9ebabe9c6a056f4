"""What was said to Home Assistant's own intent handling, with the scope guard before it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hassil.recognize import RecognizeResult
from homeassistant.components import conversation
from homeassistant.components.conversation import async_get_chat_log
from homeassistant.const import ATTR_DEVICE_CLASS, ATTR_ENTITY_ID
from homeassistant.core import Context, HomeAssistant, State
from homeassistant.helpers import entity_registry as er, intent
from homeassistant.helpers.chat_session import async_get_chat_session

from .client import Transcript
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

NOT_UNDERSTOOD = "not_understood"
PROTECTED = "protected_target"


@dataclass(frozen=True)
class CommandOutcome:
    """What became of a command. `refused` says why nothing was done, else None."""

    intent: str | None = None
    slots: dict[str, Any] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    response: str = ""
    refused: str | None = None


async def async_run_command(
    hass: HomeAssistant, transcript: Transcript, device_id: str | None
) -> CommandOutcome:
    """Recognise a command and, unless it touches what is protected, execute it.

    Only Home Assistant's sentences for exposed entities count, word for word:
    its guesses at unknown names are not for text that a room overheard. The
    device's area completes a command that names none.
    """
    user_input = conversation.ConversationInput(
        text=transcript.text,
        context=Context(),
        conversation_id=None,
        device_id=device_id,
        satellite_id=None,
        language=transcript.language,
        agent_id=conversation.HOME_ASSISTANT_AGENT,
    )
    recognized: list[RecognizeResult] = []
    protected: list[str] = []

    def refuse(result: RecognizeResult) -> bool:
        """Keep what was recognised; tell whether it must not be executed."""
        recognized.append(result)
        protected.extend(protected_targets(hass, result))
        return bool(protected)

    with (
        async_get_chat_session(hass) as session,
        async_get_chat_log(hass, session, user_input) as chat_log,
    ):
        response = await conversation.async_handle_intents(
            hass, user_input, chat_log, intent_filter=refuse
        )
    if not recognized:
        return CommandOutcome(refused=NOT_UNDERSTOOD)
    result = recognized[0]
    slots = {
        entity.name: entity.value
        for entity in result.entities_list
        if entity.name != "preferred_area_id"
    }
    if protected:
        return CommandOutcome(result.intent.name, slots, protected, refused=PROTECTED)
    if response is None:
        return CommandOutcome(result.intent.name, slots, refused=NOT_UNDERSTOOD)
    failed = response.response_type is intent.IntentResponseType.ERROR
    return CommandOutcome(
        intent=result.intent.name,
        slots=slots,
        targets=_targets(response),
        response=response.speech.get("plain", {}).get("speech", ""),
        refused=str(response.error_code) if failed else None,
    )


def protected_targets(hass: HomeAssistant, result: RecognizeResult) -> list[str]:
    """Return which protected entities an intent would act on, itself or by a group."""
    if result.intent.name in READING_INTENTS:
        return []
    slots = {name: entity.value for name, entity in result.entities.items()}
    domains = _values(slots.get("domain")) or _handled_domains(hass, result.intent.name)
    name = slots.get("name")
    constraints = intent.MatchTargetsConstraints(
        name=None if name == "all" else name,
        area_name=slots.get("area"),
        floor_name=slots.get("floor"),
        domains=domains or None,
        device_classes=_values(slots.get("device_class")) or None,
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


def _handled_domains(hass: HomeAssistant, intent_type: str) -> set[str]:
    """Return the domains to which an intent limits itself; empty for any."""
    for handler in intent.async_get(hass):
        if handler.intent_type == intent_type:
            return set(getattr(handler, "required_domains", None) or ())
    return set()


def _values(value: Any) -> set[str]:
    """Return a slot's one or many values."""
    if value is None:
        return set()
    return set(value) if isinstance(value, list) else {str(value)}


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


def _targets(response: intent.IntentResponse) -> list[str]:
    """Return the entities an intent acted on or asked about."""
    entity = intent.IntentResponseTargetType.ENTITY
    targets = {
        target.id
        for target in response.success_results
        if target.type is entity and target.id
    }
    return sorted(targets | {state.entity_id for state in response.matched_states})
