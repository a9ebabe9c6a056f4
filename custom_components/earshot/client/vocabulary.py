"""What may be said in the home, as `PUT /v1/vocabulary` takes it, and its answer."""

from dataclasses import asdict, dataclass, field
import json

from . import fields

MAX_NAMES = 32
MAX_ENTITIES = 2000
MAX_AREAS = 500
MAX_FLOORS = 100
MAX_ITEMS = 500
MAX_MEDIA = 500
MAX_PHRASE = 60
MAX_SENTENCES = 500
MAX_SENTENCE = 500
MAX_LISTS = 100
MAX_VALUES = 500


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
    """What may be said in the home; `items` be put on its lists, `media` be played.

    `sentences` are the home's own, as hassil's templates; `lists` what may stand for
    `{name}` in them.
    """

    language: str
    entities: tuple[Entity, ...] = ()
    areas: tuple[Place, ...] = ()
    floors: tuple[Place, ...] = ()
    items: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def encode(self) -> str:
        """Return the JSON body."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class VocabularyReport:
    """What became of a vocabulary.

    `guessed` words have a guessed pronunciation; `unheard` are sentences of the home's
    own that cannot be heard.
    """

    version: str
    sentences: int
    words: int
    guessed: tuple[str, ...]
    seconds: float
    unheard: tuple[str, ...] = ()

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
            fields.strings(data, "unheard") if "unheard" in data else (),
        )
