"""The home's vocabulary: from the wire to the recogniser, and kept for the next start."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from model_server.api.messages import Message
from model_server.engines.base import Vocabulary, VocabularyEntity, VocabularyPlace
from model_server.store import write_private

MAX_BODY_BYTES = 1 << 20

_LOGGER = logging.getLogger(__name__)


class EntityBody(Message):
    """An exposed entity. The first name is its own, the others are aliases."""

    id: str
    domain: str
    names: Annotated[list[str], Field(min_length=1, max_length=32)]
    area: str | None = None


class PlaceBody(Message):
    """An area or a floor."""

    id: str
    names: Annotated[list[str], Field(min_length=1, max_length=32)]
    floor: str | None = None


Phrase = Annotated[str, Field(min_length=1, max_length=60)]
"""What somebody may say within a sentence, and no entity is called."""


Template = Annotated[str, Field(min_length=1, max_length=500)]
"""A sentence of the home's own: "party mode [in] [the] {area}"."""

ListName = Annotated[str, Field(pattern=r"^\w{1,60}$")]


class VocabularyBody(Message):
    """`PUT /v1/vocabulary`: what may be said in the home.

    `items` may be put on its lists, beside what the server knows; `media` be played.
    `sentences` are the home's own, as hassil's templates; `lists` what may stand for
    `{name}` in them.
    """

    language: str = "en"
    entities: Annotated[list[EntityBody], Field(max_length=2000)] = []
    areas: Annotated[list[PlaceBody], Field(max_length=500)] = []
    floors: Annotated[list[PlaceBody], Field(max_length=100)] = []
    items: Annotated[list[Phrase], Field(max_length=500)] = []
    media: Annotated[list[Phrase], Field(max_length=500)] = []
    sentences: Annotated[list[Template], Field(max_length=500)] = []
    lists: Annotated[
        dict[ListName, Annotated[list[Phrase], Field(max_length=500)]],
        Field(max_length=100),
    ] = {}


class VocabularyResult(Message):
    """Its answer.

    `guessed` are words whose pronunciation is a guess, `unheard` those of the home's
    own sentences that cannot be heard.
    """

    version: str
    sentences: int
    words: int
    guessed: list[str]
    seconds: float
    unheard: list[str]


class VocabularyError(Exception):
    """A vocabulary that cannot be used; the message says what to change."""


def parse_vocabulary(content: bytes) -> VocabularyBody:
    """Check a JSON body. Raises VocabularyError naming the first wrong field."""
    try:
        return VocabularyBody.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        others = error.error_count() - 1
        more = f" ({others} more)" if others else ""
        raise VocabularyError(f"{where}: {first['msg']}{more}.") from None


def to_vocabulary(body: VocabularyBody) -> Vocabulary:
    """The same as plain data for the engine."""

    def places(bodies: list[PlaceBody]) -> tuple[VocabularyPlace, ...]:
        return tuple(
            VocabularyPlace(place.id, tuple(place.names), place.floor)
            for place in bodies
        )

    return Vocabulary(
        language=body.language,
        entities=tuple(
            VocabularyEntity(each.id, each.domain, tuple(each.names), each.area)
            for each in body.entities
        ),
        areas=places(body.areas),
        floors=places(body.floors),
        items=tuple(body.items),
        media=tuple(body.media),
        sentences=tuple(body.sentences),
        lists={name: tuple(values) for name, values in body.lists.items()},
    )


class VocabularyFile:
    """The last accepted vocabulary, so that a restart hears commands at once."""

    def __init__(self, data_dir: Path) -> None:
        """Keep it in this data folder."""
        self._path = data_dir / "vocabulary.json"

    def save(self, body: VocabularyBody) -> None:
        """Replace the stored vocabulary."""
        write_private(self._path, body.model_dump_json().encode())

    def load(self) -> VocabularyBody | None:
        """The stored vocabulary; None where there is none that can be used."""
        if not self._path.exists():
            return None
        try:
            return parse_vocabulary(self._path.read_bytes())
        except VocabularyError:
            _LOGGER.warning(
                "%s cannot be read; commands are heard again once Home Assistant "
                "sends the vocabulary",
                self._path,
            )
            return None
