"""What may be said in this home, kept up to date on the server."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
import logging
from typing import Any

from homeassistant.components.conversation.agent_manager import get_agent_manager
from homeassistant.components.conversation.const import DOMAIN as CONVERSATION
from homeassistant.components.homeassistant.exposed_entities import (
    async_listen_entity_updates,
    async_should_expose,
)
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import (
    ATTR_DOMAIN,
    ATTR_SERVICE,
    EVENT_CALL_SERVICE,
    EVENT_STATE_CHANGED,
    SERVICE_RELOAD,
)
from homeassistant.core import CoreState, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers import (
    area_registry as ar,
    device_registry as dr,
    entity_registry as er,
    floor_registry as fr,
    intent,
)
from homeassistant.helpers.debounce import Debouncer
from homeassistant.helpers.start import async_at_started

from .client import Client, EarshotError, Entity, Place, Vocabulary
from .client.vocabulary import (
    MAX_AREAS,
    MAX_ENTITIES,
    MAX_FLOORS,
    MAX_ITEMS,
    MAX_MEDIA,
    MAX_NAMES,
    MAX_PHRASE,
    MAX_SENTENCES,
)
from .const import ASSISTANT, CONF_CODE_WORDS, CONF_MEDIA
from .custom_sentences import CustomSentences, async_custom_sentences
from .read_list import open_items

_LOGGER = logging.getLogger(__name__)

QUIET_S = 2.0


@callback
def async_build(
    hass: HomeAssistant,
    language: str,
    media: Iterable[str] = (),
    custom: CustomSentences | None = None,
) -> Vocabulary:
    """Return the exposed entities, areas and floors with their names and aliases.

    `media` are names of what may be played.
    """
    custom = custom or CustomSentences()
    entities = []
    for state in sorted(hass.states.async_all(), key=lambda state: state.entity_id):
        if async_should_expose(hass, ASSISTANT, state.entity_id):
            entry = er.async_get(hass).async_get(state.entity_id)
            names = _names(intent.async_get_entity_aliases(hass, entry, state=state))
            if names:
                area = entity_area_id(hass, entry)
                entities.append(Entity(state.entity_id, state.domain, names, area))
    areas = [
        Place(area.id, _names([area.name, *sorted(area.aliases)]), area.floor_id)
        for area in sorted(ar.async_get(hass).async_list_areas(), key=lambda a: a.id)
    ]
    floors = [
        Place(floor.floor_id, _names([floor.name, *sorted(floor.aliases)]))
        for floor in sorted(
            fr.async_get(hass).async_list_floors(), key=lambda f: f.floor_id
        )
    ]
    return Vocabulary(
        language,
        tuple(entities[:MAX_ENTITIES]),
        tuple(areas[:MAX_AREAS]),
        tuple(floors[:MAX_FLOORS]),
        _items(hass, [entity.id for entity in entities if entity.domain == "todo"]),
        _phrases(media)[:MAX_MEDIA],
        custom.sentences[:MAX_SENTENCES],
        custom.lists,
    )


def _items(hass: HomeAssistant, lists: list[str]) -> tuple[str, ...]:
    """Return what is on the lists: it can be said, to take it off again."""
    found = (item for one in lists for item in open_items(hass, one))
    return _phrases(found)[:MAX_ITEMS]


def _phrases(texts: Iterable[str]) -> tuple[str, ...]:
    """Return what the server takes of texts, in order and without repetition."""
    stripped = {text.strip() for text in texts}
    return tuple(sorted(each for each in stripped if 0 < len(each) <= MAX_PHRASE))


def _names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names without repetition and blanks, as many as the server takes."""
    stripped = (name.strip() for name in names)
    return tuple(dict.fromkeys(name for name in stripped if name))[:MAX_NAMES]


def entity_area_id(hass: HomeAssistant, entry: er.RegistryEntry | None) -> str | None:
    """Return an entity's area, its own or its device's."""
    if entry is None:
        return None
    return entry.area_id or async_device_area_id(hass, entry.device_id)


@callback
def async_device_area_id(hass: HomeAssistant, device_id: str | None) -> str | None:
    """Return where a device is."""
    if device_id is None or (device := dr.async_get(hass).async_get(device_id)) is None:
        return None
    # Since 2026.9 a device may inherit its area from its parent.
    inherited: Callable[..., str | None] | None
    inherited = getattr(dr, "async_get_effective_area_id", None)
    return inherited(hass, device) if inherited else device.area_id


class VocabularySync:
    """Sends the vocabulary when it changes and when the server lost it."""

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry, client: Client, language: str
    ) -> None:
        """Keep where to send; nothing is sent before `async_start`."""
        self._hass = hass
        self._entry = entry
        self._client = client
        self._language = language
        self._sent: Vocabulary | None = None
        self._due = asyncio.Event()
        # It drops what falls due while its function runs: so its function takes no time.
        self._sender = Debouncer(
            hass,
            _LOGGER,
            cooldown=QUIET_S,
            immediate=False,
            function=self._fall_due,
        )

    @callback
    def async_start(self) -> None:
        """Send once Home Assistant has started, and after every change."""
        hass = self._hass
        for unsubscribe in (
            hass.bus.async_listen(ar.EVENT_AREA_REGISTRY_UPDATED, self._changed),
            hass.bus.async_listen(dr.EVENT_DEVICE_REGISTRY_UPDATED, self._changed),
            hass.bus.async_listen(er.EVENT_ENTITY_REGISTRY_UPDATED, self._changed),
            hass.bus.async_listen(fr.EVENT_FLOOR_REGISTRY_UPDATED, self._changed),
            hass.bus.async_listen(
                EVENT_STATE_CHANGED, self._changed, event_filter=_came_or_went
            ),
            # Custom sentences are read again after this, and nothing tells when.
            hass.bus.async_listen(
                EVENT_CALL_SERVICE, self._changed, event_filter=_reloads_sentences
            ),
            get_agent_manager(hass).subscribe_intents(self._changed),
            async_listen_entity_updates(hass, ASSISTANT, self._changed),
            async_at_started(hass, self._started),
            self._sender.async_shutdown,
        ):
            self._entry.async_on_unload(unsubscribe)
        self._entry.async_create_background_task(
            hass, self._async_keep_sending(), "earshot vocabulary"
        )

    @callback
    def async_server_has(self, version: str | None) -> None:
        """Take the version that the server says it has; None: it has none."""
        if version is None:
            self._sent = None
        if self._sent is None and self._hass.state is CoreState.running:
            self._sender.async_schedule_call()

    @callback
    def _started(self, hass: HomeAssistant) -> None:
        """Send what there is now."""
        self._sender.async_schedule_call()

    @callback
    def _changed(self, _event: object = None) -> None:
        """Send soon: changes come in bursts."""
        if self._hass.state is CoreState.running:
            self._sender.async_schedule_call()

    @callback
    def _fall_due(self) -> None:
        """Have it looked at."""
        self._due.set()

    async def _async_keep_sending(self) -> None:
        """Send the vocabulary whenever that is due, one at a time."""
        while True:
            await self._due.wait()
            self._due.clear()
            media = self._entry.options.get(CONF_MEDIA, ())
            custom = await async_custom_sentences(self._hass, self._language)
            code = self._entry.options.get(CONF_CODE_WORDS)
            if code is not None:
                custom = replace(custom, sentences=(code, *custom.sentences))
            vocabulary = async_build(self._hass, self._language, media, custom)
            if vocabulary != self._sent:
                await self._async_send(vocabulary)

    async def _async_send(self, vocabulary: Vocabulary) -> None:
        """Send this vocabulary; what the server does not take is sent another time."""
        try:
            report = await self._client.put_vocabulary(vocabulary)
        except EarshotError as err:
            # The next look at the server, or the next change, tries again.
            self._sent = None
            _LOGGER.debug("The server did not take the vocabulary: %s", err)
            return
        self._sent = vocabulary
        _LOGGER.debug(
            "The server knows %d sentences of %d words",
            report.sentences,
            report.words,
        )
        unheard = set(report.unheard) - {self._entry.options.get(CONF_CODE_WORDS)}
        if unheard:
            _LOGGER.info("These sentences cannot be heard: %s", sorted(unheard))


@callback
def _reloads_sentences(data: Mapping[str, Any]) -> bool:
    """Tell whether this has Home Assistant forget its sentences, to read them again."""
    called = (data[ATTR_DOMAIN], data[ATTR_SERVICE])
    return called == (CONVERSATION, SERVICE_RELOAD)


@callback
def _came_or_went(data: EventStateChangedData) -> bool:
    """Tell whether a state was added or removed, or a list became longer or shorter."""
    old, new = data["old_state"], data["new_state"]
    if old is None or new is None:
        return True
    return new.domain == "todo" and old.state != new.state
