"""Which engines a server has: the one place that imports them, and only when asked."""

# ruff: noqa: PLC0415 - an engine that is not asked for may lack its packages

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from model_server.engines.base import EngineError, Engines

if TYPE_CHECKING:
    from model_server.engines.base import (
        AudioDescriber,
        SoundClassifier,
        SpeechRecognizer,
    )
    from model_server.engines.midashenglm.engine import MiDasheng
    from model_server.engines.remote import RemoteEngine
    from model_server.settings import Settings


def build_engines(settings: Settings) -> Engines:
    """Load every engine that the settings name. Raises EngineError."""
    builder = Builder(settings)
    return Engines(builder.recognizer(), builder.classifier(), builder.describer())


class Builder:
    """Loads what is asked for, each model once. Its methods raise EngineError."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is loaded yet."""
        self._settings = settings

    def recognizer(self) -> SpeechRecognizer:
        """The speech engine; compiled grammars are cached in the data folder."""
        match self._settings.speech:
            case "midashenglm":
                return self._midasheng.recognizer
            case "remote" if self._settings.remote.fallback:
                from model_server.engines.fallback import FallbackRecognizer

                return FallbackRecognizer(self._remote.recognizer, self._embedded())
            case "remote":
                return self._remote.recognizer
            case "embedded":
                return self._embedded()

    def classifier(self) -> SoundClassifier:
        """The sound engine; the embedded one has its weights with it."""
        match self._settings.sounds:
            case "midashenglm":
                return self._midasheng.classifier
            case "ced":
                with _extra("models"):
                    from model_server.engines.ced import CedClassifier

                return CedClassifier(self._settings.ced, self._settings.data_dir)
            case "embedded":
                from model_server.engines.embedded.sounds import EmbeddedClassifier

                return EmbeddedClassifier()

    def describer(self) -> AudioDescriber | None:
        """The engine that answers questions about a clip, if any."""
        match self._settings.descriptions:
            case "midashenglm":
                return self._midasheng.describer
            case "remote":
                return self._remote.describer
            case "none":
                return None

    def _embedded(self) -> SpeechRecognizer:
        from model_server.engines.embedded.speech import EmbeddedRecognizer

        return EmbeddedRecognizer(self._settings.data_dir / "cache")

    @cached_property
    def _midasheng(self) -> MiDasheng:
        with _extra("models"):
            from model_server.engines.midashenglm.engine import MiDasheng

        return MiDasheng(self._settings.midashenglm, self._settings.data_dir)

    @cached_property
    def _remote(self) -> RemoteEngine:
        from model_server.engines.remote import RemoteEngine

        return RemoteEngine(self._settings.remote)


@contextmanager
def _extra(extra: str) -> Iterator[None]:
    """Say which packages to install where an import finds that one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise EngineError(
            f"This engine takes the package {error.name}: run `scripts/setup --{extra}`"
        ) from error
