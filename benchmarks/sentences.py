"""Which of Home Assistant's English sentences can be said to a home, and are then heard.

`python -m benchmarks.sentences` draws a sentence from every template that fits a home of 60
entities, looks whether the grammar has it, has a voice of Debian say it, and reads what the
recogniser heard as Home Assistant reads it. The package ships templates, but no test
sentences of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import json
from pathlib import Path
import random
import tempfile
from typing import Annotated

from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    TextChunk,
)
from hassil.intents import IntentData, Intents, RangeSlotList, SlotList, TextSlotList
from rich.console import Console
from rich.progress import track
from rich.table import Table
import typer

from benchmarks.spoken import VOICES, say
from model_server.engines.base import Vocabulary
from model_server.engines.embedded.home import compile_home
from model_server.engines.embedded.sentences import fits
from model_server.engines.embedded.speech import EmbeddedRecognizer
from model_server.engines.embedded.spelling import Spelling
from model_server.engines.embedded.templates import household_items, read_templates
from model_server.evaluation.reading import Meaning, Reading
from model_server.listen.listener import transcribe
from tests.server.homes import family_home

TRIES = 30
"""Draws from a template until one of them is what it is of, and can be said."""
_OPEN = {"shopping_list_item", "todo_list_item", "search_query"}


@dataclass(frozen=True)
class Drawn:
    """A template's sentence that Home Assistant takes for its intent; can it be said?"""

    intent: str
    template: str
    text: str
    meaning: Meaning
    sayable: bool


class Sampler:
    """Draws sentences from templates, with the names of one home."""

    def __init__(self, home: Vocabulary, seed: int = 0) -> None:
        """Take the names, and a seed for what is drawn."""
        self._random = random.Random(seed)
        self.intents: Intents = read_templates("en")
        self._values: Mapping[str, list[str]] = {
            "name": [name for one in home.entities for name in one.names],
            "area": [name for one in home.areas for name in one.names],
            "floor": [name for one in home.floors for name in one.names],
        }

    def draw(self, expression: Expression, block: IntentData) -> str | None:
        """A sentence of a template; None where it has a list that the home lacks."""
        if isinstance(expression, TextChunk):
            return expression.original_text
        if isinstance(expression, ListReference):
            return self._value(expression.list_name, block)
        if isinstance(expression, RuleReference):
            rule = block.expansion_rules.get(
                expression.rule_name,
                self.intents.expansion_rules.get(expression.rule_name),
            )
            return None if rule is None else self.draw(rule.expression, block)
        assert isinstance(expression, Group)
        if isinstance(expression, Alternative):
            return self.draw(self._random.choice(expression.items), block)
        parts = [self.draw(item, block) for item in expression.items]
        if isinstance(expression, Permutation):
            self._random.shuffle(parts)
        gap = " " if isinstance(expression, Permutation) else ""
        known = [part for part in parts if part is not None]
        return gap.join(known) if len(known) == len(parts) else None

    def _value(self, name: str, block: IntentData) -> str | None:
        values: SlotList | None = block.slot_lists.get(
            name, self.intents.slot_lists.get(name)
        )
        if name in _OPEN:
            return self._random.choice(household_items())
        if isinstance(values, RangeSlotList):
            return f"{self._random.choice(list(values.get_numbers())):g}"
        if isinstance(values, TextSlotList):
            chosen = self._random.choice(values.values)
            return self.draw(chosen.text_in, block)
        choices = self._values.get(name)
        return self._random.choice(choices) if choices else None


def walk(home: Vocabulary, every: int = 1, seed: int = 0) -> Iterator[Drawn]:
    """A sentence of each template that fits the home, one in `every`; sayable if one is."""
    sampler = Sampler(home, seed)
    reading = Reading(home)
    domains = {entity.domain for entity in home.entities}
    spelling = Spelling(compile_home(home).grammar)
    templates = [
        (intent.name, block, sentence)
        for intent in sampler.intents.intents.values()
        for block in intent.data
        if fits(domains, intent.name, block)
        for sentence in block.sentences
    ]
    for name, block, sentence in templates[::every]:
        found: Drawn | None = None
        for _ in range(TRIES):
            drawn = sampler.draw(sentence.expression, block)
            text = " ".join((drawn or "").split())
            meaning = reading.read(text) if text else None
            if meaning is None or meaning[0] != name:
                continue
            found = Drawn(name, sentence.text or "", text, meaning, spelling.says(text))
            if found.sayable:
                break
        if found is not None:
            yield found


def heard(drawn: Drawn, recognizer: EmbeddedRecognizer, reading: Reading) -> bool:
    """Whether a voice is understood that says it; each template has one of the voices."""
    voice = VOICES[hash_of(drawn.text) % len(VOICES)]
    said = transcribe(recognizer, say(drawn.text, voice), "en").recognition.text
    return reading.read(said) == drawn.meaning


def hash_of(text: str) -> int:
    """The same in every run, unlike Python's own."""
    return sum(text.encode())


def main(
    every: Annotated[int, typer.Option(help="Take one template in so many.")] = 1,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with all that is not sayable.")
    ] = False,
) -> None:
    """Templates that fit, that can be said, and that are heard, by intent."""
    console = Console(stderr=as_json)
    home = family_home()
    reading = Reading(home)
    drawn = list(walk(home, every, seed))
    with tempfile.TemporaryDirectory() as cache:
        recognizer = EmbeddedRecognizer(Path(cache))
        recognizer.set_vocabulary(home)
        sayable = [one for one in drawn if one.sayable]
        right = [
            one
            for one in track(sayable, "Listening", console=console, disable=as_json)
            if heard(one, recognizer, reading)
        ]
    if as_json:
        lacking = [f"{one.intent}: {one.text}" for one in drawn if not one.sayable]
        misheard = [f"{one.intent}: {one.text}" for one in sayable if one not in right]
        print(json.dumps({"not_sayable": lacking, "misheard": misheard}, indent=1))
        return
    table = Table("intent", "templates that fit", "sayable", "heard", title="English")
    for name in sorted({one.intent for one in drawn}):
        counts = [
            str(sum(one.intent == name for one in some))
            for some in (drawn, sayable, right)
        ]
        table.add_row(name, *counts)
    table.add_row("all", str(len(drawn)), str(len(sayable)), str(len(right)))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
