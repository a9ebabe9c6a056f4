"""What Home Assistant would make of a sentence: its own templates over a home's names."""

from __future__ import annotations

from hassil.intents import SlotList, TextSlotList
from hassil.recognize import recognize
from hassil.util import remove_punctuation

from model_server.engines.base import Vocabulary, VocabularyPlace
from model_server.engines.embedded.templates import read_templates

Meaning = tuple[str, tuple[tuple[str, str], ...]]
"""An intent's name and its slots, sorted."""


class Reading:
    """Home Assistant's own reading of sentences in one home."""

    def __init__(self, home: Vocabulary, area: str | None = "kitchen") -> None:
        """Build the lists as its conversation agent does; `area` is where is spoken."""
        self._intents = read_templates("en")
        self._context = {"area": area} if area else {}
        self._lists: dict[str, SlotList] = {
            "name": TextSlotList.from_tuples(
                (
                    (remove_punctuation(name), name, {"domain": entity.domain})
                    for entity in home.entities
                    for name in entity.names
                ),
                allow_template=False,
                name="name",
            ),
            "area": _places(home.areas, "area"),
            "floor": _places(home.floors, "floor"),
        }

    def read(self, text: str) -> Meaning | None:
        """Return what a sentence asks for; None if it is no command."""
        result = recognize(
            text,
            self._intents,
            slot_lists=self._lists,
            intent_context=self._context,
        )
        if result is None:
            return None
        slots = ((name, str(slot.value)) for name, slot in result.entities.items())
        return result.intent.name, tuple(sorted(slots))


def _places(places: tuple[VocabularyPlace, ...], kind: str) -> TextSlotList:
    return TextSlotList.from_tuples(
        ((name, place.id) for place in places for name in place.names),
        allow_template=False,
        name=kind,
    )
