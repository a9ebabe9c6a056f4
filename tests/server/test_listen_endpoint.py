"""Where utterances begin and end, with given probabilities and with real speech."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
import soundfile

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.vad import SileroVoice
from model_server.listen.endpoint import (
    Endpointer,
    EndpointEvent,
    EndpointSettings,
    Pause,
    SpeechStart,
    Utterance,
    pause_of,
)
from tests.server.recordings import DATA, needs_recordings
from tests.server.voices import say, silence

CHUNK = 160
PER_SECOND = SAMPLE_RATE // CHUNK
MARGINS_S = EndpointSettings().pre_roll_s + EndpointSettings().post_s


class LoudIsSpeech:
    """A voice activity whose probability is written in the samples, in per mille."""

    chunk = CHUNK

    resets = 0

    def __call__(self, pcm: Pcm) -> float:
        assert pcm.size == CHUNK
        return float(pcm[0]) / 1000

    def reset(self) -> None:
        self.resets += 1


def script(*parts: tuple[float, float]) -> Pcm:
    """Audio of (seconds, probability) parts."""
    return np.concatenate(
        [
            np.full(round(seconds * SAMPLE_RATE), round(1000 * score), np.int16)
            for seconds, score in parts
        ]
    )


def run(pcm: Pcm, **changes: float) -> list[EndpointEvent]:
    """All events of a scripted stream."""
    endpointer = Endpointer(LoudIsSpeech(), replace(EndpointSettings(), **changes))
    return endpointer.push(pcm) + endpointer.finish()


def spans(events: list[EndpointEvent]) -> list[tuple[float, float]]:
    """Start and end of each utterance in seconds."""
    return [
        (event.start / SAMPLE_RATE, event.end / SAMPLE_RATE)
        for event in events
        if isinstance(event, Utterance)
    ]


def test_speech_between_pauses_is_one_utterance_with_its_margins() -> None:
    events = run(script((2, 0), (1, 0.9), (2, 0)))

    assert events[0] == SpeechStart(2 * SAMPLE_RATE)
    assert spans(events) == [(2, 3)]
    utterance = events[1]
    assert isinstance(utterance, Utterance)
    margin = round(0.65 * SAMPLE_RATE)
    assert utterance.pcm.size == round(1.9 * SAMPLE_RATE)
    assert utterance.pcm[:margin].max() == 0
    assert utterance.pcm[margin] == 900


def test_an_utterance_is_given_out_as_soon_as_the_pause_is_long_enough() -> None:
    endpointer = Endpointer(LoudIsSpeech())

    endpointer.push(script((1, 0), (1, 0.9), (0.59, 0)))
    assert [type(event) for event in endpointer.push(script((0.01, 0)))] == [Utterance]


def test_gaps_between_words_do_not_cut() -> None:
    assert spans(run(script((1, 0), (0.5, 0.9), (0.5, 0), (0.5, 0.9), (1, 0)))) == [
        (1, 2.5)
    ]


def test_a_longer_pause_does() -> None:
    assert spans(run(script((1, 0), (0.5, 0.9), (0.7, 0), (0.5, 0.9), (1, 0)))) == [
        (1, 1.5),
        (2.2, 2.7),
    ]


def test_a_click_is_no_speech_and_is_never_announced() -> None:
    assert run(script((1, 0), (0.2, 0.9), (1, 0))) == []


def test_a_hesitant_score_keeps_speech_going_but_does_not_begin_it() -> None:
    assert run(script((1, 0), (1, 0.3), (1, 0))) == []
    assert spans(run(script((1, 0), (0.5, 0.9), (1, 0.3), (1, 0)))) == [(1, 2.5)]


def test_speech_at_the_very_start_has_what_margin_there_is() -> None:
    events = run(script((0.1, 0), (1, 0.9), (1, 0)))

    assert spans(events) == [(0.1, 1.1)]
    assert isinstance(events[1], Utterance)
    assert events[1].pcm.size == round(1.35 * SAMPLE_RATE)


def test_the_end_of_the_stream_ends_the_utterance() -> None:
    assert spans(run(script((1, 0), (1, 0.9)))) == [(1, 2)]


def test_a_sermon_is_cut_at_the_limit_once_and_listening_goes_on_after_it() -> None:
    events = run(
        script((1, 0), (9, 0.9), (1, 0), (1, 0.9), (1, 0)), max_utterance_s=3.0
    )

    assert [type(event) for event in events] == [SpeechStart, Utterance] * 2
    long, short = (event for event in events if isinstance(event, Utterance))
    assert long.too_long
    assert long.pcm.size == 0
    assert (long.end - long.start) / SAMPLE_RATE == pytest.approx(3, abs=0.02)
    assert not short.too_long
    assert (short.start, short.end) == (11 * SAMPLE_RATE, 12 * SAMPLE_RATE)


def test_the_pause_after_an_utterance_does_not_count_against_the_limit() -> None:
    events = run(script((1, 0), (2.9, 0.9), (1, 0)), max_utterance_s=3.0)

    assert [event.too_long for event in events if isinstance(event, Utterance)] == [
        False
    ]


def test_lost_samples_end_the_utterance_and_move_what_follows() -> None:
    vad = LoudIsSpeech()
    endpointer = Endpointer(vad)
    events = endpointer.push(script((1, 0), (1, 0.9)))
    events += endpointer.skip(10 * SAMPLE_RATE)
    events += endpointer.push(script((1, 0), (1, 0.9), (1, 0)))

    assert spans(events) == [(1, 2), (13, 14)]
    assert vad.resets == 1


@given(
    parts=st.lists(
        st.tuples(st.integers(1, 90), st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0])),
        min_size=1,
        max_size=12,
    ),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=30),
)
def test_for_any_scores_and_any_cut_the_events_are_the_same_and_in_order(
    parts: list[tuple[int, float]], sizes: list[int]
) -> None:
    pcm = script(*((count / PER_SECOND, score) for count, score in parts))
    whole = run(pcm, max_utterance_s=2.0)
    endpointer = Endpointer(
        LoudIsSpeech(), replace(EndpointSettings(), max_utterance_s=2.0)
    )
    pieces: list[EndpointEvent] = []
    position = 0
    while position < pcm.size:
        size = sizes[position % len(sizes)]
        pieces += endpointer.push(pcm[position : position + size])
        position += size
    pieces += endpointer.finish()

    assert [repr(event) for event in pieces] == [repr(event) for event in whole]
    assert [type(event) for event in whole] == [SpeechStart, Utterance] * (
        len(whole) // 2
    )
    previous = 0
    for start, utterance in zip(whole[::2], whole[1::2], strict=True):
        assert isinstance(utterance, Utterance)
        assert previous <= start.start == utterance.start < utterance.end <= pcm.size
        assert utterance.pcm.size <= (2.0 + MARGINS_S) * SAMPLE_RATE + 2 * CHUNK
        previous = utterance.end


@cache
def spoken_stream() -> Pcm:
    """Two sentences of two voices in a little noise, with silence around."""
    pcm = np.concatenate(
        [
            silence(1),
            say("turn on the kitchen lights"),
            silence(1.5),
            say("what is the temperature", "rms"),
            silence(1.5),
        ]
    )
    noise = np.random.default_rng(1).normal(0, 60, pcm.size)
    return np.asarray(np.clip(pcm + noise, -32768, 32767), np.int16)


def spoken_events(sizes: list[int]) -> list[EndpointEvent]:
    """Events of the spoken stream, cut into pieces of these sizes by turns."""
    endpointer = Endpointer(SileroVoice())
    pcm = spoken_stream()
    events: list[EndpointEvent] = []
    position = turn = 0
    while position < pcm.size:
        size = sizes[turn % len(sizes)]
        events += endpointer.push(pcm[position : position + size])
        position += size
        turn += 1
    return events + endpointer.finish()


def test_two_spoken_sentences_are_two_utterances_where_they_were_spoken() -> None:
    first = say("turn on the kitchen lights").size / SAMPLE_RATE
    second = say("what is the temperature", "rms").size / SAMPLE_RATE

    found = spans(spoken_events([16_000]))

    assert len(found) == 2
    assert found[0] == (
        pytest.approx(1, abs=0.35),
        pytest.approx(1 + first, abs=0.35),
    )
    assert found[1] == (
        pytest.approx(2.5 + first, abs=0.35),
        pytest.approx(2.5 + first + second, abs=0.35),
    )


@settings(max_examples=4, deadline=None)
@given(sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=9))
def test_real_speech_cut_anywhere_gives_the_same_utterances(sizes: list[int]) -> None:
    sizes = [max(size, 50) for size in sizes]

    def fingerprint(events: list[EndpointEvent]) -> list[tuple[int, int, bytes]]:
        return [
            (event.start, event.end, event.pcm.tobytes())
            for event in events
            if isinstance(event, Utterance)
        ]

    assert fingerprint(spoken_events(sizes)) == fingerprint(spoken_events([10**9]))


@needs_recordings
def test_every_recorded_command_is_exactly_one_utterance() -> None:
    recordings = sorted((DATA / "speech_real_en").glob("*.flac"))
    assert recordings
    for path in recordings:
        audio, _ = soundfile.read(path, dtype="int16")
        endpointer = Endpointer(SileroVoice())
        events = endpointer.push(np.concatenate([audio, silence(1)]))
        assert [type(event) for event in events] == [SpeechStart, Utterance], path.name


@needs_recordings
def test_a_person_is_heard_after_loud_noise() -> None:
    """Without forgetting the noise, voice activity misses half of these commands."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 5000, 10 * SAMPLE_RATE)
    room = rng.normal(0, 30, 2 * SAMPLE_RATE)

    for path in sorted((DATA / "speech_real_en").glob("t*.flac")):
        said = soundfile.read(path, dtype="int16")[0]
        heard = np.concatenate([noise, room, said, room]).astype(np.int16)
        events = Endpointer(SileroVoice()).push(heard)
        utterances = [each for each in events if isinstance(each, Utterance)]

        (utterance,) = utterances
        assert utterance.start >= noise.size + room.size
        assert utterance.end - utterance.start > SAMPLE_RATE // 2, path.name


def paused(endpointer: Endpointer, pcm: Pcm) -> list[EndpointEvent]:
    """All events, where nobody says at a pause that it is over."""
    events = more = endpointer.push(pcm)
    while more and isinstance(more[-1], Pause):
        more = endpointer.push(pcm[:0])
        events = events + more
    return events


QUICK = replace(EndpointSettings(), pause_s=0.8, short_pause_s=0.4)


@pytest.mark.parametrize("cut", [1, 77, 1600, 100_000])
def test_a_short_pause_is_asked_about_once(cut: int) -> None:
    pcm = script((1, 0), (1, 0.9), (0.6, 0), (1, 0.9), (1.5, 0))
    endpointer = Endpointer(LoudIsSpeech(), QUICK)
    events: list[EndpointEvent] = []
    for first in range(0, pcm.size, cut):
        events += paused(endpointer, pcm[first : first + cut])
    start, first_pause, second_pause, end = events
    assert start == SpeechStart(SAMPLE_RATE)
    assert isinstance(first_pause, Pause)
    assert isinstance(second_pause, Pause)
    assert isinstance(end, Utterance)
    assert np.array_equal(second_pause.pcm, end.pcm)
    assert first_pause.start == end.start
    assert first_pause.pcm.size < end.pcm.size
    assert end.end == round(3.6 * SAMPLE_RATE)


def test_who_has_said_all_is_not_waited_for() -> None:
    pcm = script((1, 0), (1, 0.9), (0.5, 0), (1, 0.9), (1.5, 0))
    endpointer = Endpointer(LoudIsSpeech(), QUICK)
    *_, pause = endpointer.push(pcm)
    assert isinstance(pause, Pause)
    (first,) = endpointer.resume(0.0)
    assert isinstance(first, Utterance)
    assert np.array_equal(first.pcm, pause.pcm)
    # What waited behind the pause is not lost, and nothing is heard twice.
    start, again = endpointer.push(pcm[:0])
    assert start == SpeechStart(round(2.5 * SAMPLE_RATE))
    assert isinstance(again, Pause)
    (second,) = endpointer.finish()
    assert isinstance(second, Utterance)
    heard = np.concatenate([first.pcm, second.pcm])
    assert heard.size <= pcm.size
    voiced = heard[heard == 900]
    assert voiced.size == 2 * SAMPLE_RATE


def test_an_end_of_audio_behind_a_pause_ends_what_is_open() -> None:
    endpointer = Endpointer(LoudIsSpeech(), QUICK)
    *_, pause = endpointer.push(script((1, 0), (1, 0.9), (0.5, 0), (0.3, 0.9)))
    assert isinstance(pause, Pause)
    (end,) = endpointer.finish()
    assert isinstance(end, Utterance)
    assert end.end == round(2.8 * SAMPLE_RATE)
    assert endpointer.resume(0.0) == []


def test_who_may_go_on_is_waited_for_as_long_as_is_said() -> None:
    pcm = script((1, 0), (1, 0.9), (0.5, 0), (1, 0.9), (1.5, 0))
    for pause_s, ends in ((0.45, (2.0, 3.5)), (0.7, (3.5,)), (None, (3.5,))):
        endpointer = Endpointer(LoudIsSpeech(), QUICK)
        events = endpointer.push(pcm)
        while pause_of(events):
            events += endpointer.resume(pause_s)
            events += endpointer.push(pcm[:0])
        heard = [event for event in events if isinstance(event, Utterance)]
        assert [one.end / SAMPLE_RATE for one in heard] == pytest.approx(ends, abs=0.1)
