"""What may be said in the home, as `PUT /v1/vocabulary` takes it, and its answer."""

from dataclasses import asdict, dataclass
import json

from . import fields

MAX_NAMES = 32
MAX_ENTITIES = 2000
MAX_AREAS = 500
MAX_FLOORS = 100
MAX_ITEMS = 500
MAX_MEDIA = 500
MAX_PHRASE = 60


@dataclass(frozen=True)
class Entity:
    """An exposed entity. The first name is its own, the others are aliases."""

    id: str
    domain: str
    names: tuple[str, ...]
    area: str | None = None


@dataclass(frozen=True)
class Place:
    """An area or a floor."""

    id: str
    names: tuple[str, ...]
    floor: str | None = None


@dataclass(frozen=True)
class Vocabulary:
    """What may be said in the home; `items` be put on its lists, `media` be played."""

    language: str
    entities: tuple[Entity, ...] = ()
    areas: tuple[Place, ...] = ()
    floors: tuple[Place, ...] = ()
    items: tuple[str, ...] = ()
    media: tuple[str, ...] = ()

    def encode(self) -> str:
        """Return the JSON body."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class VocabularyReport:
    """What became of a vocabulary; `guessed` words have a guessed pronunciation."""

    version: str
    sentences: int
    words: int
    guessed: tuple[str, ...]
    seconds: float

    @classmethod
    def parse(cls, text: str) -> VocabularyReport:
        """Read the server's answer."""
        data = fields.decode(text)
        return cls(
            fields.string(data, "version"),
            fields.integer(data, "sentences"),
            fields.integer(data, "words"),
            fields.strings(data, "guessed"),
            fields.number(data, "seconds"),
        )
