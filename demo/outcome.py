"""What comes of a sound: expected of a scene, and read back from the journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from demo.devices import STATES, Act
from demo.journal import Entry, Message, State

BASE = "earshot"
REFUSED = "refused: "
"""Before the reason, in the place of an intent's name."""


@dataclass(frozen=True)
class Outcome:
    """What a scene leads to; by default to nothing at all.

    `intents` are the names published, `sounds` the labels whose events began,
    `commands` what each device was told, as (device, command); in order. `states`
    are what entities say afterwards, as (slug, state).
    """

    intents: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    commands: tuple[tuple[str, str], ...] = ()
    states: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        """Describe it in a table's cell."""
        parts = [*self.intents, *self.sounds]
        parts += [f"{device} {value}" for device, value in self.commands]
        return ", ".join(parts) or "nothing"


NOTHING = Outcome()


@dataclass(frozen=True)
class Trace:
    """Something that must be in the journal: a topic's message or an entity's state."""

    kind: Literal["message", "state", "report"]
    where: str
    value: str

    def __str__(self) -> str:
        """Say where what was to be seen."""
        return f"{self.where} {self.value}".strip()

    def left_by(self, entry: Entry) -> bool:
        """Tell whether the entry is this trace."""
        if isinstance(entry, Message):
            return (
                self.kind == "message"
                and entry.topic == self.where
                and self.value in entry.payload
            )
        if isinstance(entry, State):
            return (
                self.kind == "state"
                and entry.entity == self.where
                and self.value in (entry.state, entry.attributes.get("event_type"))
            )
        return (
            self.kind == "report"
            and entry.kind == "report"
            and (entry.device, entry.value) == (self.where, self.value)
        )


def observed(entries: Iterable[Entry], microphone: str) -> Outcome:
    """Read what happened. Repeats stay repeats: nothing may be published twice.

    What was understood but refused counts, for a house that is only talked in
    should understand nothing.
    """
    intents: list[str] = []
    sounds: list[str] = []
    commands: list[tuple[str, str]] = []
    for entry in entries:
        if isinstance(entry, Act) and entry.kind == "command":
            commands.append((entry.device, entry.value))
        elif not isinstance(entry, Message):
            continue
        elif entry.topic == f"{BASE}/{microphone}/intent":
            content = entry.json()
            refused = content.get("refused")
            intents.append(f"{REFUSED}{refused}" if refused else str(content["intent"]))
        elif entry.topic == f"{BASE}/{microphone}/sound":
            event = entry.json()
            if event["state"] == "start":
                sounds.append(str(event["label"]))
    return Outcome(tuple(intents), tuple(sounds), tuple(commands))


def traces(
    outcome: Outcome,
    microphone: str,
    entities: dict[str, str],
    sensors: dict[str, str],
) -> list[Trace]:
    """List all that an outcome leaves behind, on topics, in entities and by devices.

    `entities` gives the entity of each device and that of the microphone's
    events as `event`; `sensors` the binary sensor of each label.
    """
    found: list[Trace] = []
    for intent in outcome.intents:
        found += [
            Trace("message", f"{BASE}/{microphone}/transcript", ""),
            Trace(
                "message",
                f"{BASE}/{microphone}/intent",
                intent.removeprefix(REFUSED),
            ),
        ]
        if not intent.startswith(REFUSED):
            found.append(Trace("message", f"{BASE}/intent/{intent}", intent))
    for label in outcome.sounds:
        found += [
            Trace("message", f"{BASE}/{microphone}/sound", label),
            Trace("message", f"{BASE}/{microphone}/sound/{label}", "ON"),
            Trace("state", entities["event"], label),
            Trace("state", sensors[label], "on"),
        ]
    for device, value in outcome.commands:
        found += [
            Trace("report", device, STATES[value]),
            Trace("state", entities[device], STATES[value].lower()),
        ]
    for slug, state in outcome.states:
        found.append(Trace("state", entities[slug], state))
    return found


def missing(wanted: Iterable[Trace], entries: Iterable[Entry]) -> list[Trace]:
    """Return the traces that nothing left."""
    seen = list(entries)
    return [
        trace for trace in wanted if not any(trace.left_by(entry) for entry in seen)
    ]
