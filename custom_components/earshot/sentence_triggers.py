"""Sentences that start automations: what they would touch, and having them done."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from homeassistant.components import conversation
from homeassistant.components.conversation import async_get_chat_log
from homeassistant.components.conversation.agent_manager import get_agent_manager
from homeassistant.core import HomeAssistant
from homeassistant.helpers.chat_session import async_get_chat_session

from .guard import Reach, reach_of
from .performed import async_triggered_by

SENTENCE_TRIGGER: Final = "SentenceTrigger"
"""What a command is called that is no intent, but starts automations."""

ANSWERED_S: Final = 5.0
"""An automation that takes longer goes on, but its answer is not waited for."""


@dataclass(frozen=True)
class Matched:
    """The words of a sentence that its trigger left open, and what it would touch."""

    slots: dict[str, Any]
    scope: Reach


async def async_matched(
    hass: HomeAssistant, said: conversation.ConversationInput
) -> Matched | None:
    """Return what a sentence would start; None if it is no trigger."""
    agent = get_agent_manager(hass).default_agent
    result = await agent.async_recognize_sentence_trigger(said) if agent else None
    if result is None:
        return None
    matches = result.matched_triggers.values()
    slots = {
        entity.name: entity.text.strip()
        for match in matches
        for entity in match.entities_list
    }
    sentences = {
        match.intent_sentence.text
        for match in matches
        if match.intent_sentence is not None and match.intent_sentence.text
    }
    automations = async_triggered_by(hass, sentences)
    return Matched(slots, reach_of(hass, automations))


async def async_start(
    hass: HomeAssistant, said: conversation.ConversationInput
) -> str | None:
    """Start the automations; return what they answer, None if there are none."""
    # Nothing that happens here may end what somebody else's automation has begun.
    task = hass.async_create_background_task(
        _async_start(hass, said), "earshot sentence trigger"
    )
    done, _ = await asyncio.wait({task}, timeout=ANSWERED_S)
    return task.result() if done else ""


async def _async_start(
    hass: HomeAssistant, said: conversation.ConversationInput
) -> str | None:
    with (
        async_get_chat_session(hass) as session,
        async_get_chat_log(hass, session, said) as chat_log,
    ):
        return await conversation.async_handle_sentence_triggers(hass, said, chat_log)
