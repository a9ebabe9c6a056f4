"""The intents that a model may ask for, and what each must say about its target."""

from dataclasses import dataclass, field
from enum import Enum, auto
from types import UnionType
from typing import Final

type SlotTypes = dict[str, type | UnionType]


class Unnamed(Enum):
    """What an intent acts on when it names no entity."""

    NOTHING = auto()
    """Nothing: without a name it cannot be done."""

    DOMAIN = auto()
    """A whole domain in an area, on a floor, or in the microphone's room."""

    ROOM = auto()
    """Its own domain in an area, on a floor, or in the microphone's room."""

    ONLY_ONE = auto()
    """The only one there is."""

    ASKED = auto()
    """Whatever is asked about: a domain, an area or a floor; nothing changes."""

    HOUSE = auto()
    """No entity at all."""


@dataclass(frozen=True)
class Allowed:
    """One intent. `slots`: what it may hold besides its target, and of which type.

    `domains`: whose names it may take; `wholes`: which it may take without a name;
    `places`: the slots that may say where.
    """

    unnamed: Unnamed
    domains: frozenset[str] = frozenset()
    wholes: frozenset[str] = frozenset()
    slots: SlotTypes = field(default_factory=dict)
    places: frozenset[str] = frozenset({"area", "floor"})

    @property
    def targets(self) -> frozenset[str]:
        """Return the slots that say what it acts on."""
        entities = frozenset({"name", "domain"} if self.domains else ())
        return self.places | entities


def _set(*domains: str) -> frozenset[str]:
    return frozenset(domains)


# Locks, valves and alarms are here so that the guard says why they are not touched.
_SWITCHED = _set(
    *("alarm_control_panel", "climate", "cover", "fan", "input_boolean", "light"),
    *("lock", "media_player", "switch", "valve"),
)
_STARTED = _set("button", "input_button", "scene", "script")
_READ = _SWITCHED | _set("binary_sensor", "person", "sensor")
_TIME: SlotTypes = {"hours": int, "minutes": int, "seconds": int}
_TIMER: SlotTypes = {"name": str}
_WHICH: SlotTypes = _TIMER | {f"start_{unit}": int for unit in _TIME}
_ITEM: SlotTypes = {"item": str}
_AREA = _set("area")


def _own(
    domain: str, unnamed: Unnamed = Unnamed.ROOM, **slots: type | UnionType
) -> Allowed:
    """Return an intent that acts on one domain."""
    return Allowed(unnamed, _set(domain), _set(domain), slots)


def _timer(slots: SlotTypes) -> Allowed:
    """Return an intent about timers, which are no entities."""
    return Allowed(Unnamed.HOUSE, slots=slots, places=_AREA)


def _house(slots: SlotTypes | None = None) -> Allowed:
    """Return an intent without a target."""
    return Allowed(Unnamed.HOUSE, slots=slots or {}, places=_set())


_LIST = Allowed(Unnamed.NOTHING, _set("todo"), slots=_ITEM, places=_set())
_PLAYING = _own("media_player")

ALLOWED: Final[dict[str, Allowed]] = {
    "HassTurnOn": Allowed(
        Unnamed.DOMAIN,
        _SWITCHED | _STARTED,
        _set("cover", "fan", "light"),
        {"device_class": str},
    ),
    "HassTurnOff": Allowed(
        Unnamed.DOMAIN, _SWITCHED, _set("cover", "fan", "light"), {"device_class": str}
    ),
    "HassSetPosition": Allowed(
        Unnamed.DOMAIN,
        _set("cover", "valve"),
        _set("cover"),
        {"position": int, "device_class": str},
    ),
    "HassLightSet": _own("light", brightness=int, color=str, temperature=int),
    "HassFanSetSpeed": _own("fan", percentage=int),
    "HassClimateGetTemperature": _own("climate"),
    "HassClimateSetTemperature": _own("climate", temperature=int),
    "HassClimateSetFanMode": _own("climate", fan_mode=str),
    "HassMediaPause": _PLAYING,
    "HassMediaUnpause": _PLAYING,
    "HassMediaNext": _PLAYING,
    "HassMediaPrevious": _PLAYING,
    "HassMediaPlayerMute": _PLAYING,
    "HassMediaPlayerUnmute": _PLAYING,
    "HassMediaSearchAndPlay": _own("media_player", search_query=str, media_class=str),
    "HassSetVolume": _own("media_player", volume_level=int),
    "HassSetVolumeRelative": _own("media_player", volume_step=int | str),
    "HassVacuumStart": _own("vacuum", Unnamed.ONLY_ONE),
    "HassVacuumReturnToBase": _own("vacuum", Unnamed.ONLY_ONE),
    # Where to clean is no place that a vacuum would have to be in.
    "HassVacuumCleanArea": Allowed(
        Unnamed.ONLY_ONE,
        _set("vacuum"),
        _set("vacuum"),
        {"area": str},
        places=_set(),
    ),
    "HassLawnMowerStartMowing": _own("lawn_mower", Unnamed.ONLY_ONE),
    "HassLawnMowerDock": _own("lawn_mower", Unnamed.ONLY_ONE),
    "HassGetState": Allowed(Unnamed.ASKED, _READ, _READ, {"state": str}),
    "HassGetWeather": _own("weather", Unnamed.ASKED),
    "HassShoppingListAddItem": _house(_ITEM),
    "HassShoppingListCompleteItem": _house(_ITEM),
    "HassListAddItem": _LIST,
    "HassListCompleteItem": _LIST,
    "HassListRemoveItem": _LIST,
    "HassStartTimer": _timer(_TIMER | _TIME),
    "HassIncreaseTimer": _timer(_TIMER | _TIME),
    "HassDecreaseTimer": _timer(_TIMER | _TIME),
    "HassCancelTimer": _timer(_WHICH),
    "HassCancelAllTimers": Allowed(Unnamed.ROOM, places=_AREA),
    "HassPauseTimer": _timer(_WHICH),
    "HassUnpauseTimer": _timer(_WHICH),
    "HassTimerStatus": _timer(_WHICH),
    "HassGetCurrentDate": _house(),
    "HassGetCurrentTime": _house(),
    "HassNevermind": _house(),
}
"""Never more than Home Assistant has sentences for: `HassRespond`, `HassBroadcast`
and commands for later are not among them."""

ALONE: Final = frozenset(
    name
    for name, allowed in ALLOWED.items()
    if len(allowed.wholes) == 1 == len(allowed.domains)
    and allowed.wholes.isdisjoint({"fan", "light"})
)
"""Intents for which Home Assistant itself picks one device, or its own few."""
