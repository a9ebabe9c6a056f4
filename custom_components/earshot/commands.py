"""What was said to Home Assistant's own intent handling, with the scope guard before it."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hassil.recognize import RecognizeResult
from homeassistant.components import conversation
from homeassistant.components.conversation import async_get_chat_log
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import intent
from homeassistant.helpers.chat_session import async_get_chat_session

from .client import Intent, Transcript
from .guard import DELAYED, DELAYED_COMMAND, PROTECTED, protected_targets
from .model_intent import UnusableIntent, async_execute, complete

NOT_UNDERSTOOD = "not_understood"


@dataclass(frozen=True)
class CommandOutcome:
    """What became of a command. `refused` says why nothing was done, else None.

    `source` says who understood it: Home Assistant's sentences or the model that
    heard it.
    """

    intent: str | None = None
    slots: dict[str, Any] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    response: str = ""
    refused: str | None = None
    source: Literal["sentence", "model"] = "sentence"


async def async_run_command(
    hass: HomeAssistant, transcript: Transcript, device_id: str | None
) -> CommandOutcome:
    """Understand a command and, unless it touches what is protected, execute it.

    Home Assistant's own sentences come first: what they understand is meant so,
    whatever a model says. Only where they do not, the model's intent counts.
    """
    outcome = await _async_sentence(hass, transcript, device_id)
    if outcome.intent is None and transcript.intent is not None:
        return await _async_model(hass, transcript, transcript.intent, device_id)
    return outcome


async def _async_sentence(
    hass: HomeAssistant, transcript: Transcript, device_id: str | None
) -> CommandOutcome:
    """Obey a text by Home Assistant's sentences; without intent if none fits.

    Only sentences for exposed entities count, word for word: its guesses at
    unknown names are not for text that a room overheard. The device's area
    completes a command that names none.
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
    recognized: list[CommandOutcome] = []

    def refuse(result: RecognizeResult) -> bool:
        """Keep what was recognised; tell whether it must not be executed."""
        slots = {
            entity.name: entity.value
            for entity in result.entities_list
            if entity.name != "preferred_area_id"
        }
        targets = protected_targets(hass, result.intent.name, slots)
        refused = PROTECTED if targets else None
        if DELAYED_COMMAND in slots:
            # It would be obeyed later, when no guard looks at it.
            refused = DELAYED
        recognized.append(
            CommandOutcome(result.intent.name, slots, targets, refused=refused)
        )
        return refused is not None

    with (
        async_get_chat_session(hass) as session,
        async_get_chat_log(hass, session, user_input) as chat_log,
    ):
        response = await conversation.async_handle_intents(
            hass, user_input, chat_log, intent_filter=refuse
        )
    if not recognized:
        return CommandOutcome(refused=NOT_UNDERSTOOD)
    (understood,) = recognized
    if understood.refused is not None:
        return understood
    if response is None:
        return replace(understood, refused=NOT_UNDERSTOOD)
    return _done(understood, response)


async def _async_model(
    hass: HomeAssistant, transcript: Transcript, meant: Intent, device_id: str | None
) -> CommandOutcome:
    """Obey what a model understood, as far as it fits this house."""
    understood = CommandOutcome(meant.name, dict(meant.slots), source="model")
    try:
        slots = complete(hass, meant.name, meant.slots, device_id)
        understood = replace(understood, slots=slots)
        if targets := protected_targets(hass, meant.name, slots):
            return replace(understood, targets=targets, refused=PROTECTED)
        response = await async_execute(hass, meant.name, slots, transcript, device_id)
    except intent.IntentHandleError:
        code = intent.IntentResponseErrorCode.FAILED_TO_HANDLE
        return replace(understood, refused=str(code))
    except intent.IntentUnexpectedError:
        code = intent.IntentResponseErrorCode.UNKNOWN
        return replace(understood, refused=str(code))
    except UnusableIntent, intent.IntentError:
        # Neither a name of this house nor a limit: it must not become more.
        return replace(understood, refused=NOT_UNDERSTOOD)
    return _done(understood, response)


def _done(
    understood: CommandOutcome, response: intent.IntentResponse
) -> CommandOutcome:
    """Add what Home Assistant did, or why it could not."""
    failed = response.response_type is intent.IntentResponseType.ERROR
    return replace(
        understood,
        targets=_targets(response),
        response=response.speech.get("plain", {}).get("speech", ""),
        refused=str(response.error_code) if failed else None,
    )


def _targets(response: intent.IntentResponse) -> list[str]:
    """Return the entities an intent acted on or asked about."""
    entity = intent.IntentResponseTargetType.ENTITY
    targets = {
        target.id
        for target in response.success_results
        if target.type is entity and target.id
    }
    return sorted(targets | {state.entity_id for state in response.matched_states})
