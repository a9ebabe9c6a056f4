"""What a microphone has the right to do: by where it hangs, and while nobody is home."""

from dataclasses import dataclass
from typing import Final

from homeassistant.components.alarm_control_panel.const import AlarmControlPanelState
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er, intent

from .allowed import ALLOWED
from .const import DEFAULT_UNASKED
from .guard import READING_INTENTS, Reach
from .vocabulary import async_device_area_id, entity_area_id

UNTRUSTED = "untrusted_microphone"
ARMED = "armed"

OUTDOOR_QUESTIONS: Final = frozenset(
    {
        intent.INTENT_GET_CURRENT_DATE,
        intent.INTENT_GET_CURRENT_TIME,
        intent.INTENT_NEVERMIND,
        "HassGetWeather",
    }
)
"""What anybody may ask: it tells nothing of the home, as whether a door is locked."""

OUTDOOR_DEEDS: Final = frozenset(
    {intent.INTENT_TURN_ON, intent.INTENT_TURN_OFF, "HassLightSet"}
)
"""What anybody may do, to the lights where the microphone is."""

GUARDED: Final = frozenset(
    {
        AlarmControlPanelState.ARMED_AWAY,
        AlarmControlPanelState.ARMED_VACATION,
        # Whoever came in while it was armed has not disarmed it yet.
        AlarmControlPanelState.PENDING,
        AlarmControlPanelState.TRIGGERED,
    }
)
"""Nobody who may command is home, as far as an alarm panel knows."""


@dataclass(frozen=True)
class Rights:
    """One microphone's rights.

    `unasked`: so many entities it changes unasked; `outdoor`: anybody may speak to
    it; `panel`: the alarm panel that counts, None: any that there is; `code_words`: what
    alone confirms what is protected, None: any yes.
    """

    unasked: int = DEFAULT_UNASKED
    outdoor: bool = False
    panel: str | None = None
    code_words: str | None = None

    def refusal(
        self, hass: HomeAssistant, intent_type: str, scope: Reach, device_id: str | None
    ) -> str | None:
        """Return why a command must not be done, not even confirmed."""
        armed = _armed(hass, self.panel)
        if not self.outdoor:
            unknown = intent_type not in ALLOWED and intent_type not in READING_INTENTS
            return ARMED if armed and (scope.protected or unknown) else None
        if intent_type in OUTDOOR_QUESTIONS:
            return None
        if armed:
            return ARMED
        if intent_type in OUTDOOR_DEEDS and _lights_of(hass, scope, device_id):
            return None
        return UNTRUSTED


def _armed(hass: HomeAssistant, panel: str | None) -> bool:
    """Tell whether the home is guarded; a chosen panel that is away guards it."""
    if panel is None:
        states = hass.states.async_all("alarm_control_panel")
        return any(state.state in GUARDED for state in states)
    state = hass.states.get(panel)
    away = (STATE_UNAVAILABLE, STATE_UNKNOWN)
    return state is None or state.state in GUARDED or state.state in away


def _lights_of(hass: HomeAssistant, scope: Reach, device_id: str | None) -> bool:
    """Tell whether it is lights only, and all of them where the device is."""
    area = async_device_area_id(hass, device_id)
    registry = er.async_get(hass)
    return bool(area and scope.entities) and all(
        state.domain == "light"
        and entity_area_id(hass, registry.async_get(state.entity_id)) == area
        for state in scope.entities
    )
