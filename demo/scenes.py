"""What happens in the house, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterator
import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from demo import audio
from demo.air import Audio
from demo.outcome import NOTHING, REFUSED, Outcome

MICROPHONE = "kitchen"
KITCHEN_LIGHTS = "kitchen_lights"
OFFICE_LIGHTS = "office_lights"
SIREN = "siren"
FRONT_DOOR = "front_door"
SHOPPING_LIST = "shopping_list"
ALERTS = ("smoke", "co")
"""The sounds that start the siren."""


@dataclass(frozen=True)
class Scene:
    """A sound in the house. Latencies count from its start or from its end."""

    title: str
    by: str
    audio: Audio = field(repr=False, compare=False)
    expected: Outcome = NOTHING
    reference: Literal["start", "end"] = "end"


def switch(lamp: str, state: Literal["ON", "OFF"]) -> Outcome:
    """What a spoken command to a lamp leads to."""
    return Outcome(
        intents=("HassTurnOn" if state == "ON" else "HassTurnOff",),
        commands=((lamp, state),),
    )


def alarm(label: str) -> Outcome:
    """What an alarm leads to: its sound event, and the siren by the blueprint."""
    return Outcome(sounds=(label,), commands=((SIREN, "ON"),))


ASKED = Outcome(intents=(f"{REFUSED}needs_confirmation",))
"""The house asks before it does what was said."""

_TALK = (
    "I was at the market this morning and they had fresh strawberries.",
    "Really? We should make a cake for Sunday then.",
    "My sister said the train was late again.",
    "It always rains when we want to go out.",
)


def spoken() -> Iterator[Scene]:
    """Yield commands spoken by the synthesisers' voices: on and off, in turn."""
    words: tuple[tuple[str, Literal["ON", "OFF"]], ...] = (
        ("turn on the kitchen lights", "ON"),
        ("turn off the kitchen lights", "OFF"),
    )
    for pair in range(2):
        for number, (text, state) in enumerate(words):
            voice = audio.VOICES[2 * pair + number]
            yield Scene(
                f"“{text}”",
                str(voice),
                audio.speak(text, voice),
                switch(KITCHEN_LIGHTS, state),
            )


def hands_free() -> Iterator[Scene]:
    """Yield a task that is done, and one that needs a yes, which nobody says."""
    voice = audio.VOICES[0]
    for text, title, outcome in (
        (
            "add milk to my shopping list",
            "",
            Outcome(intents=("HassListAddItem",), states=((SHOPPING_LIST, "1"),)),
        ),
        ("unlock the front door", ", and nobody says yes", ASKED),
    ):
        sound = audio.speak(text, voice)
        yield Scene(f"“{text}”{title}", str(voice), sound, outcome)


def alarms() -> Iterator[Scene]:
    """Yield the two alarms over household noise."""
    generator = "alarm generator"
    yield Scene(
        "smoke alarm (T3)", generator, audio.smoke_alarm(), alarm("smoke"), "start"
    )
    yield Scene("CO alarm (T4)", generator, audio.co_alarm(), alarm("co"), "start")


def quiet() -> Iterator[Scene]:
    """Yield what must lead to nothing."""
    yield Scene("talk that is no command", "two voices", audio.talk(_TALK))
    yield Scene("music", "generator", audio.music(), reference="start")
    yield Scene("a vacuum cleaner's noise", "generator", audio.noise())


def made() -> list[Scene]:
    """Return the scenes that need no recording."""
    return [*spoken(), *hands_free(), *alarms(), *quiet()]


@dataclass(frozen=True)
class Recording:
    """A recording, or the first six that a pattern finds, and what must come of it."""

    files: str
    title: str
    expected: Outcome = NOTHING
    reference: Literal["start", "end"] = "end"


# A selection: `python -m benchmarks.commands` tells how often such clips are understood.
RECORDINGS = (
    Recording(
        "speech_tts/en/turn on the Kitchen lights.flac",
        "“turn on the kitchen lights”",
        switch(KITCHEN_LIGHTS, "ON"),
    ),
    Recording(
        "speech_tts/en/turn off all of the Kitchen lights.flac",
        "“turn off all of the kitchen lights”",
        switch(KITCHEN_LIGHTS, "OFF"),
    ),
    # Of fold 4, which the shipped network was not trained on.
    Recording(
        "esc50/4-204777-C-39.flac",
        "breaking glass",
        Outcome(sounds=("glass_break",)),
        "start",
    ),
    Recording(
        "esc50/4-185575-A-20.flac",
        "a crying baby",
        Outcome(sounds=("baby_cry",)),
        "start",
    ),
    Recording(
        "esc50/4-191687-A-0.flac",
        "a barking dog",
        Outcome(sounds=("bark",)),
        "start",
    ),
    Recording("speech_neg/mycroft/not-wake-words/en/*.flac", "people talking"),
)


def recorded(folder: Path) -> list[Scene]:
    """Return the scenes of a recordings folder. Raises AudioError.

    A folder laid out as `shared/data` has the demo's own choice; any other one
    says in `scenes.csv` (file, title, intent, device, state, sound) what to expect.
    """
    if not folder.is_dir():
        raise audio.AudioError(f"{folder} is not a folder")
    listed = folder / "scenes.csv"
    return [
        Scene(
            recording.title,
            "recording",
            audio.one_after_the_other(
                [
                    audio.trimmed(audio.read(path))
                    for path in _found(folder, recording.files)
                ]
            ),
            recording.expected,
            recording.reference,
        )
        for recording in (_listed(listed) if listed.exists() else RECORDINGS)
    ]


def _found(folder: Path, files: str) -> list[Path]:
    """Resolve a recording's file or pattern. Raises AudioError when there is none."""
    found = sorted(folder.glob(files))[:6]
    if not found:
        raise audio.AudioError(f"there is no {files} in {folder}")
    return found


def _listed(path: Path) -> list[Recording]:
    """Read a list of recordings. Raises AudioError for a row without its columns."""
    with path.open(newline="", encoding="utf-8") as lines:
        try:
            return [_recording(row) for row in csv.DictReader(lines)]
        except (KeyError, AttributeError) as error:
            raise audio.AudioError(
                f"{path}: needs the columns file, title, intent, device, state and"
                f" sound ({error})"
            ) from error


def _recording(row: dict[str, str]) -> Recording:
    sounds = tuple(row["sound"].split())
    return Recording(
        row["file"],
        row["title"] or row["file"],
        Outcome(
            intents=(row["intent"],) if row["intent"] else (),
            sounds=sounds,
            commands=((row["device"], row["state"]),) if row["device"] else (),
        ),
        "start" if sounds else "end",
    )
