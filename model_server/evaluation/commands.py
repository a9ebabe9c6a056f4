"""How well spoken commands are understood, and what else is taken for one.

Every clip is heard as a microphone's stream: in a household's quiet or noise, found by
voice activity, recognised, and read as Home Assistant reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
import time
from typing import Any, ParamSpec, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from model_server.api.vocabulary import VocabularyError, parse_vocabulary, to_vocabulary
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.decode import DecodeError, read_audio
from model_server.engines.base import Recognition, SpeechRecognizer, Vocabulary
from model_server.evaluation import synthesis
from model_server.evaluation.reading import Meaning, Reading
from model_server.evaluation.recordings import DataError
from model_server.evaluation.synthesis import Audio
from model_server.listen.attention import Words
from model_server.listen.endpoint import Utterance, pause_of
from model_server.listen.listener import Listener, meant

CLIPS = "commands.json"
HOME = "home.json"
LEAD_S = 1.5
"""Of background before a clip, as nobody speaks at once."""
QUIET_DB = 50.0
"""dB of a clip over the background where no noise is asked for."""
_LONGEST_S = 60
P = ParamSpec("P")
T = TypeVar("T")
_CHUNK = SAMPLE_RATE // 50


class Row(BaseModel):
    """A clip of commands.json. Without an intent it is no command."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    intent: str | None = None
    slots: Mapping[str, str | int | float] = {}
    speaker: str = ""
    text: str = ""


@dataclass(frozen=True)
class Spoken:
    """A clip in memory, float samples of -1 to 1, (samples,); `meant` None: no command."""

    row: Row
    audio: Audio = field(repr=False)
    meant: Meaning | None


@dataclass(frozen=True)
class Heard:
    """What came of a clip at one SNR (dB; None: quiet).

    `spent` are the seconds that recognising took in all. `waits` are those from the end
    of voice to when the utterance was given out, `works` those from then on until it was
    recognised, both per utterance.
    """

    spoken: Spoken
    snr: float | None
    understood: tuple[tuple[str, Meaning | None], ...]
    seconds: float
    spent: float
    waits: tuple[float, ...]
    works: tuple[float, ...]

    @property
    def right(self) -> bool:
        """Whether just what was meant was understood."""
        meanings = [meaning for _, meaning in self.understood]
        return self.spoken.meant is not None and meanings == [self.spoken.meant]


def read_home(folder: Path) -> Vocabulary:
    """The home whose names are spoken. Raises DataError."""
    path = folder / HOME
    try:
        return to_vocabulary(parse_vocabulary(path.read_bytes()))
    except OSError as err:
        raise DataError(
            f"{path} cannot be read ({err.strerror}): it says what may be said, as "
            "PUT /v1/vocabulary takes it"
        ) from err
    except VocabularyError as err:
        raise DataError(f"{path} is no vocabulary: {err}") from err


def read_clips(
    folder: Path, home: Vocabulary, speakers: Sequence[str] = ()
) -> list[Spoken]:
    """The clips of a folder, of some speakers or of all. Raises DataError."""
    path = folder / CLIPS
    try:
        rows = TypeAdapter(list[Row]).validate_json(path.read_bytes())
    except OSError as err:
        raise DataError(
            f"{path} cannot be read ({err.strerror}): it lists file, intent, slots and "
            "speaker of each clip"
        ) from err
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {where}: {first['msg']}") from err
    chosen = [row for row in rows if not speakers or row.speaker in speakers]
    if not chosen:
        known = sorted({row.speaker for row in rows})
        raise DataError(f"{path} has no clip of them; speakers are {', '.join(known)}")
    return [_load(folder, row, home) for row in chosen]


def _load(folder: Path, row: Row, home: Vocabulary) -> Spoken:
    try:
        pcm = read_audio(folder / row.file, _LONGEST_S * SAMPLE_RATE)
    except DecodeError as err:
        raise DataError(f"{row.file}: {err}") from err
    except OSError as err:
        raise DataError(f"{row.file} cannot be read: {err.strerror}") from err
    meant = None
    if row.intent is not None:
        meant = row.intent, _plain(row.slots, home)
    return Spoken(row, pcm.astype(np.float32) / np.float32(32768), meant)


def _plain(slots: Mapping[str, Any], home: Vocabulary) -> tuple[tuple[str, str], ...]:
    """Slots as they can be compared: places by their id, names by their first one."""
    known = {
        kind: {name.casefold(): one.id for one in some for name in (one.id, *one.names)}
        for kind, some in (("area", home.areas), ("floor", home.floors))
    }
    known["name"] = {
        name.casefold(): entity.names[0]
        for entity in reversed(home.entities)
        for name in entity.names
    }
    plain = {}
    for slot, value in slots.items():
        text = _number(str(value)).casefold()
        plain[slot] = known.get(slot, {}).get(text, text).casefold()
    return tuple(sorted(plain.items()))


def _number(text: str) -> str:
    """10 and 10.0 are one number; any other text is itself."""
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _timed(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[float, T]:
    began = time.perf_counter()
    result = call(*args, **kwargs)
    return time.perf_counter() - began, result


def at_home(speech: Audio, snr: float | None, seed: int = 0) -> Pcm:
    """What a microphone hears of speech over a household so many dB below; None: quiet."""
    padded = np.pad(speech, round(LEAD_S * SAMPLE_RATE))
    background = synthesis.household(padded.size / SAMPLE_RATE, seed=seed)
    mixed = synthesis.mix(padded, background, QUIET_DB if snr is None else snr)
    return synthesis.pcm(mixed)


class Ear:
    """A microphone's road from samples to meanings, in one home."""

    def __init__(
        self,
        recognizer: SpeechRecognizer,
        home: Vocabulary,
        asked: bool = False,
        wake: Words | None = None,
    ) -> None:
        """Give the recogniser the home's words. Raises ValueError, EngineError.

        `asked`: as if every speaker had pressed a button to be heard. `wake`: what is no
        command is listened to after these words only.
        """
        self._asked = asked
        self._wake = wake
        self._recognizer = recognizer
        self._home = home
        self._reading = Reading(home, area=None)
        recognizer.set_vocabulary(home)

    def hear(self, spoken: Spoken, snr: float | None, seed: int = 0) -> Heard:
        """Hear one clip. Raises EngineError."""
        pcm = at_home(spoken.audio, snr, seed)
        listener = Listener(
            self._recognizer,
            self._home.language,
            _LONGEST_S,
            wake=self._wake if spoken.meant is None else None,
        )
        understood, waits, works = [], [], []
        spent = busy = 0.0
        # Of 20 ms, as a microphone's stream brings them.
        for start in range(0, pcm.size + 1, _CHUNK):
            now = min(start + _CHUNK, pcm.size) / SAMPLE_RATE
            events = listener.push(pcm[start : start + _CHUNK])
            while pause := pause_of(events):
                took, perhaps = _timed(self._recognizer.foresee, pause.pcm)
                spent += took
                busy = max(busy, now) + took
                events = [*events[:-1], *listener.resume(perhaps)]
            if start + _CHUNK >= pcm.size:
                events += listener.finish()
            if (ahead := listener.ahead()) is not None:
                took, _ = _timed(self._recognizer.foresee, ahead)
                spent += took
                # It works on while the stream goes on.
                busy = now + took
            for event in events:
                if not isinstance(event, Utterance):
                    continue
                took, said = _timed(listener.recognize, event)
                said = meant(said) if self._asked else said
                spent += took
                waits.append(now - event.end / SAMPLE_RATE)
                works.append(max(0.0, busy - now) + took)
                if said.text or said.intent is not None:
                    understood.append((said.text, self._meaning(said)))
        return Heard(
            spoken,
            snr,
            tuple(understood),
            pcm.size / SAMPLE_RATE,
            spent,
            tuple(waits),
            tuple(works),
        )

    def _meaning(self, recognition: Recognition) -> Meaning | None:
        if (meaning := self._reading.read(recognition.text)) is not None:
            return meaning[0], _plain(dict(meaning[1]), self._home)
        if recognition.intent is None:
            return None
        return recognition.intent.name, _plain(recognition.intent.slots, self._home)


def hear_all(
    ear: Ear, clips: Sequence[Spoken], snrs: Sequence[float | None], seed: int = 0
) -> Iterator[Heard]:
    """Hear every command at every SNR, and what is none at the first. Raises EngineError."""
    for place, snr in enumerate(snrs):
        for number, spoken in enumerate(clips):
            if spoken.meant is not None or place == 0:
                yield ear.hear(spoken, snr, seed + number)


@dataclass(frozen=True)
class Figures:
    """What is known at one SNR. Of no command, `acceptance` and slots are None.

    `slot_accuracy` is the share of slots that were understood, of commands whose intent
    was; times are medians and 95th percentiles in seconds, where something was.
    """

    snr: float | None
    clips: int
    right: int
    wrong: int
    slot_accuracy: float | None
    work_p50_s: float | None
    work_p95_s: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    real_time: float

    @property
    def acceptance(self) -> float:
        """Share of the commands that were understood as they were meant."""
        return self.right / self.clips

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"acceptance": self.acceptance, **vars(self)}


def figures(heard: Sequence[Heard], snr: float | None) -> Figures | None:
    """What became of the commands at one SNR; None without any."""
    some = [one for one in heard if one.snr == snr and one.spoken.meant is not None]
    if not some:
        return None
    # What comes to nothing makes nobody wait.
    answered = [one for one in some if one.understood]
    works = [work for one in answered for work in one.works]
    waits = [
        wait + work
        for one in answered
        for wait, work in zip(one.waits, one.works, strict=True)
    ]
    return Figures(
        snr,
        len(some),
        sum(one.right for one in some),
        sum(bool(one.understood) and not one.right for one in some),
        _slot_accuracy(some),
        _percentile(works, 50),
        _percentile(works, 95),
        _percentile(waits, 50),
        _percentile(waits, 95),
        sum(one.spent for one in some) / sum(one.seconds for one in some),
    )


def _slot_accuracy(some: Sequence[Heard]) -> float | None:
    right = total = 0
    for one in some:
        assert one.spoken.meant is not None
        intent, slots = one.spoken.meant
        for _, meaning in one.understood:
            if meaning is not None and meaning[0] == intent:
                total += len(slots)
                right += len(set(slots) & set(meaning[1]))
    return right / total if total else None


def _percentile(values: Sequence[float], share: float) -> float | None:
    return float(np.percentile(values, share)) if values else None


@dataclass(frozen=True)
class FalseAccepts:
    """What was taken for a command in so many seconds of anything else."""

    seconds: float
    texts: tuple[str, ...]

    @property
    def per_hour(self) -> float:
        """How often that would be in an hour of nothing but such sounds."""
        return len(self.texts) / self.seconds * 3600


def false_accepts(heard: Sequence[Heard]) -> FalseAccepts | None:
    """What was understood where nothing was meant; None without such clips.

    Seconds are those of the clips, without the quiet laid around them.
    """
    some = [one for one in heard if one.spoken.meant is None]
    if not some:
        return None
    seconds = sum(one.spoken.audio.size for one in some) / SAMPLE_RATE
    texts = tuple(text for one in some for text, _ in one.understood)
    return FalseAccepts(seconds, texts)
