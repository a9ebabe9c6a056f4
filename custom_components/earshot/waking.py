"""What wakes a microphone: words and gestures, of what the server hears."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .client import Info, Wakes, WakeWord
from .const import CONF_WAKE


@dataclass(frozen=True)
class Waking:
    """The chosen words and gestures; `needed` says that some were chosen."""

    words: tuple[WakeWord, ...]
    gestures: tuple[str, ...]
    needed: bool

    @property
    def names(self) -> list[str]:
        """Return all that wakes."""
        return [*(word.name for word in self.words), *self.gestures]

    @property
    def possible(self) -> bool:
        """Return False if the server hears nothing of what was chosen.

        Then nothing may be obeyed: it would be obeyed without a wake.
        """
        return bool(self.names) or not self.needed

    def wakes(self, cutoffs: Mapping[str, float]) -> Wakes:
        """Return what to ask the server for."""
        return {name: cutoffs.get(name) for name in self.names}


def waking(data: Mapping[str, Any], info: Info) -> Waking:
    """Return what wakes a microphone."""
    chosen: list[str] = data.get(CONF_WAKE, [])
    return Waking(
        tuple(word for word in info.wake_words if word.name in chosen),
        tuple(slug for slug in gestures(info) if slug in chosen),
        bool(chosen),
    )


def gestures(info: Info) -> dict[str, str]:
    """Return the names of the gestures that may wake, by label.

    A server too old for wake words would listen always.
    """
    labels = info.sounds.labels if info.sounds and info.wake_words else ()
    return {label.slug: label.name for label in labels if label.is_gesture}


def choices(info: Info) -> dict[str, str]:
    """Return how everything is called that may wake a microphone."""
    return {word.name: word.phrase for word in info.wake_words} | gestures(info)
