"""What wakes a stream, checked: words, gestures, or nothing, because it is awake."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from model_server.api.intake import StreamError
from model_server.api.messages import Listen, Start
from model_server.catalogue import SoundLabel
from model_server.listen.wake import wake_words


@dataclass(frozen=True)
class Waking:
    """Wake words with the score each must exceed, and gestures."""

    words: Mapping[str, float | None]
    gestures: Collection[str] = ()


def waking(
    message: Start | Listen, catalogue: Mapping[str, SoundLabel]
) -> Waking | None:
    """What a client wants to wake the stream, None if it needs no wake.

    Raises StreamError for what the server cannot hear.
    """
    words, gestures = {}, []
    for name, cutoff in message.wake.items():
        if name in wake_words():
            words[name] = cutoff
        elif name in catalogue and catalogue[name].source == "gesture":
            if cutoff is not None:
                raise StreamError(
                    "bad_message", f"wake.{name}: gestures have no score."
                )
            gestures.append(name)
        else:
            raise StreamError(
                "unknown_label",
                f"Nothing wakes by {name}: GET /v1/info lists the wake words, and the "
                "gestures among the labels.",
            )
    return Waking(words, gestures) if message.wake else None
