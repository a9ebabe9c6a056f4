"""What crosses between ingress, model and ledger replicas: plain data, failures too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
import traceback
from typing import Final, Literal, TypeAlias, TypeVar

from model_server.engines.base import (
    EngineBusyError,
    EngineError,
    EngineInfo,
    UnusableRequestError,
    Vocabulary,
)

_LOGGER = logging.getLogger(__name__)

T = TypeVar("T")

FailureKind: TypeAlias = Literal["busy", "request", "engine", "value"]

_ERRORS: Final[dict[FailureKind, type[Exception]]] = {
    "busy": EngineBusyError,
    "request": UnusableRequestError,
    "engine": EngineError,
    "value": ValueError,
}


@dataclass(frozen=True)
class Failed:
    """An engine's refusal, sent as an answer.

    A raised exception would come with the replica's stack as its text, and its own
    text could repeat what was heard.
    """

    kind: FailureKind
    message: str

    def error(self) -> Exception:
        """The exception that the engine protocols promise."""
        return _ERRORS[self.kind](self.message)


@dataclass(frozen=True)
class Lacking:
    """The model replica does not know this vocabulary yet: send it along."""


@dataclass(frozen=True)
class SpeechFacts:
    """What a speech engine is; it never changes while a deployment lives."""

    info: EngineInfo
    languages: tuple[str, ...]


@dataclass(frozen=True)
class SoundFacts:
    """What a sound engine is; `window` and `hop` in samples."""

    info: EngineInfo
    labels: tuple[str, ...]
    window: int
    hop: int


@dataclass(frozen=True)
class DescriberFacts:
    """What a describing engine is."""

    info: EngineInfo
    max_seconds: float


@dataclass(frozen=True)
class Facts:
    """The engines of the model deployment."""

    speech: SpeechFacts | None = None
    sounds: SoundFacts | None = None
    describer: DescriberFacts | None = None


@dataclass(frozen=True)
class State:
    """What all ingress replicas have in common.

    `number` grows with every vocabulary; 0 means that none was ever sent.
    """

    number: int
    vocabulary: Vocabulary | None
    token: str
    installation: str


def attempt(call: Callable[..., T], *args: object) -> T | Failed:
    """Call an engine; every failure becomes an answer that repeats nothing heard."""
    try:
        return call(*args)
    except EngineBusyError as error:
        return Failed("busy", str(error))
    except UnusableRequestError as error:
        return Failed("request", str(error))
    except EngineError as error:
        return Failed("engine", str(error))
    except ValueError as error:
        return Failed("value", str(error))
    except Exception as error:  # noqa: BLE001 - it must fail one call, not the replica
        return broken(error)


def broken(error: Exception) -> Failed:
    """The answer for a defect: where it is goes to this replica's log, without its text."""
    places = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-3:]
    ]
    _LOGGER.error("An engine failed: %s at %s", type(error).__name__, ", ".join(places))
    return Failed(
        "engine", "The engine failed: the log of the model replicas says where."
    )
