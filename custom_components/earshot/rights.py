"""What a microphone has the right to do."""

from dataclasses import dataclass

from .const import DEFAULT_UNASKED
from .guard import Reach


@dataclass(frozen=True)
class Rights:
    """One microphone's rights. `unasked`: so many entities it changes unasked."""

    unasked: int = DEFAULT_UNASKED

    def refusal(self, scope: Reach) -> str | None:
        """Return why a command must not be done, not even confirmed."""
        return None
