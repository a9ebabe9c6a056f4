"""What is told and said of a timer."""

from collections.abc import Mapping
from typing import Any, Final

from homeassistant.components.intent import TimerInfo

_DONE: Final[Mapping[str, tuple[str, str]]] = {
    "en": ("Your timer is done.", "Your {name} timer is done."),
    "de": ("Der Timer ist abgelaufen.", "Der Timer {name} ist abgelaufen."),
    "fr": ("Le minuteur est terminé.", "Le minuteur {name} est terminé."),
    "es": ("El temporizador ha terminado.", "El temporizador {name} ha terminado."),
}


def done(timer: TimerInfo) -> str:
    """Return what is said when a timer has ended, in the language that set it."""
    language = timer.language.partition("-")[0].casefold()
    plain, named = _DONE.get(language, _DONE["en"])
    return named.format(name=timer.name) if timer.name else plain


def timer_attributes(timer: TimerInfo) -> dict[str, Any]:
    """Return what is told of a timer."""
    return {
        "id": timer.id,
        "name": timer.name,
        "seconds": timer.created_seconds,
        "seconds_left": timer.seconds_left,
        "running": timer.is_active,
    }
