"""Sounds are measured on any dataset: clips found, hours of negatives, thresholds."""

from __future__ import annotations

import csv
from dataclasses import replace
import json
from pathlib import Path
import sys
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from typer.testing import CliRunner

from model_server.__main__ import app
from model_server.build import Builder
from model_server.catalogue import SoundLabel, load_catalogue
from model_server.engines.base import Classification, EngineInfo
from model_server.evaluation import negatives, plots, report, synthesis
from model_server.evaluation.datasets import Item, Sample, choose, load, read_dataset
from model_server.evaluation.negatives import KINDS, Segment, stream
from model_server.evaluation.recordings import DataError
from model_server.evaluation.scoring import firing, score, starts
from model_server.monitor.detector import Rule
from model_server.monitor.monitor import SoundMonitor
from model_server.monitor.rules import catalogue_rule

RATE = 16_000
Audio = npt.NDArray[np.float32]


class Ear:
    """Hears a whistle of 3 kHz as a siren and one of 1 kHz as a bark, by their share of the power."""

    info = EngineInfo("ear", "1")
    labels = ("siren", "bark")
    window = 2 * RATE
    hop = RATE // 2
    parallel = 1

    def __init__(self) -> None:
        """Count the windows."""
        self.windows = 0

    def classify(self, windows: Audio) -> Classification:
        self.windows += len(windows)
        power = np.abs(np.fft.rfft(windows)) ** 2
        total = power.sum(axis=1) + 1e-9
        # 2 s: a bin is half a hertz.
        shares = [power[:, 2 * f - 40 : 2 * f + 40].sum(axis=1) for f in (3000, 1000)]
        scores = np.stack(shares, axis=1) / total[:, None]
        # In 255ths already, so that a monitor decides on the very same figures.
        exact = np.rint(scores * 255) / 255
        return Classification(exact.astype(np.float32), np.zeros((len(windows), 1)))


def whistle(hertz: float, seconds: float = 3.0) -> Audio:
    return (0.3 * synthesis.tone(seconds, hertz)).astype(np.float32)


def write_esc50(folder: Path) -> Path:
    """Two folds of two sources each in ESC-50's layout, at its own rate."""
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    rows = [
        ("1-100-A-42.wav", "1", "siren", "100", 3000.0),
        ("1-101-A-0.wav", "1", "dog", "101", 1000.0),
        ("2-200-A-42.wav", "2", "siren", "200", 3000.0),
        ("2-201-A-14.wav", "2", "chirping_birds", "201", 5000.0),
    ]
    with (folder / "meta" / "esc50.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "fold", "target", "category", "src_file"])
        for name, fold, label, source, hertz in rows:
            table.writerow([name, fold, "0", label, source])
            wave = np.sin(2 * np.pi * hertz * np.arange(3 * 44_100) / 44_100)
            soundfile.write(folder / "audio" / name, 0.3 * wave, 44_100)
    return folder


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    return write_esc50(tmp_path / "esc50")


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Ear:
    """The engine that the settings name."""
    made = Ear()
    monkeypatch.setattr(Builder, "classifier", lambda _: made)
    return made


def evaluate(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(
        app, ["evaluate", "sounds", *(str(one) for one in arguments)]
    )
    return result.exit_code, result.output


def label(slug: str, **changes: object) -> SoundLabel:
    return replace(load_catalogue()[slug], **changes)  # type: ignore[arg-type]


def sample(name: str, audio: Audio) -> Sample:
    return Sample(Item(Path(f"{name}.flac"), name, name), audio)


def test_esc50s_layout_gives_catalogue_labels_sources_and_folds(esc50: Path) -> None:
    items = read_dataset(esc50)

    assert [(one.label, one.source, one.fold) for one in items] == [
        ("siren", "100", "1"),
        ("bark", "101", "1"),
        ("siren", "200", "2"),
        ("chirping_birds", "201", "2"),
    ]
    # 44.1 kHz are decoded to the engines' 16 kHz.
    assert load(items[0]).audio.size == pytest.approx(3 * RATE, abs=10)


def test_a_manifest_says_what_the_shipped_weights_learnt_from(tmp_path: Path) -> None:
    rows = [
        ("1-7-A-0.flac", "esc50-fold1", "dog", "x by y http://freesound.org/sounds/7/"),
        ("4-9-A-10.flac", "esc50-fold4", "rain", "x"),
        ("a.flac", "speech-negative", "hello", "z https://freesound.org/p/q/sounds/8/"),
        ("bell.flac", "soundmonster", "doorbell", "x"),
    ]
    with (tmp_path / "MANIFEST.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "subset", "label", "licence", "attribution"])
        table.writerows(
            [name, subset, word, "CC0", by] for name, subset, word, by in rows
        )

    items = read_dataset(tmp_path)

    assert [(one.label, one.source, one.split) for one in items] == [
        ("bark", "7", "seen"),
        ("rain", "9", "unseen"),
        ("speaking", "8", "unseen"),
        ("doorbell", "bell.flac", ""),
    ]
    assert [one.label for one in choose(items, ["4"])] == ["rain"]


def test_a_table_of_ones_own_may_name_sources_folds_and_splits(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(
        "file,label,source,fold,split\na.wav,siren,s1,1,test\nb.wav,hum,,2,train\n"
    )

    items = read_dataset(table)

    assert [(one.path, one.source, one.fold, one.split) for one in items] == [
        (tmp_path / "a.wav", "s1", "1", "test"),
        (tmp_path / "b.wav", "b.wav", "2", "train"),
    ]
    assert choose(items, side="test") == items[:1]
    assert choose(items) == items


def test_a_source_on_both_sides_is_refused() -> None:
    items = [
        Item(Path("a1"), "siren", "a", "1"),
        Item(Path("a2"), "siren", "a", "2"),
        Item(Path("b"), "siren", "b", "2"),
    ]

    with pytest.raises(DataError, match="1 sources are on both sides.* a"):
        choose(items, ["2"])
    with pytest.raises(DataError, match="folds and splits are .*1, 2"):
        choose(items, ["5"])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("mine.csv", "file,what\na,b\n", "needs the columns file, label"),
        ("mine.csv", "file,label\n", "lists no clips"),
        ("mine.csv", "file,label\n\xff\n", "cannot be read as CSV"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))

    with pytest.raises(DataError, match=told):
        read_dataset(tmp_path / name)


def test_what_is_no_dataset_is_told_what_would_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"meta/esc50\.csv"):
        read_dataset(tmp_path)
    (tmp_path / "no.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match="cannot be read as audio"):
        load(Item(tmp_path / "no.wav", "siren", "s"))


def test_scored_windows_begin_the_events_that_the_monitor_begins() -> None:
    siren, bark = label("siren", on_score=0.5, k=2, n=3), label("bark", hold_s=1.0)
    parts = [synthesis.household(7.3), whistle(3000), synthesis.silence(4.1)]
    parts += [whistle(1000, 6), synthesis.noise(5.0), whistle(3000), whistle(1000)]
    audio = np.concatenate([*parts, synthesis.silence(3.0), whistle(3000)])
    monitor = SoundMonitor(Ear(), [siren, bark])
    expected = []
    for first in range(0, audio.size, 800):
        piece = synthesis.pcm(audio[first : first + 800])
        expected += [
            (change.label, min(first + 800, audio.size))
            for change in monitor.push(piece)
            if change.state == "start"
        ]

    # However the recording is cut, a window is scored once and at the same place.
    cut = np.array_split(audio, [5, 5000, 90_000, 90_001])
    track = score(Ear(), cut)

    rules = [(each, catalogue_rule(each)) for each in (siren, bark)]
    found = [
        (each.slug, start.at)
        for place, (each, rule) in enumerate(rules)
        for start in starts(track.at, track.scores[:, place], rule)
    ]
    assert len(expected) >= 4
    assert sorted(found) == sorted(expected)
    assert track.samples == audio.size


def test_silent_windows_are_not_asked_about_and_score_nothing() -> None:
    ear = Ear()

    track = score(ear, [synthesis.silence(10.0)])

    assert track.scores.shape == (17, 2)
    assert not track.scores.any()
    assert ear.windows == 0
    assert score(ear, []).scores.shape == (0, 2)


@pytest.mark.parametrize(("k", "n"), [(1, 1), (2, 3), (3, 4)])
def test_the_firing_score_is_the_highest_threshold_that_fires(k: int, n: int) -> None:
    rng = np.random.default_rng(k)
    for _ in range(20):
        scores = rng.integers(0, 256, size=12).astype(np.uint8)
        at = np.arange(12) * 8000
        best = firing(scores, k, n)

        assert starts(at, scores, Rule(best, best / 2, k, n, 16_000))
        assert not starts(at, scores, Rule(best + 0.002, 0.1, k, n, 16_000))
    assert firing(np.zeros(k - 1, np.uint8), k, n) == 0.0


def test_average_precision_is_the_area_under_the_curve() -> None:
    best = np.array([0.9, 0.8, 0.8, 0.3])
    mine = np.array([True, False, True, True])

    # 1 of 1 at 0.9; 2 of 3 at 0.8, where two clips pass together; 3 of 4 at the end.
    expected = (1 + 2 / 3 + 3 / 4) / 3
    assert report.average_precision(best, mine) == pytest.approx(expected)
    assert report.average_precision(best, np.zeros(4, bool)) is None


def test_negatives_are_all_kinds_at_all_levels_and_the_same_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(negatives, "SONGS", 2)
    monkeypatch.setattr(negatives, "GROUNDS", 2)
    monkeypatch.setattr(negatives, "KINDS", {**KINDS, "beeps": 0.25})
    samples = [
        sample("speaking", synthesis.music(2.0)),
        sample("siren", whistle(3000)),
        sample("rain", synthesis.noise(3.0)),
    ]

    made = list(stream(samples, 0.15, seed=3))

    again = list(stream(samples, 0.15, seed=3))
    assert [one.kind for one in made] == [one.kind for one in again]
    assert np.array_equal(made[-1].audio, again[-1].audio)
    assert {one.kind for one in made} == set(KINDS)
    assert sum(one.audio.size for one in made) >= 540 * RATE
    assert all(np.abs(one.audio).max() <= 1 for one in made)
    levels = [20 * np.log10(synthesis.loudness(one.audio)) for one in made]
    assert max(levels) - min(levels) > 25
    assert {next(iter(one.truths)) for one in made if one.kind == "talk"} == {
        "speaking"
    }
    # What beeps as an alarm clock does is no false alarm of that label.
    assert {one.truths for one in made if one.kind == "beeps"} == {
        frozenset(),
        frozenset({"alarm_clock"}),
    }
    assert "talk" not in {one.kind for one in stream(samples[1:], 0.05)}


def test_a_labels_own_sounds_are_no_negatives_of_it() -> None:
    quiet = synthesis.household(10.0)
    segments = [
        Segment("noise", frozenset(), quiet),
        Segment("clips", frozenset({"siren"}), whistle(3000, 4)),
        Segment("noise", frozenset(), quiet),
        Segment("beeps", frozenset(), whistle(3000, 4)),
        Segment("noise", frozenset(), quiet),
    ]
    home = report.listen(segments, Ear())
    rule = Rule(0.5, 0.25, 2, 3, 3 * RATE)

    hours, counts = report.false_alarms(home, "siren", 0, rule)
    all_hours, all_counts = report.false_alarms(home, "bark", 0, rule)

    assert counts == {"beeps": 1}
    assert all_counts == {"clips": 1, "beeps": 1}
    # Four seconds, and the two in which a window still holds them.
    assert all_hours == pytest.approx(38 / 3600, rel=0.01)
    assert (all_hours - hours) * 3600 == pytest.approx(6, abs=1)


def test_a_tuned_threshold_is_the_lowest_within_the_limit() -> None:
    rng = np.random.default_rng(0)
    hum = [
        # A bark's tone under noise, at more and more of the power.
        synthesis.mix(whistle(1000, 10), synthesis.noise(10.0, "white"), snr)
        for snr in rng.permutation(np.linspace(-10, 3, 8))
    ]
    home = report.listen([Segment("music", frozenset(), one) for one in hum], Ear())
    heard = list(
        report.hear(
            [sample("bark", whistle(1000)), sample("x", whistle(500))], Ear(), 20
        )
    )
    bark = label("bark", k=2, n=3)
    rule = catalogue_rule(bark)

    best = report.tune(bark, 1, heard, home, rule)

    assert best is not None
    assert best.found == 1
    assert best.per_day == 0
    lower = Rule(best.rule.on - 6 / 255, best.rule.off, 2, 3, rule.hold)
    assert report.false_alarms(home, "bark", 1, lower)[1]
    safer = report.tune(bark, 1, heard, home, rule, margin=0.5)
    assert safer is not None
    assert safer.rule.on > best.rule.on
    safest = report.listen([Segment("x", frozenset(), synthesis.noise(20.0))], Ear())
    unproven = report.tune(bark, 1, heard, safest, rule)
    assert unproven is not None
    assert unproven.rule.on == pytest.approx(report.LEAST, abs=0.011)
    loud = report.listen([Segment("x", frozenset(), whistle(1000, 20))], Ear())
    assert report.tune(bark, 1, heard, loud, rule) is None


def test_the_command_measures_what_the_settings_name(
    esc50: Path, ear: Ear, tmp_path: Path
) -> None:
    to = tmp_path / "figures.json"

    code, told = evaluate(esc50, "--negative-hours", 0.05, "--tune", "--json", to)

    assert code == 0, told
    made = json.loads(to.read_text())
    assert made["engine"] == {"name": "ear", "version": "1"}
    siren = made["labels"]["siren"]
    assert (siren["found"], siren["clips"], siren["precision"]) == (2, 2, 1.0)
    assert siren["average_precision"] == 1.0
    # Two of three windows of 2 s, half of which a whistle has to fill.
    assert 1 <= siren["delay_p50_s"] <= 2.5
    assert siren["negative_hours"] < 0.06
    assert made["macro_recall_security_and_people"] == 1.0
    assert made["tuned"]["siren"]["false_alarms_per_24h"] <= 1
    table = made["confusion"]
    birds = table["counts"][table["rows"].index("chirping_birds")]
    assert dict(zip(table["columns"], birds, strict=True)) == {
        "siren": 0, "bark": 0, "nothing": 1,
    }  # fmt: skip
    assert "macro recall of security and people 100%" in told
    assert "Tuned" in told


def test_only_a_fold_is_measured_and_json_can_be_printed(esc50: Path, ear: Ear) -> None:
    code, told = evaluate(esc50, "--fold", 2, "--negative-hours", 0.01, "--json", "-")

    assert code == 0, told
    made = json.loads(told)
    assert made["clips"] == 2
    assert made["labels"]["bark"]["recall"] is None
    assert "tuned" not in made


def test_negatives_may_come_from_elsewhere(
    esc50: Path, ear: Ear, tmp_path: Path
) -> None:
    only = tmp_path / "one.csv"
    only.write_text(f"file,label\n{esc50 / 'audio' / '1-100-A-42.wav'},siren\n")

    code, told = evaluate(
        only, "--negatives", esc50, "--negative-hours", 0.05, "--json", "-"
    )

    assert code == 0, told
    # The barks of the other dataset are heard, and are no negatives of bark.
    assert json.loads(told)["labels"]["bark"]["negative_hours"] < 0.05


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "no dataset"),
        (["DATA", "--fold", "9"], "no clip is there"),
        (["DATA", "--config", "none.toml"], "none.toml"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    esc50: Path, arguments: list[str], told: str
) -> None:
    code, said = evaluate(*(str(esc50) if one == "DATA" else one for one in arguments))

    assert code == 2
    assert told in said
    assert len(said.strip().splitlines()) == 1


class _Axes:
    """Notes what is drawn."""

    def __init__(self, drawn: list[tuple[str, tuple[Any, ...]]]) -> None:
        self._drawn = drawn

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **_: self._drawn.append((name, given))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """A package matplotlib, which the test environment need not have."""
    calls: list[tuple[str, Any]] = []

    class Figure:
        def __init__(self, **_: object) -> None:
            pass

        def add_subplot(self, *_: object) -> _Axes:
            return _Axes(calls)

        def savefig(self, path: Path, **_: object) -> None:
            path.write_bytes(b"PNG")

    module = ModuleType("matplotlib.figure")
    module.__dict__["Figure"] = Figure
    monkeypatch.setitem(sys.modules, "matplotlib", ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", module)
    return calls


def test_plots_show_every_row_and_a_curve_per_label(
    esc50: Path, ear: Ear, tmp_path: Path, drawn: list[tuple[str, Any]]
) -> None:
    folder = tmp_path / "plots"

    code, told = evaluate(esc50, "--negative-hours", 0.01, "--plots", folder)

    assert code == 0, told
    assert {one.name for one in folder.iterdir()} == {plots.CONFUSION, plots.CURVES}
    rows = next(given for name, given in drawn if name == "set_yticks")
    assert rows[1] == ["bark", "chirping_birds", "siren"]
    titles = [given[0] for name, given in drawn if name == "set_title"]
    assert titles == ["siren", "bark"]


def test_without_matplotlib_plots_say_what_to_run(
    esc50: Path, ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    code, told = evaluate(esc50, "--plots", tmp_path / "plots")

    assert code == 2
    assert "scripts/setup --training" in told
    # It is said before hours are spent.
    assert ear.windows == 0


def test_matplotlib_itself_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    heard = list(report.hear([sample("siren", whistle(3000))], Ear(), 20))
    columns = [("siren", 0, catalogue_rule(label("siren")))]

    first = plots.draw_confusion(tmp_path, *report.confusion(heard, columns))
    second = plots.draw_curves(tmp_path, heard, columns)

    for path in (first, second):
        assert path.read_bytes().startswith(b"\x89PNG")
