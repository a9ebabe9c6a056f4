"""What is done only after a spoken yes: what was asked, and what was answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
import re
from typing import Any, Final, Literal

from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import intent

from .client import Transcript
from .client.vocabulary import MAX_PHRASE
from .guard import Reach

ANSWER_S = 15.0
"""An answer begins at most so long after the command, or after the spoken question."""
ARRIVAL_S = 30.0
"""What the server tells later than this after the question is no answer to it."""

NAMED = 3
"""Of more entities than this, only the number is said."""

type Answer = Literal["yes", "no"]

type Source = Literal["sentence", "model", "trigger"]
"""Who understood a command: Home Assistant's sentences, the model that heard it, or an
automation's sentence trigger."""


@dataclass(frozen=True)
class Pending:
    """A command that waits for its yes; `targets` is all that it acted on when asked.

    `protected`: the code words are its only yes, where there are some.
    """

    intent: str
    slots: dict[str, Any]
    targets: frozenset[str]
    source: Source
    asked: Transcript
    protected: bool = False


@dataclass
class Question:
    """What one microphone was asked last, until anything else is said there."""

    pending: Pending | None = field(default=None, init=False)
    _until: float = field(default=0.0, init=False)
    _from: datetime | None = field(default=None, init=False)

    def ask(self, hass: HomeAssistant, pending: Pending) -> None:
        """Wait for an answer."""
        self.pending = pending
        self._until = hass.loop.time() + ARRIVAL_S
        self._from = pending.asked.end

    def spoken(self, hass: HomeAssistant, until: datetime) -> None:
        """Count from where the question has been spoken."""
        if self._from is not None and until > self._from:
            self._until += (until - self._from).total_seconds()
            self._from = until

    def open_s(self, now: datetime) -> float:
        """Return for how long an answer may begin from now on."""
        return ANSWER_S + max(0.0, ((self._from or now) - now).total_seconds())

    def waits(self, hass: HomeAssistant) -> bool:
        """Tell whether the house waits for an answer."""
        return self.pending is not None and hass.loop.time() <= self._until

    def take(self, hass: HomeAssistant, said: Transcript) -> Pending | None:
        """Return what this may be the answer to; whatever it is, it was the only one."""
        fits = self.fits(hass, said)
        pending, self.pending = self.pending, None
        return pending if fits else None

    def fits(self, hass: HomeAssistant, said: Transcript) -> bool:
        """Tell whether this may be the answer by its time."""
        if self.pending is None or not self.waits(hass):
            return False
        latest = (self._from or self.pending.asked.end) + timedelta(seconds=ANSWER_S)
        return self.pending.asked.end <= said.start <= latest

    def withdraw(self, asked: Transcript) -> None:
        """Ask no longer, if this is what was asked about."""
        if self.pending is not None and self.pending.asked is asked:
            self.pending = None


@dataclass(frozen=True)
class _Words:
    """One language: answers, and the question's parts."""

    yes: frozenset[str]
    no: frozenset[str]
    do: Mapping[tuple[str, str], str]
    """What would be done to `{what}`, by intent and domain; "" is any other."""
    many: str
    including: str
    ask: str
    ask_code: str
    silent: str


def _set(*answers: str) -> frozenset[str]:
    return frozenset(answers)


_ON, _OFF, _MOVE = (
    intent.INTENT_TURN_ON,
    intent.INTENT_TURN_OFF,
    intent.INTENT_SET_POSITION,
)


def _do(
    on: str,
    off: str,
    lock: str,
    unlock: str,
    opened: str,
    closed: str,
    move: str,
    run: str,
) -> Mapping[tuple[str, str], str]:
    """Return verbs by intent and domain."""
    return {
        (_ON, ""): on,
        (_OFF, ""): off,
        (_ON, "lock"): lock,
        (_OFF, "lock"): unlock,
        (_MOVE, ""): move,
        **{(_ON, domain): opened for domain in ("cover", "valve")},
        **{(_OFF, domain): closed for domain in ("cover", "valve")},
        (_ON, "script"): run,
        ("", "automation"): run,
        ("", ""): move,
    }


_LANGUAGES: Final[Mapping[str, _Words]] = {
    "en": _Words(
        _set(
            *("yes", "yes please", "yes do it", "yes do it please", "yes go ahead"),
            *("do it", "confirm"),
        ),
        _set(
            *("no", "no please", "no thanks", "no thank you", "no don't do it"),
            *("don't do it", "cancel", "cancel that"),
        ),
        _do(
            *("Turn on {what}", "Turn off {what}", "Lock {what}", "Unlock {what}"),
            *("Open {what}", "Close {what}", "Change {what}", "Run {what}"),
        ),
        "{count} devices",
        "{what}, including {protected}",
        "{deed}? Say yes please, or no thank you.",
        "{deed}? Say the code words, or no thank you.",
        "{what} did not answer.",
    ),
    "de": _Words(
        _set("ja", "ja bitte", "ja mach das", "mach das", "bestätigen", "bestätigt"),
        _set("nein", "nein danke", "lass das", "nicht", "abbrechen"),
        _do(
            *("{what} einschalten", "{what} ausschalten", "{what} abschließen"),
            *("{what} aufschließen", "{what} öffnen", "{what} schließen"),
            *("{what} verändern", "{what} ausführen"),
        ),
        "{count} Geräte",
        "{what} mit {protected}",
        "{deed}? Sag ja oder nein.",
        "{deed}? Sag die Codewörter oder nein.",
        "{what} antwortet nicht.",
    ),
    "fr": _Words(
        _set("oui", "oui s'il te plaît", "oui vas-y", "vas-y", "je confirme"),
        _set("non", "non merci", "annule", "annuler", "ne le fais pas"),
        _do(
            *("Allumer {what}", "Éteindre {what}", "Verrouiller {what}"),
            *("Déverrouiller {what}", "Ouvrir {what}", "Fermer {what}"),
            *("Changer {what}", "Lancer {what}"),
        ),
        "{count} appareils",
        "{what}, dont {protected}",
        "{deed} ? Dites oui ou non.",
        "{deed} ? Dites les mots de code ou non.",
        "{what} ne répond pas.",
    ),
    "es": _Words(
        _set("sí", "si", "sí por favor", "sí hazlo", "hazlo", "confirmo", "confirmar"),
        _set("no", "no gracias", "no lo hagas", "cancela", "cancelar"),
        _do(
            *("¿Encender {what}", "¿Apagar {what}", "¿Bloquear {what}"),
            *("¿Desbloquear {what}", "¿Abrir {what}", "¿Cerrar {what}"),
            *("¿Cambiar {what}", "¿Ejecutar {what}"),
        ),
        "{count} dispositivos",
        "{what}, incluido {protected}",
        "{deed}? Diga sí o no.",
        "{deed}? Diga las palabras clave o no.",
        "{what} no responde.",
    ),
}


def plain(text: str) -> str:
    """Return the words of a text, without case and marks."""
    marks = str.maketrans("’", "'", ".,;:!?¡¿")
    return " ".join(text.casefold().translate(marks).split())


HIDDEN: Final = "***"
"""What is published instead of the code words."""

_CODE: Final = re.compile(r"(?:[^\W\d_]|')+(?: (?:[^\W\d_]|')+){1,5}")


def usable_code(words: str) -> bool:
    """Tell whether these can be code words: heard as they are, and no common answer."""
    answers = (answer for one in _LANGUAGES.values() for answer in one.yes | one.no)
    return (
        _CODE.fullmatch(words) is not None
        and len(words) <= MAX_PHRASE
        and plain(words) not in answers
    )


def says(said: Transcript, code_words: str | None) -> bool:
    """Tell whether a text is the code words."""
    return code_words is not None and plain(said.text) == plain(code_words)


def begins(text: str, code_words: str | None) -> bool:
    """Tell whether a text holds the code words, or ends with how they begin."""
    said, code = plain(text), plain(code_words or "")
    ends = (said[found.start() :] for found in re.finditer(r"\S+", said))
    return bool(code) and (code in said or any(map(code.startswith, ends)))


def answer(said: Transcript, code_words: str | None = None) -> Answer | None:
    """Return what a text answers; None if it is no answer, but something else.

    With code words only they agree: any other yes declines.
    """
    words = _words(said.language)
    text = plain(said.text)
    if code_words is not None and text in words.yes | {plain(code_words)}:
        return "yes" if text == plain(code_words) else "no"
    if text in words.yes:
        return "yes"
    return "no" if text in words.no else None


def question_about(
    language: str, intent_type: str, scope: Reach, code_words: bool = False
) -> str:
    """Return a question that names what would be done, in words of our own.

    Names are the home's; nothing that was said is repeated.
    """
    words = _words(language)
    protected = [one for one in scope.entities if one.entity_id in scope.protected]
    # What a scripted intent touches is all that is known of it.
    named = scope.named or protected
    what = _names(words, named)
    if hidden := [one for one in protected if one not in named]:
        what = words.including.format(what=what, protected=_names(words, hidden))
    domains = {state.domain for state in named}
    domain = domains.pop() if len(domains) == 1 else ""
    kinds = ((intent_type, domain), (intent_type, ""), ("", domain), ("", ""))
    deed = next(words.do[kind] for kind in kinds if kind in words.do)
    text = deed.format(what=what)
    ask = words.ask_code if code_words else words.ask
    return ask.format(deed=text[0].upper() + text[1:])


def silence_of(language: str, names: Sequence[str]) -> str:
    """Return that devices did not answer, in words of our own."""
    return _words(language).silent.format(what=", ".join(sorted(names)))


def aloud(question: str) -> str:
    """Return a question without the answers, which a microphone would hear given."""
    return question.partition("?")[0] + "?"


def _names(words: _Words, states: list[State] | tuple[State, ...]) -> str:
    """Return a few names, or how many there are."""
    if len(states) > NAMED:
        return words.many.format(count=len(states))
    return ", ".join(sorted(state.name for state in states))


def _words(language: str) -> _Words:
    """Return a language's words, or the English ones."""
    base = language.partition("-")[0].casefold()
    return _LANGUAGES.get(base, _LANGUAGES["en"])
