"""Wake words are measured: misses at each cutoff, and false accepts over hours of a home."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from model_server.__main__ import app
from model_server.evaluation.datasets import Item, Sample
from model_server.evaluation.negatives import Segment
from model_server.evaluation.wake import CUTOFFS, measure, points
from model_server.listen.wake import WakeDecision, WakeScore, wake_words

from .voices import say, silence

RATE = 16_000


def sample(label: str, text: str, voice: str = "slt") -> Sample:
    audio = say(text, voice).astype(np.float32) / np.float32(32768)
    return Sample(Item(Path(f"{label}.wav"), label, label), audio)


def test_a_word_wakes_once_above_its_cutoff_until_it_may_again() -> None:
    decision = WakeDecision(0.9)
    scores = [(0, 0.9), (480, 0.91), (960, 0.99), (32_000, 0.99), (32_480, 0.95)]
    woken = [
        at for at, score in scores if decision.wakes(WakeScore("alexa", at, score))
    ]
    assert woken == [480, 32_480]


def test_clips_are_counted_for_their_word_and_negatives_for_every_word() -> None:
    clips = [
        sample("hey_jarvis", "hey jarvis"),
        sample("hey_jarvis", "what a lovely day"),
        sample("alexa", "alexa", "kal16"),
    ]
    # Somebody on television says a wake word: a false accept, by its kind.
    said = np.concatenate([silence(2), say("hey jarvis"), silence(6)])
    home = [Segment("talk", frozenset(), said.astype(np.float32) / np.float32(32768))]
    told: list[float] = []
    rows = measure(["hey_jarvis", "alexa"], clips, home, 30.0, told.append)

    own = {row.word: row for row in rows if row.own}
    assert (own["hey_jarvis"].heard, own["hey_jarvis"].clips) == (1, 2)
    assert own["hey_jarvis"].miss_rate == 0.5
    assert own["hey_jarvis"].false == {"talk": 1}
    seconds = said.size / RATE
    assert own["hey_jarvis"].per_hour == pytest.approx(3600 / seconds)
    assert (own["alexa"].heard, own["alexa"].clips) == (1, 1)
    assert own["alexa"].false == {}
    assert own["alexa"].cutoff == wake_words()["alexa"].cutoff
    assert sum(told) > seconds
    # A stricter cutoff never wakes where a laxer one does not.
    for word in own:
        counts = [row.heard for row in rows if row.word == word]
        assert counts == sorted(counts, reverse=True)


def test_a_words_own_cutoff_is_among_those_that_are_tried() -> None:
    assert points("alexa") == list(CUTOFFS)
    assert wake_words()["alexa"].cutoff in CUTOFFS
    assert set(CUTOFFS) <= set(points("okay_nabu"))


def test_a_cutoff_without_clips_or_hours_has_no_rates() -> None:
    (row, *_) = measure(["alexa"], [], [], 20.0, lambda _: None)
    assert row.miss_rate is None
    assert row.per_hour is None


def _dataset(folder: Path) -> Path:
    rows = [
        ("jarvis.wav", "hey_jarvis", say("hey jarvis")),
        ("talk.wav", "speaking", say("we went for a walk along the river")),
        ("click.wav", "click", say("tea")),
    ]
    for file, _, pcm in rows:
        soundfile.write(folder / file, pcm, RATE)
    table = folder / "wake.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label"])
        writer.writerows(row[:2] for row in rows)
    return table


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["evaluate", "wake", *arguments])


def test_the_command_prints_a_table_or_figures(tmp_path: Path) -> None:
    table = str(_dataset(tmp_path))
    hours = ("--negative-hours", "0.005")
    kept = tmp_path / "figures.json"
    shown = _run(table, *hours, "--json", str(kept))
    assert shown.exit_code == 0, shown.output
    assert "hey_jarvis" in shown.output
    assert "1 of 1" in shown.output
    assert "h of negatives" in shown.output

    printed = _run(table, *hours, "--json", "-")
    figures = json.loads(printed.stdout)
    assert figures == json.loads(kept.read_text("utf-8"))
    own = [one for one in figures["points"] if one["own"]]
    assert {one["word"] for one in own} == {
        "alexa", "hey_jarvis", "hey_mycroft", "okay_nabu",
    }  # fmt: skip
    assert [one["heard"] for one in own if one["word"] == "hey_jarvis"] == [1]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    nothing = _run(str(tmp_path))
    assert nothing.exit_code == 2
    assert "is no dataset" in nothing.output
    table = str(_dataset(tmp_path))
    full = _run(
        table, "--negative-hours", "0", "--json", str(tmp_path / "away" / "f.json")
    )
    assert full.exit_code == 2
    assert "No such file or directory" in full.output
