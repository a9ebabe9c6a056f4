"""What was said to Home Assistant's own intent handling, with the scope guard before it."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hassil.recognize import RecognizeResult
from homeassistant.components import conversation
from homeassistant.components.conversation import async_get_chat_log
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import intent
from homeassistant.helpers.chat_session import async_get_chat_session

from .allowed import ALLOWED, ALONE
from .client import Intent, Transcript
from .confirm import Answer, Pending, Question, answer, question_about, silence_of
from .guard import DELAYED, DELAYED_COMMAND, READING_INTENTS, Reach, reach
from .model_intent import Slots, UnusableIntent, async_execute, complete
from .own_sentences import async_understand
from .rights import Rights
from .route import async_all_routes

NOT_UNDERSTOOD = "not_understood"
NEEDS_CONFIRMATION = "needs_confirmation"
NOT_CONFIRMED = "not_confirmed"
CHANGED = "targets_changed"
NO_ANSWER = "no_answer"
"""An MQTT device was told, and did not report that it obeyed."""


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


@dataclass(frozen=True)
class _Turn:
    """What was said, where, by what right, and what it may answer or ask."""

    hass: HomeAssistant
    transcript: Transcript
    device_id: str | None
    rights: Rights
    question: Question

    def refusal(self, name: str, scope: Reach) -> str | None:
        """Return why this must not be done from here."""
        return self.rights.refusal(self.hass, name, scope, self.device_id)


async def async_run_command(
    hass: HomeAssistant,
    transcript: Transcript,
    device_id: str | None,
    rights: Rights | None = None,
    question: Question | None = None,
) -> CommandOutcome:
    """Understand a command and execute it, as far as the microphone has the right.

    Home Assistant's own sentences come first: what they understand is meant so,
    whatever a model says. Only where they do not, the model's intent counts. What
    needs a confirmation is asked through `question`, and done when the next that is
    said there is a yes; without one it is refused.
    """
    turn = _Turn(
        hass, transcript, device_id, rights or Rights(), question or Question()
    )
    return await _async_answer_of_devices(turn, await _async_run(turn))


async def _async_run(turn: _Turn) -> CommandOutcome:
    hass, transcript = turn.hass, turn.transcript
    pending = turn.question.take(hass, transcript)
    said = answer(transcript)
    if pending is not None and said is not None:
        return await _async_answered(turn, pending, said)
    outcome = await _async_sentence(turn)
    if outcome.intent is None:
        if (meant := await async_understand(hass, transcript)) is not None:
            return await _async_model(turn, meant, "sentence")
    # A yes that comes too late is not for a model to make something of.
    if outcome.intent is None and transcript.intent is not None and said is None:
        return await _async_model(turn, transcript.intent)
    return outcome


async def _async_answer_of_devices(
    turn: _Turn, outcome: CommandOutcome
) -> CommandOutcome:
    """Wait for the MQTT devices that were told something to report it."""
    told = [
        route
        for route in async_all_routes(turn.hass)
        if route.entity_id in outcome.targets
        and outcome.refused is None
        and outcome.intent not in READING_INTENTS
    ]
    answers = await asyncio.gather(*(route.async_answered() for route in told))
    silent = [route for route, came in zip(told, answers, strict=True) if not came]
    if not silent:
        return outcome
    return replace(
        outcome,
        targets=sorted(route.entity_id or "" for route in silent),
        response=silence_of(turn.transcript.language, [route.name for route in silent]),
        refused=NO_ANSWER,
    )


async def _async_sentence(turn: _Turn) -> CommandOutcome:
    """Obey a text by Home Assistant's sentences; without intent if none fits.

    Only sentences for exposed entities count, word for word: its guesses at
    unknown names are not for text that a room overheard. The device's area
    completes a command that names none.
    """
    hass = turn.hass
    user_input = conversation.ConversationInput(
        text=turn.transcript.text,
        context=Context(),
        conversation_id=None,
        device_id=turn.device_id,
        satellite_id=None,
        language=turn.transcript.language,
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
        understood = _judge(turn, CommandOutcome(result.intent.name, slots))
        recognized.append(understood)
        return understood.refused is not None

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
    turn: _Turn, meant: Intent, source: Literal["sentence", "model"] = "model"
) -> CommandOutcome:
    """Obey what a model or a sentence of our own meant, as far as it fits this house."""
    understood = CommandOutcome(meant.name, dict(meant.slots), source=source)
    try:
        slots: Slots = {**meant.slots}
        if source == "model" or meant.name in ALLOWED:
            slots = complete(turn.hass, meant.name, meant.slots, turn.device_id)
    except UnusableIntent:
        return replace(understood, refused=NOT_UNDERSTOOD)
    understood = _judge(turn, replace(understood, slots=dict(slots)))
    if understood.refused is not None:
        return understood
    return await _async_execute(turn, understood, turn.transcript)


async def _async_answered(
    turn: _Turn, pending: Pending, said: Answer
) -> CommandOutcome:
    """Do what was confirmed, if it still means the same and may still be done."""
    understood = CommandOutcome(pending.intent, pending.slots, source=pending.source)
    scope = reach(turn.hass, pending.intent, pending.slots)
    refused = None if said == "yes" else NOT_CONFIRMED
    if refused is None and scope.ids != pending.targets:
        refused = CHANGED
    refused = refused or turn.refusal(pending.intent, scope)
    if refused is not None:
        return replace(understood, targets=sorted(pending.targets), refused=refused)
    return await _async_execute(turn, understood, pending.asked)


def _judge(turn: _Turn, understood: CommandOutcome) -> CommandOutcome:
    """Add why something must not be done, or not before it is confirmed."""
    name = understood.intent or ""
    if DELAYED_COMMAND in understood.slots:
        # It would be obeyed later, when no guard looks at it.
        return replace(understood, refused=DELAYED)
    scope = reach(turn.hass, name, understood.slots)
    if (refused := turn.refusal(name, scope)) is not None:
        targets = list(scope.protected) or sorted(scope.ids)
        return replace(understood, targets=targets, refused=refused)
    many = name not in ALONE and len(scope.changing) > turn.rights.unasked
    if not scope.protected and not many:
        return understood
    turn.question.ask(
        turn.hass,
        Pending(name, understood.slots, scope.ids, understood.source, turn.transcript),
    )
    return replace(
        understood,
        targets=list(scope.protected or scope.changing),
        response=question_about(turn.transcript.language, name, scope),
        refused=NEEDS_CONFIRMATION,
    )


async def _async_execute(
    turn: _Turn, understood: CommandOutcome, transcript: Transcript
) -> CommandOutcome:
    """Let Home Assistant do it, in the words of `transcript`."""
    try:
        response = await async_execute(
            turn.hass,
            understood.intent or "",
            understood.slots,
            transcript,
            turn.device_id,
        )
    except intent.IntentHandleError:
        code = intent.IntentResponseErrorCode.FAILED_TO_HANDLE
        return replace(understood, refused=str(code))
    except intent.IntentUnexpectedError:
        code = intent.IntentResponseErrorCode.UNKNOWN
        return replace(understood, refused=str(code))
    except intent.IntentError:
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
