"""Rules: the catalogue's, as a person changed them."""

from __future__ import annotations

from hypothesis import given, strategies as st
import numpy as np
import pytest

from model_server.audio import SAMPLE_RATE
from model_server.catalogue import load_catalogue
from model_server.monitor.decider import LEVELS, quantise, score_of
from model_server.monitor.rules import (
    RuleChange,
    RuleError,
    Sensitivity,
    Tuning,
    catalogue_rule,
    changed,
)

BARK = load_catalogue()["bark"]


def test_without_a_change_a_label_has_its_rule_of_the_catalogue() -> None:
    rule = Tuning().rule(BARK)

    assert (rule.on, rule.off) == (BARK.on_score, BARK.off_score)
    assert (rule.k, rule.n) == (BARK.k, BARK.n)
    assert rule.hold == BARK.hold_s * SAMPLE_RATE
    assert rule.sustain == 600 * SAMPLE_RATE
    assert rule.sustain_gap == 60 * SAMPLE_RATE


@pytest.mark.parametrize(
    ("sensitivity", "odds"), [("low", 2.0), ("normal", 1.0), ("high", 0.5)]
)
def test_sensitivity_multiplies_the_odds(sensitivity: Sensitivity, odds: float) -> None:
    rule = catalogue_rule(BARK, sensitivity)

    for moved, original in ((rule.on, BARK.on_score), (rule.off, BARK.off_score)):
        expected = odds * original / (1 - original)
        assert moved / (1 - moved) == pytest.approx(expected, rel=2e-3)
    assert rule.k == BARK.k


def test_a_rule_counts_before_sensitivity() -> None:
    tuning = Tuning({"bark": RuleChange(on=0.9, k=1, cooldown_s=30)}, "high")

    rule = tuning.rule(BARK)

    assert (rule.on, rule.k, rule.cooldown) == (0.9, 1, 30 * SAMPLE_RATE)
    assert rule.off == catalogue_rule(BARK, "high").off


def test_zero_seconds_switch_sustained_off() -> None:
    assert Tuning({"bark": RuleChange(sustain_s=0)}).rule(BARK).sustain == 0


chances = st.floats(0, 1) | st.none()
counts = st.integers(1, 20) | st.none()


@given(on=chances, off=chances, k=counts, n=counts)
def test_any_rule_is_consistent_or_refused(
    on: float | None, off: float | None, k: int | None, n: int | None
) -> None:
    contradicts = (on is not None and off is not None and off > on) or (
        k is not None and n is not None and k > n
    )
    if contradicts:
        with pytest.raises(RuleError, match="leave one of them out"):
            RuleChange(on=on, off=off, k=k, n=n)
        return
    rule = changed(catalogue_rule(BARK), RuleChange(on=on, off=off, k=k, n=n))
    assert rule.off <= rule.on
    assert rule.k <= rule.n
    for given_one, used in ((on, rule.on), (off, rule.off), (k, rule.k), (n, rule.n)):
        assert given_one in (None, used)


def test_scores_are_decided_in_255_steps() -> None:
    row = quantise(np.array([-0.1, 0, 0.5, 1, 1.2], np.float32))

    assert row.tolist() == [0, 0, 128, 255, 255]
    assert [score_of(step) for step in (0, LEVELS)] == [0, 1]
