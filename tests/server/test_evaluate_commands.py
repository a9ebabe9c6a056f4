"""Commands are measured on any folder: understood, misunderstood, taken for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from benchmarks.command_dataset import body
from benchmarks.spoken import say
from model_server.__main__ import app
from model_server.audio import SAMPLE_RATE
from model_server.build import Builder
from model_server.engines.base import (
    EngineInfo,
    Hypothesis,
    Intent,
    Pcm,
    Recognition,
    Vocabulary,
    VocabularyReport,
)
from model_server.evaluation import plots
from model_server.evaluation.commands import (
    Ear,
    false_accepts,
    figures,
    hear_all,
    read_clips,
    read_home,
)
from model_server.evaluation.reading import Meaning
from model_server.evaluation.recordings import DataError
from model_server.listen.listener import MORE_S, ROOM, UNSAID_S
from tests.server.homes import family_home

LAMP = {"name": "bed light"}
Run = Callable[..., Result]


class Parrot:
    """Understands the same in every utterance, and counts them."""

    info = EngineInfo("parrot", "1")
    languages: tuple[str, ...] = ("en",)
    parallel = 1

    def __init__(self, text: str, intent: Intent | None = None) -> None:
        """Repeat `text` and `intent`."""
        self.said = Recognition(text, 1.0, intent=intent)
        self.heard = 0
        self.foreseen: Recognition | None = None

    def set_vocabulary(self, vocabulary: Vocabulary) -> VocabularyReport:
        return VocabularyReport("1", 1, 1, (), 0.0)

    def recognize(self, pcm: Pcm, language: str) -> Recognition:
        self.heard += 1
        return self.said

    def foresee(self, pcm: Pcm) -> Recognition | None:
        return self.foreseen


def write(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """A dataset of these clips, whose audio must be there."""
    folder.mkdir(exist_ok=True)
    home = body(family_home()) | changes
    (folder / "home.json").write_text(json.dumps(home))
    (folder / "commands.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Two commands and something that is none."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name, text, voice in (
        ("on.flac", "turn on the bed light", "flite:slt"),
        ("timer.wav", "set a timer for 10 minutes", "flite:slt"),
        ("talk.flac", "thank you very much for coming today", "flite:rms"),
    ):
        soundfile.write(folder / name, say(text, voice), SAMPLE_RATE)
    rows: list[dict[str, Any]] = [
        {"file": "on.flac", "intent": "HassTurnOn", "slots": LAMP, "speaker": "slt"},
        {
            "file": "timer.wav",
            "intent": "HassStartTimer",
            "slots": {"minutes": 10},
            "speaker": "slt",
        },
        {"file": "talk.flac", "speaker": "rms"},
    ]
    return write(folder, rows)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command line with a data folder of its own."""

    def invoke(*arguments: str) -> Result:
        data = ["--data-dir", str(tmp_path / "data")]
        return CliRunner().invoke(app, ["evaluate", "commands", *arguments, *data])

    return invoke


def test_what_is_understood_is_counted_and_drawn(
    spoken: Path, run: Run, tmp_path: Path
) -> None:
    told = tmp_path / "figures.json"
    result = run(
        *(str(spoken), "--snr", "-20", "--json", str(told)),
        *("--plots", str(tmp_path / "pictures")),
    )
    assert result.exit_code == 0, result.output
    assert "embedded-speech" in result.stdout
    report = json.loads(told.read_text())
    quiet, noisy = report["commands"]
    assert (quiet["snr"], quiet["clips"], quiet["right"]) == (None, 2, 2)
    assert (quiet["acceptance"], quiet["slot_accuracy"], quiet["wrong"]) == (1, 1, 0)
    # Nothing is understood of what is a tenth as loud as the household.
    assert (noisy["snr"], noisy["clips"], noisy["right"]) == (-20, 2, 0)
    assert quiet["latency_p50_s"] > quiet["work_p50_s"] > 0
    assert quiet["latency_p50_s"] > ROOM.short_pause_s
    assert quiet["real_time"] > 0
    assert report["false_accepts"]["texts"] == []
    assert report["false_accepts"]["per_hour"] == 0
    missed = [(one["file"], one["snr"]) for one in report["misses"]]
    assert missed == [("on.flac", -20), ("timer.wav", -20)]
    picture = (tmp_path / "pictures" / plots.NOISE).read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_json_alone_is_printed(spoken: Path, run: Run) -> None:
    result = run(str(spoken), "--speaker", "rms", "--json", "-")
    report = json.loads(result.stdout)
    assert report["commands"] == []
    assert report["false_accepts"]["hours"] > 0


def test_what_is_misunderstood_or_made_up_is_told(spoken: Path) -> None:
    home = read_home(spoken)
    clips = read_clips(spoken, home)
    parrot = Parrot("turn off the bed light")
    heard = list(hear_all(Ear(parrot, home), clips, (None, 30.0)))
    # What is no command is heard once: noise is no sterner test of it.
    assert parrot.heard == len(heard) == 5
    quiet = figures(heard, None)
    assert quiet is not None
    assert (quiet.right, quiet.wrong, quiet.slot_accuracy) == (0, 2, None)
    accepts = false_accepts(heard)
    assert accepts is not None
    assert accepts.texts == ("turn off the bed light",)
    assert accepts.seconds == pytest.approx(clips[2].audio.size / SAMPLE_RATE)
    assert accepts.per_hour == pytest.approx(3600 / accepts.seconds)


def test_slots_count_where_the_intent_was_right(spoken: Path) -> None:
    home = read_home(spoken)
    clips = read_clips(spoken, home, ["slt"])
    other = Parrot("turn on the desk lamp")
    seen = figures(list(hear_all(Ear(other, home), clips, (None,))), None)
    assert seen is not None
    assert (seen.right, seen.wrong, seen.slot_accuracy) == (0, 2, 0)


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("turn on the bed light", None),
        ("", Intent("HassTurnOn", {"name": "Bed Light"})),
        ("please make it bright", Intent("HassTurnOn", {"name": "bed light"})),
    ],
)
def test_a_meaning_is_home_assistants_or_the_models(
    spoken: Path, text: str, intent: Intent | None
) -> None:
    home = read_home(spoken)
    lamp = read_clips(spoken, home)[0]
    heard = Ear(Parrot(text, intent), home).hear(lamp, None)
    assert heard.right


def test_a_name_is_one_by_any_of_its_aliases_and_a_place_by_its_id(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(100, np.int16), SAMPLE_RATE)
    rows = [
        {"file": "a.wav", "intent": "HassTurnOn", "slots": {"name": name}}
        for name in ("espresso", "Coffee Machine")
    ] + [
        {"file": "a.wav", "intent": "HassTurnOn", "slots": {"area": area}}
        for area in ("Living Room", "living_room")
    ]
    write(folder, rows)
    names: list[Meaning] = []
    places: list[Meaning] = []
    for clip in read_clips(folder, read_home(folder)):
        assert clip.meant is not None
        (names if clip.meant[1][0][0] == "name" else places).append(clip.meant)
    assert len(set(names)) == len(set(places)) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('[{"file": "no.wav"}]', "no.wav"),
        ('[{"file": "home.json"}]', "home.json"),
        ('[{"intent": "HassTurnOn"}]', "0.file: Field required"),
        ('[{"file": "a.wav", "slot": {}}]', "0.slot: Extra inputs"),
        ("nothing", "Invalid JSON"),
        ("[]", "no clip of them"),
    ],
)
def test_a_wrong_list_says_what_is_wrong(
    spoken: Path, run: Run, rows: str, said: str
) -> None:
    (spoken / "commands.json").write_text(rows)
    result = run(str(spoken))
    assert result.exit_code == 2
    assert said in result.stderr


def test_what_is_missing_is_named(spoken: Path, run: Run, tmp_path: Path) -> None:
    assert "speakers are rms, slt" in run(str(spoken), "--speaker", "ann").stderr
    (spoken / "commands.json").unlink()
    assert "it lists file, intent" in run(str(spoken)).stderr
    (spoken / "home.json").write_text("{}[")
    assert "is no vocabulary" in run(str(spoken)).stderr
    (spoken / "home.json").unlink()
    assert "it says what may be said" in run(str(spoken)).stderr


def test_a_home_of_another_language_is_refused(spoken: Path, run: Run) -> None:
    home = body(family_home()) | {"language": "de"}
    (spoken / "home.json").write_text(json.dumps(home))
    result = run(str(spoken))
    assert result.exit_code == 2
    assert "English only" in result.stderr


def test_no_silence_is_a_figure(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(SAMPLE_RATE, np.int16), SAMPLE_RATE)
    write(folder, [{"file": "a.wav", "intent": "HassTurnOn", "slots": LAMP}])
    home = read_home(folder)
    heard = list(hear_all(Ear(Parrot("x"), home), read_clips(folder, home), (None,)))
    seen = figures(heard, None)
    assert seen is not None
    assert (seen.right, seen.wrong, seen.work_p50_s) == (0, 0, None)
    assert false_accepts(heard) is None
    assert figures(heard, 12.0) is None
    with pytest.raises(DataError, match="no clip of them"):
        read_clips(folder, home, ["bob"])


def test_settings_that_are_wrong_are_told(
    spoken: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("port = 'x'")
    assert run(str(spoken), "--config", str(broken)).exit_code == 2

    def gone(self: Builder) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(Builder, "recognizer", gone)
    assert "/somewhere: Permission denied" in run(str(spoken)).stderr


def test_who_pressed_a_button_is_measured_as_one(spoken: Path) -> None:
    home = read_home(spoken)
    lamp = read_clips(spoken, home)[0]
    parrot = Parrot("")
    perhaps = Hypothesis("turn on the bed light", 0.5)
    parrot.said = Recognition("", 0.5, (perhaps,), rejected="no_command")
    assert not Ear(parrot, home).hear(lamp, None).right
    assert Ear(parrot, home, asked=True).hear(lamp, None).right


def test_what_is_no_command_may_be_listened_to_after_a_wake_word_only(
    spoken: Path, run: Run
) -> None:
    home = read_home(spoken)
    clips = read_clips(spoken, home)
    ear = Ear(Parrot("turn off the bed light"), home, wake={"alexa": None})
    heard = list(hear_all(ear, clips, (None,)))
    accepts = false_accepts(heard)
    assert accepts is not None
    assert accepts.texts == ()
    commands = [one for one in heard if one.spoken.meant is not None]
    assert commands
    assert all(one.understood for one in commands)
    assert "wake words are okay_nabu" in run(str(spoken), "--wake", "computer").stderr


def test_a_command_ends_with_a_short_pause_and_all_else_with_a_long_one(
    spoken: Path,
) -> None:
    home = read_home(spoken)
    lamp = read_clips(spoken, home)[0]
    parrot = Parrot("turn on the bed light")
    parrot.foreseen = parrot.said
    (short,) = Ear(parrot, home).hear(lamp, None).waits
    assert short == pytest.approx(MORE_S, abs=0.1)
    parrot.foreseen = replace(parrot.said, final=True)
    (final,) = Ear(parrot, home).hear(lamp, None).waits
    assert final == pytest.approx(ROOM.short_pause_s, abs=0.05)
    parrot.foreseen = Recognition("", 0.1, rejected="no_command")
    (long,) = Ear(parrot, home).hear(lamp, None).waits
    assert long == pytest.approx(UNSAID_S, abs=0.1)
    # An engine that cannot tell so soon.
    parrot.foreseen = None
    (usual,) = Ear(parrot, home).hear(lamp, None).waits
    assert usual == pytest.approx(ROOM.pause_s, abs=0.1)
