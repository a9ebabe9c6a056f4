"""What was said to Home Assistant's own intent handling, with the scope guard before it."""

import asyncio
from dataclasses import dataclass, replace
from typing import Literal

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
from .outcome import (
    CHANGED,
    NEEDS_CONFIRMATION,
    NO_ANSWER,
    NOT_CONFIRMED,
    NOT_UNDERSTOOD,
    CommandOutcome,
    done,
)
from .own_sentences import async_understand
from .rights import Rights
from .route import async_all_routes
from .sentence_triggers import SENTENCE_TRIGGER, async_matched, async_start


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

    Sentence triggers and Home Assistant's own sentences come first: what they
    understand is meant so, whatever a model says. Only where they do not, the model's
    intent counts. What
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
    protected = pending is not None and pending.protected
    said = answer(transcript, turn.rights.code_words if protected else None)
    if pending is not None and said is not None:
        return await _async_answered(turn, pending, said)
    outcome = await _async_trigger(turn)
    if outcome.intent is None:
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


async def _async_trigger(turn: _Turn) -> CommandOutcome:
    """Start the automations that wait for a sentence; without intent if none does."""
    matched = await async_matched(turn.hass, _input(turn, turn.transcript))
    if matched is None:
        return CommandOutcome(refused=NOT_UNDERSTOOD)
    understood = CommandOutcome(SENTENCE_TRIGGER, matched.slots, source="trigger")
    understood = _judge(turn, understood, matched.scope)
    if understood.refused is not None:
        return understood
    return await _async_start(turn, understood, turn.transcript, matched.scope)


async def _async_start(
    turn: _Turn, understood: CommandOutcome, said: Transcript, scope: Reach
) -> CommandOutcome:
    """Start what this text triggers."""
    response = await async_start(turn.hass, _input(turn, said))
    if response is None:
        return replace(understood, refused=NOT_UNDERSTOOD)
    started = [state.entity_id for state in scope.named]
    return replace(understood, targets=sorted(started), response=response)


def _input(turn: _Turn, said: Transcript) -> conversation.ConversationInput:
    """Return a text as Home Assistant's agent takes it."""
    return conversation.ConversationInput(
        text=said.text,
        context=Context(),
        conversation_id=None,
        device_id=turn.device_id,
        satellite_id=None,
        language=said.language,
        agent_id=conversation.HOME_ASSISTANT_AGENT,
    )


async def _async_sentence(turn: _Turn) -> CommandOutcome:
    """Obey a text by Home Assistant's sentences; without intent if none fits.

    Only sentences for exposed entities count, word for word: its guesses at
    unknown names are not for text that a room overheard. The device's area
    completes a command that names none.
    """
    hass = turn.hass
    user_input = _input(turn, turn.transcript)
    recognized: list[CommandOutcome] = []

    def refuse(result: RecognizeResult) -> bool:
        """Keep what was recognised; tell whether it must not be executed."""
        slots = {
            entity.name: entity.value
            for entity in result.entities_list
            if entity.name != "preferred_area_id"
        }
        understood = CommandOutcome(result.intent.name, slots)
        understood = _judge(turn, understood, reach(hass, result.intent.name, slots))
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
    return done(understood, response)


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
    scope = reach(turn.hass, meant.name, slots)
    understood = _judge(turn, replace(understood, slots=dict(slots)), scope)
    if understood.refused is not None:
        return understood
    return await _async_execute(turn, understood, turn.transcript)


async def _async_answered(
    turn: _Turn, pending: Pending, said: Answer
) -> CommandOutcome:
    """Do what was confirmed, if it still means the same and may still be done."""
    understood = CommandOutcome(pending.intent, pending.slots, source=pending.source)
    if pending.source == "trigger":
        matched = await async_matched(turn.hass, _input(turn, pending.asked))
        scope = matched.scope if matched else Reach()
    else:
        scope = reach(turn.hass, pending.intent, pending.slots)
    refused = None if said == "yes" else NOT_CONFIRMED
    if refused is None and scope.ids != pending.targets:
        refused = CHANGED
    refused = refused or turn.refusal(pending.intent, scope)
    if refused is not None:
        return replace(understood, targets=sorted(pending.targets), refused=refused)
    if pending.source == "trigger":
        return await _async_start(turn, understood, pending.asked, scope)
    return await _async_execute(turn, understood, pending.asked)


def _judge(turn: _Turn, understood: CommandOutcome, scope: Reach) -> CommandOutcome:
    """Add why something must not be done, or not before it is confirmed."""
    name = understood.intent or ""
    if DELAYED_COMMAND in understood.slots:
        # It would be obeyed later, when no guard looks at it.
        return replace(understood, refused=DELAYED)
    if (refused := turn.refusal(name, scope)) is not None:
        targets = list(scope.protected) or sorted(scope.ids)
        return replace(understood, targets=targets, refused=refused)
    many = name not in ALONE and len(scope.changing) > turn.rights.unasked
    if not scope.protected and not many:
        return understood
    turn.question.ask(
        turn.hass,
        Pending(
            name,
            understood.slots,
            scope.ids,
            understood.source,
            turn.transcript,
            bool(scope.protected),
        ),
    )
    by_code = bool(scope.protected) and turn.rights.code_words is not None
    return replace(
        understood,
        targets=list(scope.protected or scope.changing),
        response=question_about(turn.transcript.language, name, scope, by_code),
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
    return done(understood, response)
