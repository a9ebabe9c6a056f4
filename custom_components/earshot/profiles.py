"""Profiles: what each microphone listens for at home, at night and away."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from homeassistant.components.alarm_control_panel.const import AlarmControlPanelState
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import (
    CALLBACK_TYPE,
    Event,
    EventStateChangedData,
    HomeAssistant,
    State,
    callback,
)
from homeassistant.helpers.event import async_track_state_change_event

from .client import Info, Label, Rules, Sensitivity
from .const import (
    AWAY,
    CONF_ALARM_PANEL,
    CONF_GUARD,
    CONF_LABELS,
    CONF_RULES,
    CONF_SENSITIVITY,
    CONF_SOUNDS,
    CONF_WATCH,
    HOME,
    NIGHT,
    PROFILES,
)
from .sentry import SIGNS

PANEL: Mapping[str, str] = {
    AlarmControlPanelState.ARMED_AWAY: AWAY,
    AlarmControlPanelState.ARMED_VACATION: AWAY,
    AlarmControlPanelState.ARMED_NIGHT: NIGHT,
    AlarmControlPanelState.ARMED_HOME: HOME,
    AlarmControlPanelState.DISARMED: HOME,
}
"""The profile that goes with an alarm panel's state; any other state changes nothing."""

AS_AT_HOME = "as_at_home"
CHOSEN = "chosen"
NOTHING = "nothing"
WATCH = (AS_AT_HOME, CHOSEN, NOTHING)
"""What a profile listens for: the same as at home, labels of its own, or nothing."""

SENSITIVITIES: tuple[Sensitivity, ...] = ("low", "normal", "high")


@dataclass(frozen=True)
class Hearing:
    """What one microphone listens for in one profile."""

    labels: tuple[str, ...] = ()
    sensitivity: Sensitivity = "normal"


def hearings(data: Mapping[str, Any], info: Info) -> dict[str, Hearing]:
    """Return what a microphone listens for in each profile, of what the server knows."""
    if not data[CONF_SOUNDS] or info.sounds is None:
        return dict.fromkeys(PROFILES, Hearing())
    labels = info.sounds.labels
    home = Hearing(_known(data[CONF_LABELS], labels), _sensitivity(data, "normal"))
    chosen = {HOME: home} | {
        profile: _hearing(data.get(profile, {}), home, labels)
        for profile in PROFILES
        if profile != HOME
    }
    if not data.get(CONF_GUARD, False):
        return chosen
    # A guard hears its signs whatever the profile; its own switch puts it to rest.
    return {
        profile: replace(each, labels=_known([*each.labels, *SIGNS], labels))
        for profile, each in chosen.items()
    }


def _hearing(
    data: Mapping[str, Any], home: Hearing, labels: tuple[Label, ...]
) -> Hearing:
    """Return what a profile other than home listens for."""
    watch = data.get(CONF_WATCH, AS_AT_HOME)
    if watch == NOTHING:
        return Hearing()
    own = _known(data.get(CONF_LABELS, ()), labels)
    return Hearing(
        own if watch == CHOSEN else home.labels, _sensitivity(data, home.sensitivity)
    )


def _known(wanted: list[str], labels: tuple[Label, ...]) -> tuple[str, ...]:
    """Return what is wanted in the catalogue's order, without what it lacks."""
    return tuple(label.slug for label in labels if label.slug in wanted)


def _sensitivity(data: Mapping[str, Any], otherwise: Sensitivity) -> Sensitivity:
    """Return a sensitivity; `otherwise` where none is chosen."""
    chosen = data.get(CONF_SENSITIVITY)
    return cast(Sensitivity, chosen) if chosen in SENSITIVITIES else otherwise


def watched(data: Mapping[str, Any], info: Info) -> tuple[Label, ...]:
    """Return the labels that a microphone listens for in any profile."""
    wanted = {slug for each in hearings(data, info).values() for slug in each.labels}
    labels = info.sounds.labels if info.sounds else ()
    return tuple(label for label in labels if label.slug in wanted)


def rules(data: Mapping[str, Any], labels: Iterable[str]) -> Rules:
    """Return a microphone's rules for these labels."""
    kept: Rules = data.get(CONF_RULES, {})
    return {label: kept[label] for label in labels if label in kept}


def sustained(data: Mapping[str, Any], labels: tuple[Label, ...]) -> tuple[Label, ...]:
    """Return the labels of which it is told when they last: None and 0 are never."""
    kept: Rules = data.get(CONF_RULES, {})
    return tuple(
        label
        for label in labels
        if kept.get(label.slug, {}).get("sustain_s", label.sustain_s)
    )


class ActiveProfile:
    """The profile in force on a server: a person's choice, or an alarm panel's.

    A person's choice holds until the panel's next change. `heeded` is what the
    panel said last, so that its return from a restart is no change.
    """

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry) -> None:
        """Be at home until somebody says otherwise."""
        self._hass = hass
        self._listeners: list[Callable[[str], None]] = []
        self.current = HOME
        self.panel: str | None = entry.options.get(CONF_ALARM_PANEL)
        self.heeded: tuple[str, str] | None = None

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Follow the alarm panel, if there is one, until the returned call."""
        if self.panel is None:
            return lambda: None
        self._heed(self._hass.states.get(self.panel))
        return async_track_state_change_event(self._hass, self.panel, self._changed)

    @callback
    def async_choose(self, profile: str) -> None:
        """Put a profile in force."""
        if profile == self.current:
            return
        self.current = profile
        for listener in list(self._listeners):
            listener(profile)

    @callback
    def async_add_listener(self, listener: Callable[[str], None]) -> CALLBACK_TYPE:
        """Tell a listener each change of the profile."""
        self._listeners.append(listener)
        return partial(self._listeners.remove, listener)

    @callback
    def _changed(self, event: Event[EventStateChangedData]) -> None:
        """Follow the panel's change."""
        self._heed(event.data["new_state"])

    def _heed(self, state: State | None) -> None:
        """Do as the panel says, if it says something else than last time."""
        if state is None or (profile := PANEL.get(state.state)) is None:
            return
        said = (state.entity_id, state.state)
        if said != self.heeded:
            self.heeded = said
            self.async_choose(profile)
