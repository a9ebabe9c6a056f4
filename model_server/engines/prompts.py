"""What MiDashengLM is asked, in the words it was trained and measured with.

Source: evaluate/prompt.csv and the README of xiaomi-research/dasheng-lm, with which the
technical report (arXiv 2508.03983) was made.
"""

from __future__ import annotations

import math
from typing import Final

SPEECH_LANGUAGES: Final = ("en", "zh", "id", "th", "vi")
"""Languages of its speech recognition, as its language tokens name them."""

NO_SPACES: Final = ("zh",)
"""Those whose sentences follow each other without a space."""

CAPTION: Final = "Write an audio caption describing the sound"
CAPTION_MUSIC: Final = "Caption this music track"
SCENE: Final = "what's the environmental sound heard?"
LABELS: Final = "Which labels describe the sound?"
GENRE: Final = "What's the music genre?"
INSTRUMENT: Final = "What's the music instrument?"

INSTRUCTIONS: Final = {
    "caption": CAPTION,
    "music": CAPTION_MUSIC,
    "scene": SCENE,
    "sounds": LABELS,
    "genre": GENRE,
    "instrument": INSTRUMENT,
}
"""The instruction of each ready-made description."""


def transcribe(language: str) -> str:
    """The instruction that asks for the words of a language of SPEECH_LANGUAGES."""
    return f"Transcribe the speech into text <|{language}|>"


def words_room(seconds: float) -> int:
    """Tokens that the words of so many seconds of speech may take.

    More than anybody says: fast English has 8 a second, Thai in this vocabulary 15.
    """
    return 24 + math.ceil(16 * seconds)


def question(text: str) -> str:
    """A free question about a clip."""
    return f"{text} Answer with 1-2 sentences"


def confirm(sound: str) -> str:
    """Whether a sound is heard, and what else there is to say about it; asked with a schema."""
    return (
        f'Is this sound heard: "{sound}"? Say yes or no, and describe what is heard in '
        "one sentence."
    )
