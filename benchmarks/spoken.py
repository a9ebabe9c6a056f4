"""Sentences for Debian's voices: commands to the family home, and other talk."""

from __future__ import annotations

from collections.abc import Iterator
import io
from pathlib import Path
import re
import subprocess
import tempfile

import numpy as np
import soundfile
import soxr

from model_server.engines.base import Pcm

VOICES = (
    "flite:slt",
    "flite:kal16",
    "flite:awb",
    "flite:rms",
    "espeak-ng:en-us",
    "espeak-ng:en-us+f3",
    "espeak-ng:en-gb",
    "espeak-ng:en-us+m3",
)

COMMANDS = (
    "turn on the kitchen lights",
    "turn off the kitchen lights",
    "turn on the bed light",
    "turn the standing light off",
    "turn the office lights on",
    "switch off the coffee machine",
    "switch on the washing machine",
    "turn off all the lights in the bedroom",
    "turn on the tv",
    "turn off the ceiling fan",
    "set the kitchen lights to blue",
    "set bed light brightness to 40 percent",
    "open the garage door",
    "close the office curtains",
    "lock the front door",
    "what's the temperature in the bedroom",
    "what time is it",
    "set a timer for 10 minutes",
    "pause the kitchen radio",
    "what is the outdoor humidity",
    "set the volume to 30 percent",
    "is the front door locked",
    "are any lights on in the kitchen",
    "activate movie night",
)

TALK = (
    "I was thinking about going to the lake this weekend",
    "the kitchen smells wonderful today",
    "turn left at the next corner and go straight",
    "the light in this painting is beautiful",
    "he opened the door and walked out",
    "we should call your mother tonight",
    "my office is closed on monday",
    "the weather was awful yesterday",
    "close your eyes and count to ten",
    "the football game starts at seven",
    "it takes about forty minutes by car",
    "put the milk back in the fridge",
    "okay",
    "thank you very much",
    "let me know when you are ready",
    "I left my phone in the bathroom",
    "stop teasing your brother",
    "how was school today",
    "turn around and look at me",
    "the fan club meets on friday",
)


PAGES = Path(__file__).parents[1] / "docs"


def reading() -> Iterator[str]:
    """Yield this project's pages phrase by phrase, as one reads them aloud.

    They talk of lights and doors all the time, and are no commands; as long as those.
    """
    for page in sorted(PAGES.glob("*.md")):
        # What is quoted are commands.
        prose = re.sub(
            r"```.*?```|\"[^\"]*\"", "\n\n", page.read_text("utf-8"), flags=re.DOTALL
        )
        for paragraph in re.split(r"\n\s*\n", prose):
            plain = re.sub(r"\]\([^)]*\)|[*`#>\[\]_|]", " ", paragraph)
            for phrase in re.findall(r"[A-Za-z][A-Za-z' ]+", plain):
                if "|" not in paragraph and 3 <= len(phrase.split()) <= 12:
                    yield " ".join(phrase.split())


def say(text: str, voice: str) -> Pcm:
    """Speak a sentence, (samples,), with 0.4 s of a quiet room on either side.

    Raises FileNotFoundError without the synthesiser ("flite", "espeak-ng").
    """
    program, _, name = voice.partition(":")
    if program == "flite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            subprocess.run(
                [program, "-voice", name, "-t", text, "-o", str(path)],
                check=True,
                capture_output=True,
            )
            wav = path.read_bytes()
    else:
        wav = subprocess.run(
            [program, "-v", name, "-s", "145", "--stdout", text],
            check=True,
            capture_output=True,
        ).stdout
    sound, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    speech = soxr.resample(sound, rate, 16_000)
    level = 0.4 / np.abs(speech).max()
    padded = np.pad(speech * level, 6400)
    room = np.random.default_rng(0).normal(0, 0.001, len(padded))
    return np.asarray(np.clip(padded + room, -1, 1) * 32767, np.int16)
