"""Saying something in the house, and what its microphone made of it."""

from __future__ import annotations

from functools import partial
import time
from typing import Any

from demo import audio
from demo.house import House

INTENT = "earshot/kitchen/intent"
_ANSWER_S = 6.0


async def say(house: House, text: str, voice: audio.Voice) -> dict[str, Any] | None:
    """Say something; return what was made of it, or None if it was not heard."""
    played = house.air.play(audio.speak(text, voice))
    messages = partial(house.journal.messages, played.start, INTENT)
    heard = await house.journal.until(
        lambda _: bool(messages()), played.start, played.end - time.time() + _ANSWER_S
    )
    if not heard:
        return None
    (message,) = messages()
    understood: dict[str, Any] = message.json()
    return understood
