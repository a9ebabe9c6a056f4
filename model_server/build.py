"""Which engines a server has: the one place that imports them, and only when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_server.engines.base import SoundClassifier, SpeechRecognizer
    from model_server.settings import Settings


def build_recognizer(settings: Settings) -> SpeechRecognizer:
    """Load the speech engine; compiled grammars are cached in the data folder."""
    from model_server.engines.embedded.speech import EmbeddedRecognizer  # noqa: PLC0415

    return EmbeddedRecognizer(settings.data_dir / "cache")


def build_classifier() -> SoundClassifier:
    """Load the sound engine with the weights it ships."""
    from model_server.engines.embedded.sounds import EmbeddedClassifier  # noqa: PLC0415

    return EmbeddedClassifier()
