"""Smoke and CO alarms by their rhythm, and what must not be taken for one."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE
from model_server.evaluation import synthesis
from model_server.evaluation.sounds import (
    Condition,
    look_alikes,
    rhythm_grid,
    try_condition,
)
from model_server.monitor import pattern
from model_server.monitor.rhythm import RhythmChange, RhythmRecognizer
from model_server.monitor.tones import Pulse


def _changes(audio: synthesis.Audio) -> list[RhythmChange]:
    return RhythmRecognizer().push(synthesis.pcm(audio))


def _starts(audio: synthesis.Audio) -> list[str]:
    return [change.label for change in _changes(audio) if change.state == "start"]


@pytest.mark.parametrize("frequency", [520.0, 2900.0, 3100.0, 3500.0])
def test_smoke_is_known_by_the_end_of_the_second_group(frequency: float) -> None:
    (change,) = _changes(synthesis.t3(9.0, frequency, start=1.0))

    assert (change.label, change.state, change.release) == ("smoke", "start", None)
    assert change.onset == pytest.approx(1.0 * SAMPLE_RATE, abs=800)
    # The sixth beep ends 6.5 s after the first began.
    assert change.at == pytest.approx(7.5 * SAMPLE_RATE, abs=1600)
    assert change.score == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("frequency", [520.0, 2900.0, 3100.0, 3500.0])
def test_carbon_monoxide_is_known_by_the_end_of_the_second_group(
    frequency: float,
) -> None:
    (change,) = _changes(synthesis.t4(9.0, frequency, start=1.0))

    assert (change.label, change.state) == ("co", "start")
    assert change.onset == pytest.approx(1.0 * SAMPLE_RATE, abs=800)
    assert change.at == pytest.approx((1.0 + 6.4) * SAMPLE_RATE, abs=1600)


@pytest.mark.parametrize(
    "condition",
    rhythm_grid(frequencies=(520.0, 3100.0), rooms=(0.4,), snrs=(10.0,)),
    ids=lambda one: f"{one.label} {one.frequency:.0f} {one.timing}",
)
def test_an_alarm_at_a_corner_of_the_tolerances_is_found_in_a_noisy_room(
    condition: Condition,
) -> None:
    # Music as background has its own test.
    assert try_condition(condition, seed=3, seconds=20.0).heard == (condition.label,)


@pytest.mark.parametrize("make", [synthesis.t3, synthesis.t4])
def test_music_over_an_alarm_does_not_hide_it(make: object) -> None:
    make_alarm = synthesis.t3 if make is synthesis.t3 else synthesis.t4
    audio = synthesis.mix(make_alarm(16.0), synthesis.music(16.0, seed=2), 5.0)

    assert _starts(audio) == ["smoke" if make is synthesis.t3 else "co"]


@pytest.fixture(scope="module")
def beeping_things() -> dict[str, synthesis.Audio]:
    """Two minutes of each, made once."""
    return look_alikes()


@pytest.mark.parametrize("name", sorted(look_alikes(1.0)))
def test_other_things_that_beep_are_no_alarm(
    name: str, beeping_things: dict[str, synthesis.Audio]
) -> None:
    assert _starts(beeping_things[name]) == []


def test_one_group_alone_is_no_alarm() -> None:
    for make in (synthesis.t3, synthesis.t4):
        audio = make(9.0, start=1.0)
        audio[int(4.2 * SAMPLE_RATE) :] = 0
        assert _starts(audio) == []


@pytest.mark.parametrize(
    "beeping",
    [
        pytest.param([(0.5, 0.5)] * 3 + [(0.5, 1.5)], id="four long beeps"),
        pytest.param([(0.5, 0.5), (0.5, 1.5)], id="two long beeps"),
        pytest.param([(0.5, 0.5)] * 2 + [(0.5, 3.0)], id="too long a pause for T3"),
        pytest.param([(0.1, 0.1)] * 3 + [(0.1, 2.5)], id="too short a pause for T4"),
        pytest.param([(0.1, 0.1)] * 4 + [(0.1, 5.0)], id="five short beeps"),
        pytest.param([(1.2, 0.3)] * 2 + [(1.2, 1.5)], id="beeps too long"),
    ],
)
def test_rhythms_close_to_the_standards_are_no_alarm(
    beeping: list[tuple[float, float]],
) -> None:
    assert _starts(synthesis.beeps(30.0, 3100.0, beeping)) == []


def test_music_speech_like_noise_and_hum_are_no_alarm() -> None:
    for seed in range(6):
        assert _starts(synthesis.music(30.0, seed=seed)) == []
    for colour in ("white", "pink", "brown"):
        assert _starts(synthesis.noise(30.0, colour)) == []
    assert _starts(synthesis.household(30.0)) == []
    assert _starts(synthesis.silence(30.0)) == []


def test_an_alarm_is_one_event_and_ends_after_the_last_group() -> None:
    audio = np.concatenate([synthesis.t3(60.0), synthesis.silence(30.0)])

    start, end = _changes(audio)

    assert (start.state, end.state) == ("start", "end")
    assert end.onset == start.onset
    # Fifteen groups of four seconds: the last beep ends at 58.5 s.
    assert end.release == pytest.approx(58.5 * SAMPLE_RATE, abs=1600)
    assert end.release is not None
    assert end.at > end.release


def test_the_slow_groups_of_a_carbon_monoxide_alarm_stay_one_event() -> None:
    fast = synthesis.t4(230.0)
    slow = synthesis.t4(180.0, pause=60.0, start=20.0)
    audio = np.concatenate([fast, slow, synthesis.silence(90.0)])

    changes = _changes(audio)

    assert [change.state for change in changes] == ["start", "end"]
    assert changes[1].release is not None
    assert changes[1].release > 350 * SAMPLE_RATE


def test_two_alarms_out_of_phase_are_both_heard() -> None:
    audio = 0.5 * synthesis.t3(20.0, 3100.0) + 0.5 * synthesis.t4(
        20.0, 3500.0, start=0.3
    )

    assert sorted(_starts(audio)) == ["co", "smoke"]


_HOUSE = synthesis.pcm(
    np.concatenate(
        [
            synthesis.mix(synthesis.t3(11.0), synthesis.household(11.0), 15.0),
            synthesis.household(15.0),
        ]
    )
)
_WHOLE = RhythmRecognizer().push(_HOUSE)


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=40))
def test_how_the_stream_is_cut_changes_nothing(sizes: list[int]) -> None:
    recognizer = RhythmRecognizer()
    changes: list[RhythmChange] = []
    at = 0
    for size in [*sizes, _HOUSE.size]:
        changes += recognizer.push(_HOUSE[at : at + size])
        at += size

    assert [change.state for change in _WHOLE] == ["start", "end"]
    assert changes == _WHOLE


def test_a_beeping_that_never_pauses_is_not_searched_for_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[int] = []
    search = pattern._between

    def count(*arguments: Any) -> list[Pulse]:
        searched.append(1)
        return search(*arguments)

    monkeypatch.setattr(pattern, "_between", count)
    crowd = [Pulse(1600 * k, 1600 * k + 960, 3000.0, -6.0) for k in range(160)]
    alarm = [
        Pulse(base + 3200 * k, base + 3200 * k + 1600, 3000.0, -6.0)
        for base in (0, 91_200)
        for k in range(4)
    ]

    assert pattern.find_match(pattern.T4, crowd) is None
    assert searched == []
    assert pattern.find_match(pattern.T4, alarm) is not None
    assert searched
