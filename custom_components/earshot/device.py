"""One microphone in Home Assistant: its results to entities, to MQTT, and to the house."""

import asyncio
from collections.abc import Callable
from functools import partial
import logging
from typing import TYPE_CHECKING, override

from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback

from . import payloads
from .capture import async_create_source
from .client import (
    UNAVAILABLE,
    Client,
    Clip,
    Health,
    Info,
    Level,
    Partial,
    Sound,
    Speech,
    Task,
    Transcript,
    Wake,
)
from .client.connection import StreamResult
from .const import CONF_CLIPS, CONF_COMMANDS, CONF_GUARD, CONF_SLUG, HOME
from .health import MicrophoneHealth
from .microphone import Listener, Microphone, Settings, utc_now
from .nearest import Nearest
from .profiles import Hearing, hearings, rules, sustained, watched
from .publisher import Publisher
from .replies import Replies
from .sentry import Sentry
from .spoken import Spoken
from .waking import waking

if TYPE_CHECKING:
    from .coordinator import EarshotConfigEntry

_LOGGER = logging.getLogger(__name__)

RESTART_S = 30.0
EXPIRY_S = 3600
"""A label's ON or OFF is believed for an hour after its writer vanished."""


class MicrophoneDevice(Listener):
    """Runs a microphone while it is switched on, and tells who wants to know."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: EarshotConfigEntry,
        subentry: ConfigSubentry,
        client: Client,
        publisher: Publisher,
        nearest: Nearest,
        replies: Replies,
        info: Info,
        language: str,
        publish_level: bool,
    ) -> None:
        """Prepare; nothing is captured before `async_listen`."""
        data = subentry.data
        self._hass = hass
        self._entry = entry
        self._publisher = publisher
        self._publish_level = publish_level
        self._listeners: list[Callable[[StreamResult | None], None]] = []
        self.spoken = Spoken(
            hass, entry, subentry, publisher, nearest, replies, self._attend
        )
        self._task: asyncio.Task[None] | None = None
        self.subentry_id = subentry.subentry_id
        self.name = subentry.title
        self.slug: str = data[CONF_SLUG]
        self.labels = watched(data, info)
        self.sustained = sustained(data, self.labels)
        self.waking = waking(data, info)
        commands = data[CONF_COMMANDS] and info.speech and self.waking.possible
        claps = commands and self.waking.gestures
        self.tasks: tuple[Task, ...] = (
            *(("sounds",) if self.labels or claps else ()),
            *(("commands",) if commands else ()),
        )
        self.cutoffs: dict[str, float] = {}
        self.clips = bool(self.labels) and info.clips and data.get(CONF_CLIPS, False)
        self.sentry: Sentry | None = None
        if self.labels and data.get(CONF_GUARD, False):
            self.sentry = Sentry(hass, self._guard_changed)
        self.hears = False
        self.understands = True
        self.sounding: set[str] = set()
        self.profile = HOME
        self._hearings = hearings(data, info)
        self._rules = rules(data, [label.slug for label in self.labels])
        self.health = MicrophoneHealth(
            hass, self.subentry_id, self.name, self._health_changed
        )
        self._microphone = Microphone(
            self.name,
            Settings(
                self.slug,
                self.tasks,
                language,
                self.hearing.labels,
                profile=self.profile,
                sensitivity=self.hearing.sensitivity,
                rules=self._rules,
                clips=self.clips,
                wake=self.waking.wakes({}) if commands else {},
                partials=self.spoken.shows,
            ),
            async_create_source(hass, data),
            client,
            self,
        )

    @property
    def listening(self) -> bool:
        """Return whether the microphone is switched on."""
        return self._task is not None

    @property
    def hearing(self) -> Hearing:
        """Return what is listened for in the profile in force."""
        return self._hearings[self.profile]

    @callback
    def async_use_profile(self, profile: str) -> None:
        """Listen for what a profile says; events of other labels end."""
        self.profile = profile
        hearing = self.hearing
        self._microphone.listen_for(hearing.labels, profile, hearing.sensitivity)

    @callback
    def async_wake_by(self, word: str, cutoff: float) -> None:
        """Wake by a word with a score above this."""
        self.cutoffs[word] = cutoff
        self._microphone.wake_by(self.waking.wakes(self.cutoffs))

    @callback
    def _attend(self, seconds: float) -> None:
        """Hear an answer without a wake word."""
        self._microphone.attend(seconds)

    @callback
    def async_listen(self) -> None:
        """Capture and stream from now on."""
        if self._task is not None:
            return
        for label in self.labels:
            if not label.is_gesture:
                self._keep_state(label.slug, on=False)
        self._keep_health()
        self._task = self._entry.async_create_background_task(
            self._hass, self._run(), f"earshot microphone {self.slug}"
        )

    async def async_silence(self) -> None:
        """Stop capturing; returns when everything is closed."""
        if (task := self._task) is None:
            return
        self._task = None
        task.cancel()
        await asyncio.wait([task])
        self.health.clear()
        if self.sentry is not None:
            self.sentry.async_rest()

    @callback
    def async_add_listener(
        self, listener: Callable[[StreamResult | None], None]
    ) -> CALLBACK_TYPE:
        """Tell a listener each result, and None when the microphone comes or goes."""
        self._listeners.append(listener)
        return partial(self._listeners.remove, listener)

    async def _run(self) -> None:
        """Listen, or say once why there is nothing to listen for."""
        if not self.waking.possible:
            _LOGGER.warning(
                "Microphone %s obeys nobody: the server knows none of its wake words",
                self.name,
            )
        if not self.tasks:
            self.available(False)
            _LOGGER.warning(
                "Microphone %s has nothing to listen for: the server offers none of"
                " what is chosen",
                self.name,
            )
            return
        while True:
            try:
                await self._microphone.run()
            except ExceptionGroup:
                # A fault of ours must not leave a home deaf until somebody notices.
                _LOGGER.exception(
                    "Microphone %s met an unexpected error and begins anew", self.name
                )
            await asyncio.sleep(RESTART_S)

    @override
    @callback
    def heard(self, result: StreamResult) -> None:
        """Pass a result on."""
        if isinstance(result, Sound):
            self._sound(result)
        elif isinstance(result, Clip):
            self._publisher.send(
                payloads.clip_topic(self.slug), payloads.clip_payload(result)
            )
            if self.sentry is not None:
                self.sentry.clip(result)
        elif isinstance(result, Wake):
            self._publisher.send(
                payloads.wake_topic(self.slug), payloads.wake_payload(result)
            )
        elif isinstance(result, Partial | Speech):
            self.spoken.overheard(result)
        elif isinstance(result, Transcript):
            self._engine_there(result.rejected != UNAVAILABLE)
            self.spoken.heard(result)
        elif isinstance(result, Level):
            if self.sentry is not None:
                self.sentry.level(result)
            if self._publish_level:
                self._publisher.send_now(
                    payloads.level_topic(self.slug), payloads.level_payload(result)
                )
        elif isinstance(result, Health):
            self.health.heard(result)
        self._notify(result)

    @override
    @callback
    def available(self, available: bool) -> None:
        """Take whether the microphone hears."""
        self.hears = available
        self.spoken.listens(available and "commands" in self.tasks)
        self._publisher.keep(
            payloads.availability_topic(self.slug),
            payloads.ONLINE if available else payloads.OFFLINE,
        )
        self._notify(None)

    @override
    @callback
    def connected(self) -> None:
        """Take that a stream began."""
        self.health.connected()

    @override
    @callback
    def token_refused(self) -> None:
        """Ask the person for another token."""
        self._entry.async_start_reauth(self._hass)

    def _sound(self, sound: Sound) -> None:
        """Note and publish that a sound began, lasts or ended."""
        self._publisher.send(
            payloads.sound_topic(self.slug), payloads.sound_payload(sound)
        )
        if any(label.slug == sound.label for label in self.labels if label.is_gesture):
            if sound.state == "start":
                self._publisher.send(
                    payloads.gesture_topic(self.slug), payloads.gesture_payload(sound)
                )
            return
        if sound.state == "start":
            if self.sentry is not None:
                self.sentry.sound(sound)
            self.sounding.add(sound.label)
        elif sound.state == "end":
            self.sounding.discard(sound.label)
        self._keep_state(sound.label, on=sound.label in self.sounding)

    def _keep_state(self, label: str, *, on: bool) -> None:
        """Publish whether a label sounds."""
        self._publisher.keep(
            payloads.sound_state_topic(self.slug, label),
            "ON" if on else "OFF",
            EXPIRY_S,
        )

    @callback
    def _guard_changed(self) -> None:
        """Publish and show how far it has come."""
        if self.sentry is not None:
            self._publisher.send(
                payloads.guard_topic(self.slug),
                payloads.guard_payload(
                    self.slug, self.sentry.state, self.sentry.signs, utc_now()
                ),
            )
        self._notify(None)

    @callback
    def _health_changed(self) -> None:
        """Publish and show what is wrong now."""
        self._keep_health()
        self._notify(None)

    def _keep_health(self) -> None:
        """Publish what is wrong."""
        self._publisher.keep(
            payloads.health_topic(self.slug),
            payloads.health_payload(self.slug, self.health.problems, utc_now()),
        )

    def _engine_there(self, there: bool) -> None:
        """Say once that what is said here cannot be understood, and once when it can."""
        if there is self.understands:
            return
        self.understands = there
        if there:
            _LOGGER.info("Microphone %s is understood again", self.name)
        else:
            _LOGGER.warning(
                "%s is not understood: the server's speech engine is away", self.name
            )

    def _notify(self, result: StreamResult | None) -> None:
        """Tell the entities."""
        for listener in list(self._listeners):
            listener(result)
