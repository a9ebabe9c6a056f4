"""The generated sounds are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest

from model_server.evaluation import synthesis
from model_server.evaluation.synthesis import RATE, Audio


def _beats(audio: Audio) -> list[tuple[float, float]]:
    """(begin, length) in seconds of what sounds, at 5 ms."""
    step = RATE // 200
    loud = (
        np.abs(audio[: audio.size // step * step]).reshape(-1, step).max(axis=1) > 0.1
    )
    edges = np.flatnonzero(
        np.diff(np.concatenate([[False], loud, [False]]).astype(int))
    )
    return [
        (round(begin / 200, 2), round((end - begin) / 200, 2))
        for begin, end in edges.reshape(-1, 2)
    ]


def _strongest(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio))
    return float(np.argmax(spectrum) * RATE / audio.size)


def test_t3_is_three_half_seconds_then_a_pause_of_one_and_a_half() -> None:
    beats = _beats(synthesis.t3(8.0))

    assert [begin for begin, _ in beats] == pytest.approx([0, 1, 2, 4, 5, 6], abs=0.02)
    assert all(length == pytest.approx(0.5, abs=0.02) for _, length in beats)


def test_t4_is_four_tenths_then_five_seconds() -> None:
    beats = _beats(synthesis.t4(6.5))

    assert [begin for begin, _ in beats] == pytest.approx(
        [0, 0.2, 0.4, 0.6, 5.7, 5.9, 6.1, 6.3], abs=0.02
    )


def test_drift_stretches_and_missing_beeps_are_silent() -> None:
    assert _beats(synthesis.t3(3.0, drift=0.02))[2][0] == pytest.approx(2.04, abs=0.01)
    assert len(_beats(synthesis.t3(3.0, missing=(1,)))) == 2


def test_a_pattern_that_began_earlier_is_joined() -> None:
    begin, length = _beats(synthesis.t3(1.0, start=-2.25))[0]

    assert begin == 0.0
    assert length == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("frequency", [520.0, 3100.0])
def test_an_alarm_has_its_pitch(frequency: float) -> None:
    assert _strongest(synthesis.t3(4.0, frequency)) == pytest.approx(frequency, abs=5)


def test_a_520_hz_sounder_is_square_with_odd_harmonics_only() -> None:
    spectrum = np.abs(np.fft.rfft(synthesis.tone(1.0, 520.0, "square")))

    assert spectrum[1560] > spectrum[520] / 4
    assert spectrum[1040] < spectrum[520] / 100


@pytest.mark.parametrize("pattern", [[], [(0.0, 0.0)], [(-1.0, 2.0)]])
def test_a_pattern_without_time_is_refused(pattern: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="pattern"):
        synthesis.beeps(1.0, 3000.0, pattern)


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 12.0])
def test_a_mixture_has_the_ratio_asked_for(ratio: float) -> None:
    signal = 0.1 * synthesis.tone(4.0, 1000.0)
    mixed = synthesis.mix(signal, synthesis.noise(1.0, "white"), ratio)
    noise = mixed - signal * np.vdot(mixed, signal) / np.vdot(signal, signal)

    found = 10 * np.log10(np.mean(mixed**2) / np.mean(noise**2) - 1)
    assert found == pytest.approx(ratio, abs=1.0)


def test_pauses_do_not_count_as_loudness() -> None:
    alone = synthesis.tone(1.0, 1000.0)
    spaced = np.concatenate([alone, synthesis.silence(9.0)])

    assert synthesis.loudness(spaced) == pytest.approx(
        synthesis.loudness(alone), rel=0.01
    )


def test_mixing_with_nothing_changes_nothing() -> None:
    signal = synthesis.tone(0.5, 700.0)

    assert np.array_equal(synthesis.mix(signal, synthesis.silence(1.0), 3.0), signal)
    assert np.array_equal(synthesis.mix(signal, synthesis.silence(0.0), 3.0), signal)
    assert np.array_equal(synthesis.room(signal, 0.0), signal)


def test_a_room_goes_on_sounding() -> None:
    click = synthesis.silence(1.0)
    click[100] = 0.9

    wet = synthesis.room(click, 0.5)

    assert np.sum(wet[1000:4000] ** 2) > 100 * np.sum(wet[8000:11000] ** 2) > 0


@pytest.mark.parametrize(
    ("colour", "slope"), [("white", 0), ("pink", -3), ("brown", -6)]
)
def test_noise_has_its_slope(colour: synthesis.Colour, slope: float) -> None:
    power = np.abs(np.fft.rfft(synthesis.noise(8.0, colour, rms=0.02))) ** 2
    low, high = power[8 * 500 : 8 * 1000].mean(), power[8 * 1000 : 8 * 2000].mean()

    assert 10 * np.log10(high / low) == pytest.approx(slope, abs=0.7)


@pytest.mark.parametrize(
    "make",
    [
        synthesis.low_battery_chirp,
        synthesis.reversing_beeper,
        synthesis.microwave,
        synthesis.kitchen_timer,
        synthesis.phone_ring,
        synthesis.household,
        synthesis.music,
        synthesis.noise,
    ],
)
def test_everything_is_repeatable_and_never_clips(make: object) -> None:
    assert callable(make)
    audio = make(5.0)

    assert audio.dtype == np.float32
    assert audio.shape == (5 * RATE,)
    assert 0 < np.abs(audio).max() <= 1
    assert np.array_equal(audio, make(5.0))
    assert synthesis.pcm(audio).dtype == np.int16


def test_nothing_lasts_no_time() -> None:
    assert synthesis.noise(0.0).size == 0
    assert synthesis.music(0.0).size == 0
    assert synthesis.loudness(synthesis.silence(0.0)) == 0
