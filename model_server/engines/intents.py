"""The intents of Home Assistant that a model may name, and what their slots may hold.

Facts about names and slots: `home_assistant_intents` (intents.json and the English
sentences) and the intent handlers of Home Assistant 2026.10. Left out on purpose:
`HassRespond` and `HassBroadcast`, which would say a model's own words aloud, and the
slot `conversation_command` of timers, which is a command that runs later, unchecked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

MAX_ITEM: Final = 100
"""Characters of a shopping item, a timer's name or a title."""


@dataclass(frozen=True)
class Name:
    """A name of an entity of these domains."""

    domains: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """One of these domains, if the home has it."""

    domains: tuple[str, ...]


@dataclass(frozen=True)
class PlaceName:
    """A name of an area or a floor."""

    kind: Literal["area", "floor"]


@dataclass(frozen=True)
class Choice:
    """One of these words."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Whole:
    """A whole number from minimum to maximum."""

    minimum: int
    maximum: int


@dataclass(frozen=True)
class Words:
    """Any words, up to `MAX_ITEM` characters."""


Value: TypeAlias = Name | Domain | PlaceName | Choice | Whole | Words
Slots: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True)
class Form:
    """One combination of slots with which an intent makes sense.

    `needs`: domains of which the home must have one; empty where it needs none.
    """

    intent: str
    required: Slots = field(default_factory=dict)
    optional: Slots = field(default_factory=dict)
    needs: tuple[str, ...] = ()


AREA: Final = PlaceName("area")
FLOOR: Final = PlaceName("floor")
PERCENT: Final = Whole(0, 100)

SWITCHED: Final = (
    *("light", "switch", "fan", "media_player", "input_boolean", "climate"),
    *("cover", "valve", "lock"),
)
STARTED: Final = ("scene", "script", "button", "input_button")
READ: Final = (
    *("sensor", "binary_sensor", "light", "switch", "fan", "cover", "lock", "valve"),
    *("climate", "media_player", "person"),
)
COLORS: Final = Choice(
    (
        "white",
        "black",
        "red",
        "orange",
        "yellow",
        "green",
        "blue",
        "purple",
        "brown",
        "pink",
        "turquoise",
    )
)
STATES: Final = Choice(
    ("on", "off", "open", "closed", "locked", "unlocked", "home", "not_home")
)
COVER_CLASSES: Final = Choice(
    (
        "awning",
        "blind",
        "curtain",
        "door",
        "garage",
        "gate",
        "shade",
        "shutter",
        "window",
    )
)
FAN_MODES: Final = Choice(
    ("auto", "on", "off", "low", "medium", "high", "top", "middle", "focus", "diffuse")
)
MEDIA_CLASSES: Final = Choice(
    ("artist", "album", "track", "playlist", "podcast", "movie", "tv_show")
)
_TIME: Final[Slots] = {
    "hours": Whole(0, 99),
    "minutes": Whole(0, 999),
    "seconds": Whole(0, 999),
}
_WHICH_TIMER: Final[Slots] = {
    "name": Words(),
    "area": AREA,
    **{f"start_{unit}": value for unit, value in _TIME.items()},
}

MEANINGS: Final = {
    "HassTurnOn": "turn on, open, lock, start or press",
    "HassTurnOff": "turn off, close or unlock",
    "HassLightSet": "brightness in percent, color, or color temperature in kelvin",
    "HassSetPosition": "how far a cover is open, in percent",
    "HassFanSetSpeed": "speed of a fan in percent",
    "HassGetState": "a question about a state",
    "HassGetWeather": "a question about the weather",
    "HassGetCurrentTime": "what time is it",
    "HassGetCurrentDate": "what day is it",
    "HassClimateGetTemperature": "how warm is it",
    "HassClimateSetTemperature": "set a temperature in degrees",
    "HassClimateSetFanMode": "fan mode of a heating or cooling",
    "HassMediaPause": "pause",
    "HassMediaUnpause": "go on playing",
    "HassMediaNext": "next track",
    "HassMediaPrevious": "previous track",
    "HassMediaPlayerMute": "mute",
    "HassMediaPlayerUnmute": "unmute",
    "HassMediaSearchAndPlay": "play what is searched for",
    "HassSetVolume": "volume in percent",
    "HassSetVolumeRelative": "louder or quieter",
    "HassVacuumStart": "start vacuuming",
    "HassVacuumReturnToBase": "send the vacuum to its base",
    "HassVacuumCleanArea": "vacuum an area",
    "HassLawnMowerStartMowing": "start mowing",
    "HassLawnMowerDock": "send the mower to its dock",
    "HassShoppingListAddItem": "add to the shopping list",
    "HassShoppingListCompleteItem": "check off the shopping list",
    "HassListAddItem": "add to a list",
    "HassListCompleteItem": "check off a list",
    "HassListRemoveItem": "remove from a list",
    "HassStartTimer": "start a timer",
    "HassCancelTimer": "cancel a timer",
    "HassCancelAllTimers": "cancel every timer",
    "HassIncreaseTimer": "more time for a timer",
    "HassDecreaseTimer": "less time for a timer",
    "HassPauseTimer": "pause a timer",
    "HassUnpauseTimer": "resume a timer",
    "HassTimerStatus": "how long a timer still runs",
    "HassNevermind": "never mind",
}
"""Each intent and what people want by it, as a model is told."""


def _somewhere(
    intent: str,
    domains: tuple[str, ...],
    required: Slots | None = None,
    optional: Slots | None = None,
    *,
    floors: bool = True,
) -> Iterator[Form]:
    """An intent for a named entity, an area, a floor, or the room where it is said."""
    required, optional = required or {}, optional or {}
    name: Slots = {"name": Name(domains)}
    yield Form(intent, {**name, **required}, {"area": AREA, **optional}, domains)
    yield Form(intent, {"area": AREA, **required}, optional, domains)
    if floors:
        yield Form(intent, {"floor": FLOOR, **required}, optional, domains)
    yield Form(intent, required, optional, domains)


def _on_off(intent: str, more: tuple[str, ...] = ()) -> Iterator[Form]:
    domains = (*SWITCHED, *more)
    yield Form(intent, {"name": Name(domains)}, {"area": AREA, "floor": FLOOR})
    kinds: tuple[tuple[Slots, Slots], ...] = (
        ({"domain": Domain(("light", "fan"))}, {}),
        ({"domain": Domain(("cover",))}, {"device_class": COVER_CLASSES}),
    )
    places: tuple[Slots, ...] = ({"area": AREA}, {"floor": FLOOR}, {})
    for kind, optional in kinds:
        for place in places:
            yield Form(intent, {**place, **kind}, optional)


def _durations(intent: str, optional: Slots) -> Iterator[Form]:
    """At least one of hours, minutes and seconds."""
    units = list(_TIME)
    for first, unit in enumerate(units):
        rest = {other: _TIME[other] for other in units[first + 1 :]}
        yield Form(intent, {unit: _TIME[unit]}, {**rest, **optional})


def _all() -> Iterator[Form]:
    yield from _on_off("HassTurnOn", STARTED)
    yield from _on_off("HassTurnOff")
    light = ("light",)
    yield from _somewhere("HassLightSet", light, {"brightness": PERCENT})
    yield from _somewhere(
        "HassLightSet", light, {"color": COLORS}, {"brightness": PERCENT}
    )
    kelvin = {"temperature": Whole(1000, 12000)}
    yield from _somewhere("HassLightSet", light, kelvin)
    position = {"position": PERCENT}
    yield Form(
        "HassSetPosition",
        {"name": Name(("cover", "valve")), **position},
        {"area": AREA, "floor": FLOOR},
    )
    places: tuple[Slots, ...] = ({"area": AREA}, {"floor": FLOOR}, {})
    for place in places:
        yield Form(
            "HassSetPosition",
            {**place, "domain": Domain(("cover",)), **position},
            {"device_class": COVER_CLASSES},
        )
    yield from _somewhere("HassFanSetSpeed", ("fan",), {"percentage": PERCENT})
    yield Form("HassGetState", {"name": Name(READ)}, {"area": AREA, "state": STATES})
    asked = {"domain": Domain(("light", "fan", "switch", "cover", "lock", "person"))}
    for place in places:
        yield Form("HassGetState", {**place, **asked, "state": STATES})
    yield Form("HassGetWeather", {}, {"name": Name(("weather",))}, ("weather",))
    yield Form("HassGetCurrentTime")
    yield Form("HassGetCurrentDate")
    climate = ("climate",)
    yield from _somewhere("HassClimateGetTemperature", climate)
    warmth = {"temperature": PERCENT}
    yield from _somewhere("HassClimateSetTemperature", climate, warmth)
    yield from _somewhere("HassClimateSetFanMode", climate, {"fan_mode": FAN_MODES})
    player = ("media_player",)
    for intent in (
        "Pause",
        "Unpause",
        "Next",
        "Previous",
        "PlayerMute",
        "PlayerUnmute",
    ):
        yield from _somewhere(f"HassMedia{intent}", player, floors=False)
    yield from _somewhere(
        "HassMediaSearchAndPlay",
        player,
        {"search_query": Words()},
        {"media_class": MEDIA_CLASSES},
        floors=False,
    )
    volume = {"volume_level": PERCENT}
    yield from _somewhere("HassSetVolume", player, volume, floors=False)
    step = {"volume_step": Choice(("up", "down"))}
    yield from _somewhere("HassSetVolumeRelative", player, step)
    percent = {"volume_step": Whole(-100, 100)}
    yield from _somewhere("HassSetVolumeRelative", player, percent)
    vacuum = ("vacuum",)
    yield from _somewhere("HassVacuumStart", vacuum)
    yield from _somewhere("HassVacuumReturnToBase", vacuum, floors=False)
    cleaned: Slots = {"area": AREA}
    yield Form("HassVacuumCleanArea", cleaned, {"name": Name(vacuum)}, vacuum)
    for intent in ("HassLawnMowerStartMowing", "HassLawnMowerDock"):
        mower = ("lawn_mower",)
        yield Form(intent, {}, {"name": Name(mower)}, mower)
    item: Slots = {"item": Words()}
    for intent in ("HassShoppingListAddItem", "HassShoppingListCompleteItem"):
        yield Form(intent, item, {}, ("todo",))
    for intent in ("HassListAddItem", "HassListCompleteItem", "HassListRemoveItem"):
        yield Form(intent, {"name": Name(("todo",)), **item})
    yield from _durations("HassStartTimer", {"name": Words()})
    yield from _durations("HassIncreaseTimer", {"name": Words(), "area": AREA})
    yield from _durations("HassDecreaseTimer", {"name": Words(), "area": AREA})
    for intent in ("Cancel", "Pause", "Unpause"):
        yield Form(f"Hass{intent}Timer", {}, _WHICH_TIMER)
    yield Form("HassTimerStatus", {}, _WHICH_TIMER)
    yield Form("HassCancelAllTimers", {}, {"area": AREA})
    yield Form("HassNevermind")


FORMS: Final = tuple(_all())
"""Every intent in every combination of slots that a model may give."""
