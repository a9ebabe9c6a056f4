"""What becomes of a command."""

from dataclasses import dataclass, field, replace
from typing import Any

from homeassistant.helpers import intent

from .confirm import Source

NOT_UNDERSTOOD = "not_understood"
NEEDS_CONFIRMATION = "needs_confirmation"
NOT_CONFIRMED = "not_confirmed"
CHANGED = "targets_changed"
NO_ANSWER = "no_answer"
"""An MQTT device was told, and did not report that it obeyed."""


@dataclass(frozen=True)
class CommandOutcome:
    """What became of a command. `refused` says why nothing was done, else None.

    `source` says who understood it.
    """

    intent: str | None = None
    slots: dict[str, Any] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    response: str = ""
    refused: str | None = None
    source: Source = "sentence"


def done(understood: CommandOutcome, response: intent.IntentResponse) -> CommandOutcome:
    """Add what Home Assistant did, or why it could not."""
    failed = response.response_type is intent.IntentResponseType.ERROR
    return replace(
        understood,
        targets=_targets(response),
        response=response.speech.get("plain", {}).get("speech", ""),
        refused=str(response.error_code) if failed else None,
    )


def _targets(response: intent.IntentResponse) -> list[str]:
    """Return the entities an intent acted on or asked about."""
    entity = intent.IntentResponseTargetType.ENTITY
    targets = {
        target.id
        for target in response.success_results
        if target.type is entity and target.id
    }
    return sorted(targets | {state.entity_id for state in response.matched_states})
