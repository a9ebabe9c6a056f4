"""Guard: what happens around a parked car, in two steps: a heads-up, then an alarm."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
import statistics

from homeassistant.core import HomeAssistant, callback

from .client import Clip, Level, Sound

BREAK_INS = frozenset({"engine_start", "glass_break"})
"""Nobody but the owner does this: one is an alarm."""
TOUCHES = frozenset({"impact", "scratch"})
"""One may be a bird or a bag that brushed by: one is a heads-up, two are an alarm."""
PRESENCE = frozenset({"footsteps", "speaking"})
"""Somebody is there, which is no crime: never more than a heads-up."""
SIGNS = BREAK_INS | TOUCHES | PRESENCE

APART_S, TOGETHER_S = 3.0, 60.0
"""Two touches that begin so far apart are two, and an alarm; sooner it may be one."""
CALM_S = {"heads_up": 60.0, "alarm": 300.0}
"""A step is over when there was no sign for so long."""
NEAR_DB = 15.0
"""So far above what is usual at this microphone, a voice is near."""
USUAL = 600
"""Seconds that tell what is usual; without a tenth of them nothing is near."""
JUST_NOW = 4
"""Seconds in which somebody who was just heard has spoken."""
KEPT = 20
"""Signs that are told with a step, the latest ones."""


class GuardState(StrEnum):
    """How far it has come."""

    OFF = "off"
    QUIET = "quiet"
    HEADS_UP = "heads_up"
    ALARM = "alarm"


@dataclass(frozen=True)
class Sign:
    """A sound event that counts; `clip` is the id of its recording, once there is one."""

    id: str
    label: str
    time: datetime
    score: float
    clip: str | None = None


class Sentry:
    """Watches over one microphone while it is armed."""

    def __init__(self, hass: HomeAssistant, changed: Callable[[], None]) -> None:
        """Begin off; `changed` is called for each new state, sign and clip."""
        self._hass = hass
        self._changed = changed
        self._levels: deque[float] = deque(maxlen=USUAL)
        self._calm: asyncio.TimerHandle | None = None
        self.state = GuardState.OFF
        self.signs: list[Sign] = []

    @property
    def armed(self) -> bool:
        """Return whether signs count."""
        return self.state is not GuardState.OFF

    @callback
    def async_arm(self) -> None:
        """Count signs from now on."""
        if not self.armed:
            self._become(GuardState.QUIET)

    @callback
    def async_disarm(self) -> None:
        """Forget everything, and count no signs."""
        if self.armed:
            self._become(GuardState.OFF)

    @callback
    def async_rest(self) -> None:
        """Take that nothing is heard any more: a heads-up or an alarm is over."""
        if self.signs:
            self._become(GuardState.QUIET)

    @callback
    def level(self, level: Level) -> None:
        """Learn how loud it usually is."""
        self._levels.append(level.rms_dbfs)

    @callback
    def clip(self, clip: Clip) -> None:
        """Note that a sign's recording is kept."""
        for place, sign in enumerate(self.signs):
            if sign.id == clip.event:
                self.signs[place] = Sign(
                    sign.id, sign.label, sign.time, sign.score, clip.id
                )
                self._changed()

    @callback
    def sound(self, sound: Sound) -> None:
        """Take a sound event that began."""
        if not self.armed or sound.label not in SIGNS:
            return
        if sound.label == "speaking" and not self._near():
            return
        sign = Sign(sound.id, sound.label, sound.start, sound.score)
        self.signs = [*self.signs, sign][-KEPT:]
        self._become(GuardState.ALARM if self._is_alarm(sign) else GuardState.HEADS_UP)

    def _is_alarm(self, sign: Sign) -> bool:
        """Tell whether it is more than a heads-up by now."""
        if self.state is GuardState.ALARM or sign.label in BREAK_INS:
            return True
        if sign.label not in TOUCHES:
            return False
        first = sign.time - timedelta(seconds=TOGETHER_S)
        last = sign.time - timedelta(seconds=APART_S)
        return any(
            one.label in TOUCHES and first <= one.time <= last for one in self.signs
        )

    def _near(self) -> bool:
        """Tell whether what was just heard stands out from what is usual."""
        if len(self._levels) < USUAL // 10:
            return False
        latest = max(list(self._levels)[-JUST_NOW:])
        return latest >= statistics.median(self._levels) + NEAR_DB

    def _become(self, state: GuardState) -> None:
        """Take a state, and wait for calm."""
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None
        self.state = state
        if state in CALM_S:
            self._calm = self._hass.loop.call_later(
                CALM_S[state], self._become, GuardState.QUIET
            )
        else:
            self.signs = []
        self._changed()
