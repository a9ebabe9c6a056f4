"""What is said at one microphone: obeyed one after the other, and published."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
import logging
from typing import TYPE_CHECKING, Any

from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr

from . import payloads
from .client import Partial, Speech, Transcript
from .commands import async_run_command
from .confirm import HIDDEN, Question, aloud, begins, says
from .const import (
    CONF_ALARM_PANEL,
    CONF_CODE_WORDS,
    CONF_PLACE,
    CONF_PLAYERS,
    CONF_PUBLISH_PARTIALS,
    CONF_SLUG,
    CONF_SPEAK,
    CONF_UNASKED,
    DEFAULT_UNASKED,
    DOMAIN,
    OUTDOOR,
)
from .microphone import utc_now
from .nearest import Heard, Nearest, Sentence
from .outcome import NEEDS_CONFIRMATION, NOT_UNDERSTOOD, CommandOutcome
from .publisher import Publisher
from .replies import Replies
from .rights import Rights
from .vocabulary import async_device_area_id

if TYPE_CHECKING:
    from .coordinator import EarshotConfigEntry

_LOGGER = logging.getLogger(__name__)


class Spoken:
    """Obeys one microphone."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: EarshotConfigEntry,
        subentry: ConfigSubentry,
        publisher: Publisher,
        nearest: Nearest,
        replies: Replies,
        attend: Callable[[float], None],
    ) -> None:
        """Take the microphone's rights from its settings.

        `attend` has what is said in so many seconds heard without a wake word.
        """
        self._attend = attend
        self._hass = hass
        self._entry = entry
        self._subentry_id = subentry.subentry_id
        self._slug: str = subentry.data[CONF_SLUG]
        self._publisher = publisher
        self._nearest = nearest
        self._replies = replies
        self._speaks: bool = subentry.data.get(CONF_SPEAK, True)
        self._players: list[str] = subentry.data.get(CONF_PLAYERS, [])
        self._commands = asyncio.Lock()
        self._question = Question()
        self.shows: bool = entry.options.get(CONF_PUBLISH_PARTIALS, False)
        self._shown: Partial | None = None
        self._rights = Rights(
            unasked=entry.options.get(CONF_UNASKED, DEFAULT_UNASKED),
            outdoor=subentry.data.get(CONF_PLACE) == OUTDOOR,
            panel=entry.options.get(CONF_ALARM_PANEL),
            code_words=entry.options.get(CONF_CODE_WORDS),
        )

    @callback
    def listens(self, listens: bool) -> None:
        """Take whether the microphone hears commands."""
        if listens:
            self._nearest.listeners.add(self._slug)
        else:
            self._nearest.listeners.discard(self._slug)
            self._over()

    @callback
    def heard(self, transcript: Transcript) -> None:
        """Obey a text, if there is one."""
        if not transcript.text:
            return
        area = async_device_area_id(self._hass, self._device_id)
        if self._replies.is_echo(transcript, self._slug, area):
            _LOGGER.debug("A reply was heard, not a command: %s", transcript.id)
            return
        heard = Heard(self._slug, transcript, self._rights.outdoor, self._question)
        sentence = self._nearest.hear(heard)
        self._entry.async_create_background_task(
            self._hass, self._obey(heard, sentence), f"earshot command {self._slug}"
        )

    @callback
    def overheard(self, said: Partial | Speech) -> None:
        """Publish what is being said, unless it may be the code words, and its end."""
        if isinstance(said, Partial):
            code = self._rights.code_words
            asked = code is not None and self._question.waits(self._hass)
            if not asked and not begins(said.text, code):
                self._shown = said
                self._show(said, said.text)
        elif said.state == "end":
            self._over()

    def _over(self) -> None:
        """Publish that nothing is being said any more, if something was."""
        if self._shown is not None:
            self._show(self._shown, "")
        self._shown = None

    def _show(self, said: Partial, text: str) -> None:
        self._publisher.send_now(
            payloads.partial_topic(self._slug), payloads.partial_payload(said, text)
        )

    @property
    def _device_id(self) -> str | None:
        """Return the microphone's device."""
        device = dr.async_get(self._hass).async_get_device_by_identifier(
            (DOMAIN, self._subentry_id), self._entry.entry_id
        )
        return device.id if device else None

    def _reply(self, transcript: Transcript, outcome: CommandOutcome) -> None:
        """Speak the reply, unless nobody meant the house or a stranger was refused."""
        refused = outcome.refused
        if (
            not self._speaks
            or outcome.intent is None
            or refused == NOT_UNDERSTOOD
            or (self._rights.outdoor and refused is not None)
        ):
            return
        asked = refused == NEEDS_CONFIRMATION
        text = aloud(outcome.response) if asked else outcome.response
        until = self._say(text, transcript.language)
        if until is not None and asked:
            self._question.spoken(self._hass, until)

    def _say(self, text: str, language: str) -> datetime | None:
        """Speak where the microphone is; return when that will be over."""
        return self._replies.async_say(
            text,
            language,
            self._slug,
            async_device_area_id(self._hass, self._device_id),
            self._players,
        )

    @callback
    def timer(self, told: dict[str, Any], said: str | None, language: str) -> None:
        """Publish what became of a timer, and say that it ended."""
        self._publisher.send(
            payloads.timer_topic(self._slug),
            payloads.timer_payload(self._slug, told, utc_now()),
        )
        if said is not None and self._speaks:
            self._say(said, language)

    async def _obey(self, heard: Heard, sentence: Sentence) -> None:
        """Run a command after those before it, and publish what became of it."""
        transcript = heard.transcript
        async with self._commands:
            if not await self._nearest.async_chosen(sentence, heard):
                # It ends a question as anything else does that is said here.
                self._question.take(self._hass, transcript)
                _LOGGER.debug("Left to another microphone: %s", transcript.id)
                return
            outcome = await async_run_command(
                self._hass,
                transcript,
                self._device_id,
                self._rights,
                self._question,
            )
            self._reply(transcript, outcome)
            if outcome.refused == NEEDS_CONFIRMATION:
                self._attend(self._question.open_s(utc_now()))
        if outcome.intent is None:
            # An engine that writes down any speech hears more than commands: what
            # people say to each other is nobody's business.
            return
        if says(transcript, self._rights.code_words):
            transcript = replace(transcript, text=HIDDEN)
        self._publisher.send(
            payloads.transcript_topic(self._slug),
            payloads.transcript_payload(transcript),
        )
        payload = payloads.intent_payload(transcript, outcome)
        self._publisher.send(payloads.intent_topic(self._slug), payload)
        if outcome.refused is None:
            # Devices act on this topic: what was refused never appears there.
            self._publisher.send(payloads.any_intent_topic(outcome.intent), payload)
