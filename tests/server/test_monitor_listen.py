"""A stream whose labels and rules change, and sounds that go on for long."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import SoundLabel, load_catalogue
from model_server.engines.base import Classification, EngineInfo, Pcm
from model_server.evaluation import synthesis
from model_server.monitor.monitor import SoundChange, SoundMonitor
from model_server.monitor.rules import RuleChange, Tuning

CATALOGUE = load_catalogue()
BARK, MEOW, SMOKE = CATALOGUE["bark"], CATALOGUE["meow"], CATALOGUE["smoke"]


class Level:
    """Scores a window's first label by its level alone: 0.1 of full scale is 0.1."""

    info = EngineInfo("level", "1")
    labels: tuple[str, ...] = ("bark", "meow")
    window = SAMPLE_RATE
    hop = SAMPLE_RATE // 2
    parallel = 1

    def classify(self, windows: npt.NDArray[np.float32]) -> Classification:
        level = np.abs(windows).max(axis=1)
        scores = np.stack([level, level * 0.8], axis=1).astype(np.float32)
        return Classification(scores, scores)


def play(*stretches: tuple[float, float]) -> Pcm:
    """Stretches of so many seconds at such a level."""
    levels = [
        np.full(round(seconds * SAMPLE_RATE), level * 32767)
        for seconds, level in stretches
    ]
    return np.concatenate(levels).astype(np.int16)


def states(changes: list[SoundChange]) -> list[tuple[str, str]]:
    """Label and state of each change."""
    return [(change.label, change.state) for change in changes]


def monitor(*labels: SoundLabel, **rule: float) -> SoundMonitor:
    """A monitor whose labels begin with the first window of 0.6 and end after 0.5 s."""
    change = RuleChange(**{"on": 0.6, "k": 1, "n": 1, "hold_s": 0.5} | rule)  # type: ignore[arg-type] # k and n are whole
    tuning = Tuning({label.slug: change for label in labels})
    return SoundMonitor(Level(), labels, tuning)


LOUD, QUIET = (2.0, 0.9), (3.0, 0.01)


def test_a_label_that_is_no_longer_watched_ends_and_another_goes_on() -> None:
    both = monitor(BARK, MEOW, on=0.4)
    begun = both.push(play(LOUD))

    ended = both.listen([BARK], Tuning(profile="night"))
    later = both.push(play(QUIET, QUIET))

    assert states(begun) == [("bark", "start"), ("meow", "start")]
    assert states(ended) == [("meow", "end")]
    assert ended[0].event == begun[1].event
    assert ended[0].release == 2 * SAMPLE_RATE
    assert ended[0].profile == "night"
    assert states(later) == [("bark", "end")]
    assert later[0].event == begun[0].event


def test_a_label_that_is_new_needs_new_windows() -> None:
    one = monitor(BARK)
    one.push(play((5.0, 0.9)))

    one.listen([MEOW], Tuning({"meow": RuleChange(on=0.4, k=2, n=2)}))
    assert states(one.push(play((0.5, 0.9)))) == []
    heard = one.push(play((0.5, 0.9)))

    assert states(heard) == [("meow", "start")]
    # The first window that counts ends half a second in, and is heard from its middle.
    assert heard[0].onset == 5 * SAMPLE_RATE
    assert len(heard[0].windows) == 11


def test_a_new_rule_counts_from_the_next_window_on() -> None:
    one = monitor(BARK)
    assert one.push(play((3.0, 0.5))) == []

    one.listen([BARK], Tuning({"bark": RuleChange(on=0.45, k=1, n=1)}))

    assert one.push(play((0.4, 0.5))) == []
    assert states(one.push(play((0.1, 0.5)))) == [("bark", "start")]


def test_sensitivity_decides_what_is_heard() -> None:
    for sensitivity, heard in (("low", []), ("high", [("bark", "start")])):
        tuning = Tuning({}, sensitivity)  # type: ignore[arg-type] # of a literal
        one = SoundMonitor(Level(), [BARK], tuning)
        assert states(one.push(play((5.0, 0.8)))) == heard


def test_barking_with_pauses_is_told_to_be_sustained_with_the_latest_events_id() -> (
    None
):
    one = monitor(BARK, sustain_s=11, sustain_gap_s=4, cooldown_s=1)

    changes = one.push(play(*[LOUD, QUIET] * 4))

    sustained = [change for change in changes if change.state == "sustained"]
    starts = [change for change in changes if change.state == "start"]
    assert len(starts) == 4
    assert [change.event for change in sustained] == [starts[2].event]
    assert sustained[0].onset == starts[0].onset
    assert sustained[0].at >= starts[0].onset + 11 * SAMPLE_RATE
    assert sustained[0].release is None
    assert sustained[0].gates == (
        "not_silent",
        "on_threshold",
        "k_of_n",
        "cooldown",
    )


def test_while_a_label_cools_down_it_is_not_reported() -> None:
    def count(cooldown: float) -> int:
        one = monitor(BARK, cooldown_s=cooldown)
        changes = one.push(play(*[LOUD, QUIET] * 4))
        return sum(change.state == "start" for change in changes)

    assert [count(0), count(6), count(60)] == [4, 2, 1]


def test_an_alarm_ends_and_begins_with_those_who_want_to_hear_of_it() -> None:
    alarm = synthesis.pcm(synthesis.t3(12.0))
    bell = np.concatenate([alarm, synthesis.pcm(synthesis.silence(20.0))])
    one = SoundMonitor(None, [SMOKE])
    (start,) = one.push(bell[: 9 * SAMPLE_RATE])
    (end,) = one.listen([], Tuning())
    (again,) = one.listen([SMOKE], Tuning(profile="away"))
    (over,) = one.push(bell[9 * SAMPLE_RATE :])

    assert states([start, end, again, over]) == [
        ("smoke", "start"),
        ("smoke", "end"),
        ("smoke", "start"),
        ("smoke", "end"),
    ]
    assert start.gates == ("rhythm",)
    assert end.event == start.event != again.event == over.event
    assert end.release == 9 * SAMPLE_RATE
    assert again.onset == start.onset
    assert (again.profile, over.profile) == ("away", "away")


def test_an_alarm_that_is_wanted_later_has_its_true_time() -> None:
    one = SoundMonitor(Level(), [BARK])
    assert one.push(play((7.0, 0.01))) == []
    one.listen([SMOKE], Tuning())

    (start,) = one.push(synthesis.pcm(synthesis.t3(12.0)))

    assert start.label == "smoke"
    assert start.onset == pytest.approx(7 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)
    assert start.at > start.onset + 6 * SAMPLE_RATE


def test_an_alarm_that_ends_unheard_is_forgotten() -> None:
    one = SoundMonitor(None, [SMOKE])
    one.push(synthesis.pcm(synthesis.t3(10.0)))
    one.listen([], Tuning())

    assert one.push(np.zeros(20 * SAMPLE_RATE, np.int16)) == []
    assert one.listen([SMOKE], Tuning()) == []


def test_with_nothing_to_score_no_window_is_kept() -> None:
    one = monitor(BARK)
    one.push(play(LOUD))
    one.listen([SMOKE], Tuning())
    one.push(play(QUIET))
    one.listen([BARK], Tuning({"bark": RuleChange(on=0.5, k=1)}))

    (start,) = one.push(play((1.0, 0.9)))

    assert len(start.windows) == 1
