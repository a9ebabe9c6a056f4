"""What a server lets one stream do."""

from dataclasses import dataclass

from . import fields
from .fields import Json


@dataclass(frozen=True)
class Limits:
    """What one stream may do before it gets an error."""

    max_streams: int
    max_utterance_s: float
    max_ahead_s: float
    max_message_bytes: int
    idle_s: float

    @classmethod
    def read(cls, data: Json) -> Limits:
        """Read it from decoded JSON."""
        return cls(
            fields.integer(data, "max_streams"),
            fields.number(data, "max_utterance_s"),
            fields.number(data, "max_ahead_s"),
            fields.integer(data, "max_message_bytes"),
            fields.number(data, "idle_s"),
        )
