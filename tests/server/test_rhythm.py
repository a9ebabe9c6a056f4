"""Smoke and CO alarms and low batteries by their rhythm, and what must not be taken for one."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE
from model_server.evaluation import beeping, synthesis
from model_server.evaluation.alarms import Condition, Sounder, grid, try_condition
from model_server.evaluation.beeping import look_alikes
from model_server.monitor.rhythm import RhythmChange, RhythmRecognizer


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


_ROOM = grid(frequencies=(520.0, 3100.0), rooms=(0.8,), snrs=(10.0,))
"""In a very reverberant room; `python -m benchmarks.alarms` tries everything."""


@pytest.mark.parametrize(
    "condition",
    _ROOM[::19],
    ids=lambda one: f"{one.aspect} {one.sounders[0]}",
)
def test_an_alarm_at_the_limits_is_found_at_the_second_complete_group(
    condition: Condition,
) -> None:
    # Noise as background; music has its own test.
    outcome = try_condition(condition, seed=1)

    assert outcome.found, outcome.heard
    assert not outcome.wrong
    assert outcome.in_time, outcome.heard


@pytest.mark.parametrize("seed", [1493, 2020, 2778, 3580, 3622, 3547])
def test_a_beep_of_which_the_room_leaves_the_ends_is_one_beep(seed: int) -> None:
    # Where the microphone is, the tone cancels itself once it fills the room.
    outcome = try_condition(grid()[seed], seed)
    assert outcome.in_time, outcome.heard


def test_the_grid_holds_every_corner_and_its_seconds_are_the_standards() -> None:
    corners = {
        (one.label, one.on, one.off, one.pause)
        for condition in grid()
        for one in condition.sounders
        if condition.aspect == "tolerance"
    }

    assert len(corners) == 2 * 27
    assert Sounder("smoke", 3100.0).second_complete() == pytest.approx(6.5)
    assert Sounder("co", 3100.0).second_complete() == pytest.approx(6.4)
    late = Sounder("co", 3100.0, missing=2).second_complete()
    assert late == pytest.approx(6.4 + 5.7)


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
        pytest.param([(0.24, 0.24)] * 5 + [(0.24, 1.3)], id="six for three"),
        pytest.param([(0.05, 0.05)] * 7 + [(0.05, 5.05)], id="eight for four"),
        pytest.param(
            [(0.0312, 0.0541)] * 3 + [(0.0312, 0.8534)], id="quick fours for ever"
        ),
        pytest.param([(0.03, 0.04)] * 11 + [(0.03, 4.8)], id="a trill for four"),
    ],
)
@pytest.mark.parametrize("rt60", [0.0, 0.8])
def test_rhythms_close_to_the_standards_are_no_alarm(
    beeping: list[tuple[float, float]], rt60: float
) -> None:
    heard = synthesis.room(synthesis.beeps(30.0, 3100.0, beeping), rt60, seed=1)
    assert _starts(heard) == []


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


@pytest.mark.parametrize("offset", [0.25, 1.5])
def test_two_alarms_of_one_kind_out_of_phase_are_one_event(offset: float) -> None:
    for make, label in ((synthesis.t3, "smoke"), (synthesis.t4, "co")):
        audio = 0.5 * make(9.5, 3100.0, start=0.5)
        audio += 0.5 * make(9.5, 3160.0, start=0.5 + offset)
        assert _starts(audio) == [label]


def test_a_microphone_that_turns_down_what_goes_on_hears_the_alarm() -> None:
    audio = synthesis.t3(9.0, start=1.0)
    audio *= np.linspace(1.0, 0.6, audio.size, dtype=np.float32)

    assert _starts(audio) == ["smoke"]


def _chirps(every: float, count: int, *, frequency: float = 3100.0) -> synthesis.Audio:
    seconds = every * count
    chirps = synthesis.low_battery_chirp(seconds, frequency, every=every)
    return synthesis.mix(
        synthesis.room(chirps, 0.5), synthesis.household(60.0, seed=4), 15.0
    )


def test_the_fourth_even_chirp_is_a_low_battery_and_silence_ends_it() -> None:
    audio = np.concatenate([_chirps(30.0, 5), synthesis.household(80.0, rms=0.005)])

    start, end = _changes(audio)

    assert (start.label, start.state, end.state) == ("low_battery", "start", "end")
    assert start.onset == pytest.approx(1.0 * SAMPLE_RATE, abs=800)
    assert start.at == pytest.approx(91.0 * SAMPLE_RATE, abs=2 * SAMPLE_RATE)
    assert end.release == pytest.approx(121.0 * SAMPLE_RATE, abs=SAMPLE_RATE)
    assert end.at == pytest.approx((121.0 + 75.0) * SAMPLE_RATE, abs=2 * SAMPLE_RATE)


@pytest.mark.parametrize(
    "audio",
    [
        pytest.param(_chirps(30.0, 3), id="three chirps"),
        pytest.param(_chirps(12.0, 8), id="too often"),
        pytest.param(_chirps(30.0, 5, frequency=2000.0), id="too low"),
        pytest.param(
            synthesis.beeps(150.0, 3100.0, [(0.6, 29.4)], start=1.0), id="too long"
        ),
        pytest.param(
            synthesis.beeps(150.0, 3100.0, [(0.1, 0.1), (0.1, 29.7)], start=1.0),
            id="pairs",
        ),
        pytest.param(
            synthesis.beeps(
                150.0, 3100.0, [(0.1, 27.0), (0.1, 40.0), (0.1, 32.0)], start=1.0
            ),
            id="uneven",
        ),
        pytest.param(
            np.concatenate(
                [synthesis.beeps(30.0, 3100.0, [(0.1, 2.9)]) for _ in range(5)]
            ),
            id="among others",
        ),
    ],
)
def test_other_chirps_are_no_low_battery(audio: synthesis.Audio) -> None:
    assert _starts(audio) == []


def test_a_low_battery_is_never_an_alarm_nor_an_alarm_a_low_battery() -> None:
    battery = RhythmRecognizer(["smoke", "co"]).push(synthesis.pcm(_chirps(30.0, 5)))
    alarm = RhythmRecognizer(["low_battery"]).push(synthesis.pcm(synthesis.t4(60.0)))

    assert battery == alarm == []


def test_negatives_are_made_by_seed_and_give_no_alarm() -> None:
    clip = synthesis.music(3.0, seed=8)
    made = list(beeping.negatives(0.3, [clip], seed=5))
    again = next(beeping.negatives(0.3, [clip], seed=5))

    assert len(made) == 9
    assert "recordings" in {name for name, _ in made}
    assert again[0] == made[0][0]
    assert np.array_equal(again[1], made[0][1])
    assert _starts(np.concatenate([audio for _, audio in made[:4]])) == []
