"""Replies spoken where a command was heard, and known again when microphones hear them."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
import logging

from homeassistant.components.media_player.const import (
    MediaPlayerDeviceClass,
    MediaPlayerEntityFeature,
)
from homeassistant.components.tts.const import DATA_COMPONENT
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import (
    ATTR_DEVICE_CLASS,
    ATTR_ENTITY_ID,
    ATTR_SUPPORTED_FEATURES,
    STATE_UNAVAILABLE,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.util import language as language_util
import voluptuous as vol

from .client import Transcript
from .confirm import answer, plain
from .const import CONF_TTS
from .vocabulary import entity_area_id

_LOGGER = logging.getLogger(__name__)

BEGINS_S = 1.0
"""So long it takes until a player begins to speak."""
LETTERS_PER_S = 14.0
"""How fast synthetic voices speak: 160 words in a minute."""
LINGERS_S = 10.0
"""Slow engines, players and cameras delay a reply's sound by less than this."""

_TELEVISIONS = (MediaPlayerDeviceClass.TV, MediaPlayerDeviceClass.RECEIVER)


@dataclass(frozen=True)
class _Reply:
    """What is spoken, near which microphone and area, from when to when."""

    words: tuple[str, ...]
    microphone: str
    area: str | None
    start: datetime
    end: datetime


class Replies:
    """Speaks through the media players of a home; one for all microphones of an entry."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry) -> None:
        """Take the engine from the options."""
        self._hass = hass
        self._entry = entry
        self._engine: str | None = entry.options.get(CONF_TTS)
        self._spoken: deque[_Reply] = deque(maxlen=20)
        self._failing: set[str] = set()

    @callback
    def async_say(
        self,
        text: str,
        language: str,
        microphone: str,
        area: str | None,
        chosen: list[str],
    ) -> datetime | None:
        """Begin to speak; return when it will be over, None where nobody speaks.

        Nobody waits for it, and what fails is told in the log, once.
        """
        if self._engine is None or not text:
            return None
        state = self._hass.states.get(self._engine)
        if state is None or state.state == STATE_UNAVAILABLE:
            self._failed(self._engine, "it is not available")
            return None
        if not (players := self._players(area, chosen)):
            self._failed(microphone, "there is no media player for its replies")
            return None
        self._failing -= {microphone}
        now = datetime.now(UTC)
        end = now + timedelta(seconds=BEGINS_S + len(text) / LETTERS_PER_S)
        words = tuple(plain(text).split())
        self._spoken.append(_Reply(words, microphone, area, now, end))
        self._entry.async_create_background_task(
            self._hass,
            self._speak(self._engine, players, text, language),
            f"earshot reply {microphone}",
        )
        return end

    @callback
    def is_echo(
        self, transcript: Transcript, microphone: str, area: str | None
    ) -> bool:
        """Tell whether a microphone heard a reply, and not somebody."""
        return any(
            _echoes(reply, transcript, microphone, area) for reply in self._spoken
        )

    async def _speak(
        self, engine: str, players: list[str], text: str, language: str
    ) -> None:
        """Have it spoken."""
        data = {
            ATTR_ENTITY_ID: engine,
            "media_player_entity_id": players,
            "message": text,
        }
        if (spoken := self._language(engine, language)) is not None:
            data["language"] = spoken
        try:
            await self._hass.services.async_call("tts", "speak", data, blocking=True)
        except (HomeAssistantError, vol.Invalid, TimeoutError) as err:
            self._failed(engine, str(err))
        else:
            self._failing.discard(engine)

    def _language(self, engine: str, language: str) -> str | None:
        """Return the engine's own name of a language that it speaks."""
        component = self._hass.data.get(DATA_COMPONENT)
        entity = component.get_entity(engine) if component else None
        if entity is None:
            return None
        matches = language_util.matches(language, entity.supported_languages)
        return matches[0] if matches else None

    def _players(self, area: str | None, chosen: list[str]) -> list[str]:
        """Return the chosen players, else those of the area that are made to speak."""
        registry = er.async_get(self._hass)
        able = [
            state
            for state in self._hass.states.async_all("media_player")
            if state.state != STATE_UNAVAILABLE
            and state.attributes.get(ATTR_SUPPORTED_FEATURES, 0)
            & MediaPlayerEntityFeature.PLAY_MEDIA
        ]
        if chosen:
            return [state.entity_id for state in able if state.entity_id in chosen]
        here = [
            state
            for state in able
            if area is not None
            and state.attributes.get(ATTR_DEVICE_CLASS) not in _TELEVISIONS
            and entity_area_id(self._hass, registry.async_get(state.entity_id)) == area
        ]
        announcing = [
            state
            for state in here
            if state.attributes[ATTR_SUPPORTED_FEATURES]
            & MediaPlayerEntityFeature.MEDIA_ANNOUNCE
        ]
        return [state.entity_id for state in announcing or here]

    def _failed(self, what: str, why: str) -> None:
        """Say once that replies are not spoken."""
        if what not in self._failing:
            self._failing.add(what)
            _LOGGER.warning("A reply was not spoken (%s): %s", what, why)


def _echoes(
    reply: _Reply, transcript: Transcript, microphone: str, area: str | None
) -> bool:
    """Tell whether this may be a reply that is being spoken, or was just now."""
    start = transcript.start
    if not reply.start <= start <= reply.end + timedelta(seconds=LINGERS_S):
        return False
    words = tuple(plain(transcript.text).split())
    if start > reply.end:
        # A late piece of it; but an answer comes now, too, and is in the question.
        return answer(transcript) is None and _within(words, reply.words)
    if microphone == reply.microphone or (area is not None and area == reply.area):
        return True
    return 2 * sum(word in reply.words for word in words) >= len(words)


def _within(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Tell whether some words follow each other in others."""
    size = len(words)
    return any(others[at : at + size] == words for at in range(len(others) - size + 1))
