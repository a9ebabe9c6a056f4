"""A model's intent: checked against the house, completed by the room; and executed."""

from collections.abc import Mapping
from typing import Any

from homeassistant.core import Context, HomeAssistant, State
from homeassistant.helpers import area_registry as ar, floor_registry as fr, intent

from .allowed import ALLOWED, Allowed, Unnamed
from .client import Transcript
from .const import ASSISTANT
from .responses import async_speech
from .vocabulary import async_device_area_id

type Slots = dict[str, str | int | list[str]]


class UnusableIntent(Exception):
    """A model's intent that names nothing in this house, or does not limit itself."""


def complete(
    hass: HomeAssistant,
    name: str,
    given: Mapping[str, str | int],
    device_id: str | None,
) -> Slots:
    """Return an intent's slots with its target, limited and known in every part.

    Raises UnusableIntent for an intent or a slot that no model may give, for a
    name, an area or a floor that is not of this house, and where it would be left
    to Home Assistant what to act on.
    """
    allowed = ALLOWED.get(name)
    if allowed is None or not _may_hold(allowed, given):
        raise UnusableIntent
    slots: Slots = {**given}
    if "name" not in slots:
        slots |= _instead(hass, allowed, slots, device_id)
    _check_places(hass, slots)
    if not allowed.domains:
        return slots
    found = _targets(hass, allowed, slots)
    alone = allowed.unnamed is Unnamed.ONLY_ONE and "name" not in slots
    if not found or (alone and len(found) > 1):
        raise UnusableIntent
    if allowed.unnamed is Unnamed.DOMAIN and "domain" not in slots:
        # Else it would be anything of this name, also what no sentence switches.
        slots["domain"] = sorted({state.domain for state in found})
    return slots


async def async_execute(
    hass: HomeAssistant,
    name: str,
    slots: Mapping[str, Any],
    transcript: Transcript,
    device_id: str | None,
) -> intent.IntentResponse:
    """Let Home Assistant do it, as it does what it understood itself.

    Raises intent.IntentError.
    """
    room = async_device_area_id(hass, device_id)
    preferred = {} if room is None else {"preferred_area_id": {"value": room}}
    response = await intent.async_handle(
        hass,
        ASSISTANT,
        name,
        {slot: {"value": value, "text": str(value)} for slot, value in slots.items()}
        | preferred,
        transcript.text,
        Context(),
        transcript.language,
        assistant=ASSISTANT,
        device_id=device_id,
    )
    if not response.speech:
        response.async_set_speech(await async_speech(hass, name, slots, response))
    return response


def _may_hold(allowed: Allowed, given: Mapping[str, str | int]) -> bool:
    """Tell whether each slot is one of the intent's, and of its type."""
    for slot, value in given.items():
        if slot in allowed.slots:
            if not isinstance(value, allowed.slots[slot]):
                return False
        # Home Assistant takes blanks for no limit at all, and "all" for everything.
        elif slot not in allowed.targets or str(value).strip().casefold() in (
            "",
            "all",
        ):
            return False
    return True


def _instead(
    hass: HomeAssistant, allowed: Allowed, slots: Slots, device_id: str | None
) -> Slots:
    """Return what limits an intent that names no entity, besides its own slots."""
    placed = not allowed.places.isdisjoint(slots)
    if allowed.unnamed is Unnamed.NOTHING:
        raise UnusableIntent
    if allowed.unnamed is Unnamed.DOMAIN and "domain" not in slots:
        raise UnusableIntent
    if allowed.unnamed in (Unnamed.DOMAIN, Unnamed.ROOM) and not placed:
        area_id = async_device_area_id(hass, device_id)
        if area_id is None:
            raise UnusableIntent
        area = ar.async_get(hass).async_get_area(area_id)
        return {"area": area.name if area else area_id}
    if allowed.unnamed is Unnamed.ASKED and "domain" not in slots and not placed:
        if len(allowed.wholes) > 1:
            raise UnusableIntent
    return {}


def _check_places(hass: HomeAssistant, slots: Slots) -> None:
    """Raise for an area or a floor that is not exactly one."""
    area, floor = slots.get("area"), slots.get("floor")
    if area is not None:
        if len(list(intent.find_areas(str(area), ar.async_get(hass)))) != 1:
            raise UnusableIntent
    if floor is not None:
        if len(list(intent.find_floors(str(floor), fr.async_get(hass)))) != 1:
            raise UnusableIntent


def _targets(hass: HomeAssistant, allowed: Allowed, slots: Slots) -> list[State]:
    """Return the exposed entities that are meant, of the domains that may be."""
    domains = allowed.domains if "name" in slots else allowed.wholes
    if "domain" in slots:
        domains &= {str(slots["domain"])}
    if not domains:
        return []
    where = {slot: str(slots[slot]) for slot in allowed.places & slots.keys()}
    constraints = intent.MatchTargetsConstraints(
        name=str(slots["name"]) if "name" in slots else None,
        area_name=where.get("area"),
        floor_name=where.get("floor"),
        domains=domains,
        assistant=ASSISTANT,
        allow_duplicate_names=True,
    )
    return intent.async_match_targets(hass, constraints).states
