"""A recording of any length: where its utterances are, and how long speech is cut."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import example, given, settings, strategies as st
import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.listen.endpoint import Utterance
from model_server.listen.recording import utterances
from tests.server.voices import say, silence


class Loud:
    """Voice is what is not silent: exact, so that a test can say where the cuts are."""

    chunk = 512

    def __call__(self, pcm: Pcm) -> float:
        return float(np.abs(pcm).max() > 0)

    def reset(self) -> None:
        pass


def voice(seconds: float) -> Pcm:
    """Something that Loud takes for speech."""
    return np.full(round(seconds * SAMPLE_RATE), 1000, np.int16)


def found(pcm: Pcm, longest: float, block: int = 4000) -> list[Utterance]:
    """All utterances of a recording that comes in blocks."""
    blocks = (pcm[first : first + block] for first in range(0, pcm.size, block))
    return [each for step in utterances(blocks, longest, Loud) for each in step]


def times(each: Utterance) -> tuple[float, float]:
    """In seconds."""
    return each.start / SAMPLE_RATE, each.end / SAMPLE_RATE


def test_utterances_are_found_with_their_times_and_margins() -> None:
    pcm = np.concatenate([silence(2), voice(1), silence(2), voice(3), silence(1)])

    first, second = found(pcm, 15)

    assert times(first) == pytest.approx((2, 3), abs=0.04)
    assert times(second) == pytest.approx((5, 8), abs=0.04)
    assert np.count_nonzero(first.pcm) == SAMPLE_RATE
    assert np.count_nonzero(second.pcm) == 3 * SAMPLE_RATE


def test_long_speech_is_cut_at_its_pauses() -> None:
    sentence = [voice(4), silence(0.4)]
    pcm = np.concatenate([silence(1), *sentence * 5, silence(1)])

    pieces = found(pcm, 10)

    assert [times(each) for each in pieces] == [
        pytest.approx((1, 9.4), abs=0.1),
        pytest.approx((9.8, 18.2), abs=0.1),
        pytest.approx((18.6, 22.6), abs=0.1),
    ]
    assert sum(np.count_nonzero(each.pcm) for each in pieces) == 20 * SAMPLE_RATE


def test_shorter_pauses_are_taken_where_there_are_no_longer_ones() -> None:
    sentence = [voice(4), silence(0.1)]
    pcm = np.concatenate([silence(1), *sentence * 4, silence(1)])

    pieces = found(pcm, 9)

    assert [times(each) for each in pieces] == [
        pytest.approx((1, 9.1), abs=0.1),
        pytest.approx((9.2, 17.3), abs=0.1),
    ]


def test_speech_without_a_pause_is_cut_anyway() -> None:
    pcm = np.concatenate([silence(1), voice(25)])

    pieces = found(pcm, 10)

    assert [times(each) for each in pieces] == [
        pytest.approx((1, 11), abs=0.04),
        pytest.approx((11, 21), abs=0.04),
        pytest.approx((21, 26), abs=0.04),
    ]
    assert sum(np.count_nonzero(each.pcm) for each in pieces) == 25 * SAMPLE_RATE


pauses = st.sampled_from([0.05, 0.1, 0.2, 0.4, 0.7, 2.0])


@given(
    st.lists(st.tuples(st.sampled_from([0.3, 1.0, 4.0, 9.0]), pauses), max_size=6),
    st.sampled_from([2000, 16_000, 500_000]),
)
@settings(max_examples=40)
@example([(0.3, 0.05), (0.3, 0.7), (1.0, 0.7), (0.3, 0.05)], 2000)
@example([(0.3, 0.7), (0.3, 0.05), (0.3, 0.05), (0.3, 0.05), (4.0, 0.05)], 2000)
def test_no_piece_is_too_long_and_no_voice_is_lost(
    parts: list[tuple[float, float]], block: int
) -> None:
    speech = [np.concatenate([voice(said), silence(pause)]) for said, pause in parts]
    pcm = np.concatenate([silence(0.5), *speech, silence(0.1)])
    # Every sample of voice is told from its neighbours.
    pcm = np.where(pcm > 0, np.arange(pcm.size) % 30_000 + 1, 0).astype(np.int16)

    pieces = found(pcm, 5, block)

    for piece in pieces:
        assert piece.end - piece.start <= 5 * SAMPLE_RATE
        inside = pcm[piece.start : piece.end]
        assert np.array_equal(piece.pcm[piece.pcm > 0], inside[inside > 0])
    heard = [piece.pcm[piece.pcm > 0] for piece in pieces]
    assert np.array_equal(np.concatenate([silence(0), *heard]), pcm[pcm > 0])


def test_a_recording_is_read_only_as_far_as_it_is_asked_for() -> None:
    read = 0

    def blocks() -> Iterator[Pcm]:
        nonlocal read
        while True:
            read += 1
            yield silence(1)

    steps = utterances(blocks(), 15, Loud)
    next(steps)
    next(steps)

    assert read == 20


def test_real_speech_is_cut_between_words() -> None:
    sentence = say("the kettle is on the stove and the cat is on the mat")
    pcm = np.concatenate([silence(1), *[sentence] * 4, silence(1)])
    blocks = [pcm]

    pieces = [each for step in utterances(blocks, 5) for each in step]

    assert len(pieces) >= 3
    assert all(each.end - each.start <= 5 * SAMPLE_RATE for each in pieces)
    heard = sum(each.end - each.start for each in pieces)
    assert heard == pytest.approx(4 * sentence.size, rel=0.15)


def test_nothing_is_found_in_nothing() -> None:
    assert found(silence(0), 15) == found(silence(3), 15) == []
