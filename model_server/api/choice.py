"""What a client wants to hear of and how it is decided, checked: `start` and `listen`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from model_server.api.intake import StreamError
from model_server.api.messages import Listen, Start
from model_server.catalogue import SoundLabel
from model_server.monitor.rules import RuleChange, RuleError, Tuning


@dataclass(frozen=True)
class Choice:
    """The labels of a stream, and how they are decided."""

    labels: list[SoundLabel]
    tuning: Tuning

    @property
    def slugs(self) -> list[str]:
        """The labels, as sent."""
        return [label.slug for label in self.labels]


def choose(
    message: Start | Listen,
    catalogue: Mapping[str, SoundLabel],
    also: Collection[str] = (),
) -> Choice:
    """What a client chose, and `also`; without labels the catalogue's defaults.

    Raises StreamError for a label that the server does not have, and for a rule that
    contradicts itself.
    """
    chosen = message.labels or []
    for slug in (*chosen, *message.rules):
        if slug not in catalogue:
            raise StreamError(
                "unknown_label", f"There is no label {slug}: GET /v1/info lists all."
            )
    rules = {}
    for slug, body in message.rules.items():
        try:
            rules[slug] = RuleChange(**body.model_dump())
        except RuleError as error:
            raise StreamError("bad_message", f"rules.{slug}: {error}") from None
    tuning = Tuning(rules, message.sensitivity, message.profile)
    if message.labels is None:
        chosen = [slug for slug, label in catalogue.items() if label.default]
    labels = [catalogue[slug] for slug in dict.fromkeys([*chosen, *also])]
    return Choice(labels, tuning)
