"""What the demo shows: the live timeline, and at the end the expected against the observed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
import json
import re
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from demo.devices import Act
from demo.journal import Entry, Message, State
from demo.outcome import BASE

if TYPE_CHECKING:
    from demo.stage import Played

_STYLES = {
    "played": "bold",
    "heard": "cyan",
    "understood": "green",
    "published": "blue",
    "device": "magenta",
    "home": "yellow",
}


def step(
    entry: Entry, microphone: str, names: dict[str, str]
) -> tuple[str, str] | None:
    """Tell an entry as (stage, what); None for what is no news to a reader.

    `names` gives the names of devices, and the entities whose states are told.
    """
    if isinstance(entry, Act):
        name = names.get(entry.device, entry.device)
        says = "receives" if entry.kind == "command" else "reports"
        return "device", f"{name} {says} {entry.value}"
    if isinstance(entry, State):
        if entry.entity not in names:
            return None
        return (
            "home",
            f"{entry.entity} is {entry.attributes.get('event_type') or entry.state}",
        )
    return _message(entry, microphone)


def _message(message: Message, microphone: str) -> tuple[str, str] | None:
    own = f"{BASE}/{microphone}"
    if message.topic == f"{own}/transcript":
        content = message.json()
        return "heard", f"“{content['text']}” ({content['confidence']:.2f})"
    if message.topic == f"{own}/sound":
        content = message.json()
        if content["state"] == "end":
            return "heard", f"{content['label']} is over"
        return "heard", f"{content['label']} ({content['score']:.2f})"
    if message.topic == f"{own}/intent":
        content = message.json()
        if content["refused"]:
            told = f"refused: {content['refused']}"
            if content["refused"] == "needs_confirmation":
                # How to answer is left out: the picture is not that wide.
                question, _, _ = content["response"].partition("?")
                told += f", asks “{question}?”"
            return "understood", told
        slots = ", ".join(f"{k}: {_slot(v)}" for k, v in content["slots"].items())
        return "understood", f"{content['intent']} {slots}".rstrip()
    if message.topic.startswith((f"{own}/sound/", f"{BASE}/intent/")):
        return "published", f"{message.topic} {_short(message.payload)}".rstrip()
    return None


def _slot(value: object) -> str:
    return (
        str(value["value"])
        if isinstance(value, dict) and "value" in value
        else str(value)
    )


def _short(payload: str) -> str:
    try:
        content = json.loads(payload)
    except ValueError:
        return payload
    return "" if isinstance(content, dict) else str(content)


class Timeline:
    """Prints what happens as it happens, on every console in `consoles`."""

    def __init__(
        self, consoles: list[Console], microphone: str, names: dict[str, str]
    ) -> None:
        """Tell of one microphone; `names` as for `step`."""
        self.consoles = consoles
        self._microphone = microphone
        self._names = names
        self._start = 0.0
        self._reference: float | None = None

    def scene(self, number: int, count: int, title: str, by: str) -> None:
        """Head a scene; nothing has a latency before it sounds."""
        self._reference = None
        self._print(
            Text.assemble(
                (f"\n{number}/{count} ", "dim"), (title, "bold"), (f"  {by}", "dim")
            )
        )

    def playing(self, start: float, seconds: float, reference: float) -> None:
        """Note when a scene sounds and from when its latencies count."""
        self._start = start
        self._reference = reference
        self._line(start, "played", f"{seconds:.1f} s of sound", None)

    def tell(self, entry: Entry) -> None:
        """Print an entry, if it is news."""
        told = step(entry, self._microphone, self._names)
        if told is not None:
            stage, what = told
            after = None
            if self._reference is not None and entry.time > self._start:
                after = entry.time - self._reference
            self._line(entry.time, stage, what, after)

    def _line(self, time: float, stage: str, what: str, after: float | None) -> None:
        clock = datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S.%f")[:-4]
        latency = "" if after is None else f"{after:+8.2f} s"
        self._print(
            Text.assemble(
                (f"  {clock} ", "dim"),
                (f"{latency:>10}  ", "bold" if after is not None else ""),
                (f"{stage:<11}", _STYLES[stage]),
                what,
            )
        )

    def _print(self, text: Text) -> None:
        for console in self.consoles:
            console.print(text, soft_wrap=True)


def picture(painter: Console) -> str:
    """Return what a recording console was told as SVG that fetches no fonts."""
    svg = painter.export_svg(title="scripts/demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def summary(plays: Sequence[Played], microphone: str) -> Table:
    """Make the table of expected against observed."""
    table = Table(title="Expected against observed", title_justify="left")
    for column in ("scene", "by", "expected", "observed"):
        table.add_column(column, overflow="fold")
    table.add_column("after", justify="right")
    table.add_column("")
    for played in plays:
        after = played.command_latency_s()
        if after is None:
            after = played.event_latency_s(microphone)
        observed = [str(played.observed)]
        if played.observed == played.scene.expected and played.missing:
            observed += ["but not seen:", *map(str, played.missing)]
        observed += [f"{label} stays on" for label in played.stuck]
        table.add_row(
            played.scene.title,
            played.scene.by,
            str(played.scene.expected),
            "\n".join(observed),
            "" if after is None else f"{after:.2f} s",
            Text("✓", "green") if played.as_expected else Text("✗", "bold red"),
        )
    return table
