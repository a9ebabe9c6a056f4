"""Gestures: found in a room's noise, and not taken from what sounds like them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import load_catalogue
from model_server.evaluation import gestures, synthesis
from model_server.evaluation.synthesis import Audio
from model_server.monitor.gestures import THRESHOLD, Gesture, GestureRecognizer
from model_server.monitor.monitor import SoundChange, SoundMonitor
from tests.server.recordings import needs_recordings, unseen_clips

ASKED = [label for label in load_catalogue().values() if label.source == "gesture"]


def heard(*pieces: Audio) -> list[Gesture]:
    recognizer = GestureRecognizer()
    return [one for piece in pieces for one in recognizer.push(synthesis.pcm(piece))]


def labels(*pieces: Audio) -> list[str]:
    return [gesture.label for gesture in heard(*pieces)]


def clean(label: str, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    dry = gestures.gesture(label, rng)
    return gestures.heard(dry, rng, snr_db=20.0, rt60=0.2)


def clapped(intervals: list[float], seed: int = 0, snr_db: float = 25.0) -> Audio:
    """Claps of one pair of hands, so many seconds apart."""
    rng = np.random.default_rng(seed)
    dry = gestures.series(lambda: gestures.clap(rng, 1300.0), intervals, rng)
    return gestures.heard(dry, rng, snr_db=snr_db, rt60=0.2, dbfs=-12.0)


def test_the_catalogue_and_the_generator_know_the_same_gestures() -> None:
    assert [label.slug for label in ASKED] == list(gestures.GESTURES)
    assert {label.group for label in ASKED} == {"gestures"}
    assert not any(label.default for label in ASKED)


@pytest.mark.parametrize("label", gestures.GESTURES)
@pytest.mark.parametrize(("snr_db", "rt60"), [(20.0, 0.0), (20.0, 0.3), (10.0, 0.3)])
def test_most_gestures_are_found_and_none_is_taken_for_another(
    label: str, snr_db: float, rt60: float
) -> None:
    rng = np.random.default_rng(77)
    found = []
    for _ in range(8):
        dry = gestures.gesture(label, rng)
        found.append(labels(gestures.heard(dry, rng, snr_db=snr_db, rt60=rt60)))

    assert found.count([label]) >= 4
    wrong = sum(any(one != label for one in each) for each in found)
    assert wrong <= (1 if label == "finger_snaps" else 0)


def test_a_gesture_says_when_it_was_and_how_well_it_fits() -> None:
    (gesture,) = heard(clapped([0.3]))

    assert gesture.label == "double_clap"
    assert gesture.onset == pytest.approx(2.0 * SAMPLE_RATE, abs=0.02 * SAMPLE_RATE)
    assert gesture.release == pytest.approx(2.3 * SAMPLE_RATE, abs=0.02 * SAMPLE_RATE)
    assert THRESHOLD <= gesture.score <= 1


@pytest.mark.parametrize("level", [-40.0, -25.0, -1.0])
def test_how_loud_it_is_does_not_matter(level: float) -> None:
    audio = clapped([0.3]) * np.float32(10 ** ((level + 12) / 20))

    assert labels(audio) == ["double_clap"]


@pytest.mark.parametrize(
    ("intervals", "told"),
    [
        ([], []),
        ([0.3], ["double_clap"]),
        ([0.3, 0.3], ["triple_clap"]),
        ([0.3, 0.3, 0.3], []),
        ([0.3] * 6, []),
        ([0.2, 0.45], []),
        ([0.08], []),
        ([0.9], []),
    ],
)
def test_only_two_or_three_even_claps_are_a_gesture(
    intervals: list[float], told: list[str]
) -> None:
    assert labels(clapped(intervals)) == told


def test_two_double_claps_in_a_row_are_two_gestures() -> None:
    audio = np.concatenate([clapped([0.3])[: -SAMPLE_RATE // 2], clapped([0.25], 1)])

    assert labels(audio) == ["double_clap", "double_clap"]


def test_claps_among_other_sounds_are_none() -> None:
    audio = clapped([0.3])
    tune = synthesis.music(audio.size / SAMPLE_RATE, seed=2)
    assert labels(synthesis.mix(audio, tune, 0.0)) == []

    # The same, with a loud burst just before or after, or a small click in between.
    for at in (1.7, 2.7, 2.15):
        first = round(at * SAMPLE_RATE)
        crowded = audio.copy()
        click = gestures.snap(np.random.default_rng(1), 4500.0)
        crowded[first : first + click.size] += click * np.float32(0.1)
        assert labels(crowded) == []


def test_a_clap_and_a_knock_are_no_pair() -> None:
    rng = np.random.default_rng(0)
    sounds = iter([gestures.clap(rng, 1500.0), gestures.knock(rng, (120.0, 260.0))])
    dry = gestures.series(lambda: next(sounds), [0.3], rng)

    assert labels(gestures.heard(dry, rng, snr_db=25.0, rt60=0.0)) == []


@pytest.mark.parametrize(
    ("semitones", "seconds", "told"),
    [
        (7.0, 0.4, ["whistle_up"]),
        (-7.0, 0.4, ["whistle_down"]),
        (0.5, 0.4, []),
        (7.0, 0.1, []),
        (7.0, 2.0, []),
    ],
)
def test_a_whistle_glides_far_enough_and_not_for_long(
    semitones: float, seconds: float, told: list[str]
) -> None:
    rng = np.random.default_rng(5)
    dry = gestures.whistle(rng, semitones, seconds, 1200.0)

    assert labels(gestures.heard(dry, rng, snr_db=25.0, rt60=0.0)) == told


def test_a_voice_a_tune_and_a_sliding_siren_are_no_whistle() -> None:
    rng = np.random.default_rng(5)
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    glide = 2 * np.pi * np.cumsum(700 * 2 ** (time * 14 / 12)) / SAMPLE_RATE
    voice = sum(np.sin(k * glide) / k for k in range(1, 8))
    steps = np.concatenate([synthesis.tone(0.25, hz) for hz in (800.0, 1000.0, 1200.0)])
    siren = np.concatenate([np.sin(glide), np.sin(glide[::-1])] * 6)
    for dry in (voice, steps, siren):
        audio = (np.asarray(dry) / np.max(np.abs(dry))).astype(np.float32)
        assert labels(gestures.heard(audio, rng, snr_db=25.0, rt60=0.0)) == []


@pytest.mark.parametrize("kind", list(gestures.NUISANCES))
def test_what_is_impulsive_at_home_gives_nothing(kind: str) -> None:
    assert labels(*gestures.nuisance(kind, 1, seed=3)) == []


def test_music_alarms_and_noise_give_nothing() -> None:
    pieces = [synthesis.music(60.0, seed=seed) for seed in range(2)]
    pieces += [synthesis.t3(20.0), synthesis.phone_ring(20.0)]
    pieces += [synthesis.household(30.0), synthesis.silence(10.0)]

    assert labels(*pieces) == []


@needs_recordings
@pytest.mark.parametrize(
    "name",
    ["speech", "keyboard_typing", "mouse_click", "can_opening", "footsteps", "dog"],
)
def test_recordings_of_other_things_give_nothing(name: str) -> None:
    clips = [clip.samples for clip in unseen_clips(name, 60)]
    assert clips
    pause = synthesis.noise(1.0, rms=1e-4)

    assert labels(*(part for clip in clips for part in (clip, pause))) == []


HOUSE = np.concatenate(
    [clapped([0.3]), clean("whistle_up", 1), clean("triple_knock", 4)]
)


@settings(max_examples=8, deadline=None)
@given(size=st.integers(50, 60_000))
def test_how_the_stream_is_cut_changes_nothing(size: int) -> None:
    whole = heard(HOUSE)
    assert [one.label for one in whole] == ["double_clap", "whistle_up", "triple_knock"]

    assert heard(*(HOUSE[at : at + size] for at in range(0, HOUSE.size, size))) == whole


def test_a_watched_gesture_begins_and_ends_at_once() -> None:
    watched = [label for label in ASKED if label.slug == "double_clap"]

    changes = SoundMonitor(None, watched).push(synthesis.pcm(HOUSE))

    start, end = changes
    assert (start.label, start.state, start.release) == ("double_clap", "start", None)
    assert (end.state, end.event, end.onset) == ("end", start.event, start.onset)
    assert end.release is not None
    assert end.release > end.onset
    assert start.engine.name == "earshot-gestures"
    assert start.scores == {"double_clap": start.score}


def test_events_of_gestures_are_numbered_like_any_other() -> None:
    changes: list[SoundChange] = SoundMonitor(None, ASKED).push(synthesis.pcm(HOUSE))

    assert [change.event for change in changes] == [1, 1, 2, 2, 3, 3]
    onsets = [change.onset for change in changes]
    assert all(one <= other for one, other in pairwise(onsets))


def test_a_classifier_that_is_sure_of_speech_takes_a_gesture_back() -> None:
    (gesture,) = heard(clapped([0.3]))

    assert gesture.vetoed({"speaking": 0.95})
    assert not gesture.vetoed({"speaking": 0.5, "clapping": 0.9, "knock": 0.9})
    assert not gesture.vetoed({})
