"""The frames of a stream that the client sends, protocol 1."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
import json
from typing import Literal

PROTOCOL = 1

type Task = Literal["sounds", "commands", "transcribe", "wake"]
type Sensitivity = Literal["low", "normal", "high"]
type Rules = Mapping[str, Mapping[str, float]]
"""By label, what is decided otherwise than the catalogue says: `on`, `k`, `sustain_s`…"""
type Wakes = Mapping[str, float | None]
"""Wake words and gestures; the score that a word must exceed, None is its own."""


@dataclass(frozen=True)
class Start:
    """The first frame. `time` is the UTC time of the first sample."""

    microphone: str
    tasks: tuple[Task, ...]
    language: str = "en"
    labels: tuple[str, ...] | None = None
    time: datetime | None = None
    profile: str | None = None
    sensitivity: Sensitivity = "normal"
    rules: Rules = field(default_factory=dict)
    clips: bool = False
    wake: Wakes = field(default_factory=dict)
    partials: bool = False

    def encode(self) -> str:
        """Return the JSON frame."""
        frame: dict[str, object] = {
            "type": "start",
            "protocol": PROTOCOL,
            "microphone": self.microphone,
            "tasks": self.tasks,
            "language": self.language,
        }
        if self.labels is not None:
            frame["labels"] = self.labels
        if self.time is not None:
            frame["time"] = self.time.isoformat()
        if self.profile is not None:
            frame["profile"] = self.profile
        if self.sensitivity != "normal":
            frame["sensitivity"] = self.sensitivity
        if self.rules:
            frame["rules"] = self.rules
        if self.clips:
            frame["clips"] = True
        if self.wake:
            frame["wake"] = self.wake
        if self.partials:
            frame["partials"] = True
        return json.dumps(frame)


@dataclass(frozen=True)
class Listen:
    """From here on, listen for these and wake by these; events of other labels end."""

    labels: tuple[str, ...] | None
    profile: str
    sensitivity: Sensitivity = "normal"
    rules: Rules = field(default_factory=dict)
    wake: Wakes = field(default_factory=dict)

    def encode(self) -> str:
        """Return the JSON frame."""
        return json.dumps(
            {
                "type": "listen",
                "labels": self.labels,
                "profile": self.profile,
                "sensitivity": self.sensitivity,
                "rules": self.rules,
                "wake": self.wake,
            }
        )


@dataclass(frozen=True)
class Attend:
    """For so many seconds, what is said counts without a wake."""

    seconds: float

    def encode(self) -> str:
        """Return the JSON frame."""
        return json.dumps({"type": "attend", "seconds": self.seconds})


END = json.dumps({"type": "end"})
"""The last frame: no more PCM follows."""
