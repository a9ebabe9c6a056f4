"""The ring, the level and the voice activity of one stream."""

from __future__ import annotations

from hypothesis import given, strategies as st
import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.level import SILENCE_DBFS, LevelMeter, speech_dbfs
from model_server.audio.ring import Ring
from model_server.audio.vad import SileroVoice
from tests.server.voices import say, silence

cuts = st.lists(st.integers(0, 40), max_size=20)


@given(sizes=cuts, capacity=st.integers(1, 50))
def test_a_ring_gives_back_the_newest_samples_however_they_came(
    sizes: list[int], capacity: int
) -> None:
    ring = Ring(capacity)
    written: Pcm = np.arange(sum(sizes), dtype=np.int16)
    position = 0
    for size in sizes:
        ring.write(written[position : position + size])
        position += size

    assert ring.end == written.size
    assert ring.oldest == max(0, written.size - capacity)
    kept = ring.read(ring.oldest, ring.end)
    assert kept.tolist() == written[ring.oldest :].tolist()


def test_a_ring_refuses_what_it_no_longer_or_not_yet_has() -> None:
    ring = Ring(10)
    ring.write(np.arange(15, dtype=np.int16))

    with pytest.raises(IndexError):
        ring.read(4, 8)
    with pytest.raises(IndexError):
        ring.read(10, 16)


def test_a_full_scale_square_is_at_0_dbfs_and_silence_at_minus_100() -> None:
    square = np.full(SAMPLE_RATE, -32768, np.int16)

    levels = LevelMeter().push(np.concatenate([square, silence(1)]))

    assert [(level.rms_dbfs, level.peak_dbfs) for level in levels] == [
        (0.0, 0.0),
        (-100.0, -100.0),
    ]
    assert [level.end for level in levels] == [SAMPLE_RATE, 2 * SAMPLE_RATE]


def test_a_sine_has_a_level_3_db_below_its_peak() -> None:
    sine = 16384 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)

    (level,) = LevelMeter().push(np.asarray(sine, np.int16))

    assert level.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert level.rms_dbfs == pytest.approx(-9.03, abs=0.01)


@given(sizes=st.lists(st.integers(0, SAMPLE_RATE), min_size=1, max_size=12))
def test_levels_do_not_depend_on_how_the_audio_is_cut(sizes: list[int]) -> None:
    pcm = np.random.default_rng(0).integers(-9000, 9000, sum(sizes), np.int16)
    meter = LevelMeter()
    in_pieces = [
        level
        for piece in np.split(pcm, np.cumsum(sizes)[:-1])
        for level in meter.push(piece)
    ]

    assert in_pieces == LevelMeter().push(pcm)


def test_the_level_of_speech_is_that_of_its_sounding_moments() -> None:
    sine = 16384 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    loud = np.asarray(sine, np.int16)
    spoken = np.concatenate([silence(2), loud, silence(2)])

    assert speech_dbfs(loud) == pytest.approx(-9.03, abs=0.1)
    assert speech_dbfs(spoken) == pytest.approx(-9.03, abs=0.3)
    assert speech_dbfs(spoken // 4) == pytest.approx(-9.03 - 12.04, abs=0.3)
    assert speech_dbfs(silence(1)) == speech_dbfs(loud[:9]) == SILENCE_DBFS


def scores(pcm: Pcm) -> list[float]:
    """The voice activity of whole chunks."""
    vad = SileroVoice()
    return [
        vad(pcm[first : first + vad.chunk])
        for first in range(0, pcm.size - vad.chunk, vad.chunk)
    ]


def test_speech_scores_high_noise_and_silence_low() -> None:
    noise = np.random.default_rng(0).normal(0, 500, 3 * SAMPLE_RATE)

    assert np.median(scores(say("turn on the kitchen lights"))) > 0.9
    assert max(scores(np.asarray(noise, np.int16))) < 0.4
    assert max(scores(silence(1))) == 0


def test_after_a_reset_the_same_audio_scores_the_same() -> None:
    vad = SileroVoice()
    pcm = say("open the blinds")[: vad.chunk * 20]
    chunks = np.split(pcm, 20)
    first = [vad(chunk) for chunk in chunks]
    vad.reset()

    assert [vad(chunk) for chunk in chunks] == first
