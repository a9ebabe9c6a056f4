"""What a model understood by an utterance, read with care: it is only what a model says."""

from collections.abc import Mapping
from dataclasses import dataclass
import re

MAX_SLOTS = 12
MAX_SLOT = 200
_INTENT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SLOT = re.compile(r"[a-z][a-z_]{0,63}")


@dataclass(frozen=True)
class Intent:
    """What a model understood, as it says: an intent of Home Assistant and its slots."""

    name: str
    slots: Mapping[str, str | int]


def read_intent(value: object) -> Intent | None:
    """Read an intent; one that could not be Home Assistant's counts as none."""
    if not isinstance(value, dict):
        return None
    name, slots = value.get("name"), value.get("slots", {})
    if (
        not isinstance(name, str)
        or _INTENT.fullmatch(name) is None
        or not isinstance(slots, dict)
        or len(slots) > MAX_SLOTS
        or not all(
            _SLOT.fullmatch(slot) and _is_slot_value(given)
            for slot, given in slots.items()
        )
    ):
        return None
    return Intent(name, slots)


def _is_slot_value(value: object) -> bool:
    """Tell whether this is a whole number or a short line of text."""
    if isinstance(value, str):
        return len(value) <= MAX_SLOT and value.isprintable()
    return isinstance(value, int) and not isinstance(value, bool)
