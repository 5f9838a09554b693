"""Each verdict from numbers that deserve it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlab_compress.validation.verdict import AMPLE, judge

FLOORS = [0.30, 0.32, 0.28]


@pytest.mark.parametrize(
    ("gaps", "floors", "label"),
    [
        ([0.10, 0.12, 0.11], FLOORS, "trains alike"),
        ([0.60, 0.70, 0.65], FLOORS, "differs"),
        ([0.15, 0.60, 0.30], FLOORS, "cannot tell"),
        ([0.28, 0.33, 0.29], FLOORS, "cannot tell"),
        ([math.inf, math.inf], FLOORS[:2], "differs"),
        ([math.inf, 0.1], FLOORS[:2], "cannot tell"),
        ([1e-12, 1e-12], [0.0, 0.0], "trains alike"),
        ([0.2, 0.2], [0.0, 0.0], "cannot tell"),
        ([1.2, 1.1], [0.0, 0.0], "differs"),
        ([0.2, 0.2], [1.1, 1.3], "cannot tell"),
        ([0.01], [0.3], "cannot tell"),
    ],
)
def test_verdict(gaps, floors, label):
    assert judge(gaps, floors).label == label


STILL = "hardly moves on these batches, its outputs by 1e-06 of their size, which may be rounding"
BACK = (
    "hardly moves on these batches, its outputs by 0.002 of their size, while the slim model begins 0.5 away"
)


@pytest.mark.parametrize(
    ("movement", "away", "gaps", "label", "words"),
    [
        (1e-6, 0.5, [7.0, 8.0], "cannot tell", STILL),
        (1e-6, 0.5, [0.0, 0.0], "cannot tell", STILL),
        (0.0, 0.5, [0.0, 0.0], "cannot tell", "its outputs not at all by training"),
        (2e-3, 0.5, [7.0, 8.0], "cannot tell", BACK),
        (2e-3, 0.5, [0.5, 8.0], "cannot tell", BACK),
        (2e-3, 0.5, [0.01, 0.02], "trains alike", "within the tolerance"),
        (2e-3, 0.5, [0.1, 0.11], "trains alike", "against a noise floor"),
        (2e-3, 0.001, [7.0, 8.0], "differs", "against a noise floor"),
        (2e-3, 0.5, [math.inf, math.inf], "differs", "ratio infinite"),
        (0.2, 0.5, [7.0, 8.0], "differs", "against a noise floor"),
    ],
)
def test_a_gap_over_next_to_no_movement_is_no_verdict(movement, away, gaps, label, words):
    grounds = replace(AMPLE, movements=(1.0, movement), losses=((1.0, 1.0),) * 2, away=away, rounding=1e-5)
    verdict = judge(gaps, FLOORS[:2], grounds=grounds)
    assert (verdict.label, words in verdict.reason) == (label, True), verdict.reason


@pytest.mark.parametrize("floors", [[0.0, 0.0], [1.4, 1.2], [0.3, 0.3]])
def test_an_original_with_nothing_left_to_learn_is_named_before_its_noise_is(floors):
    grounds = replace(AMPLE, movements=(1e-3,) * 2, losses=((1.0, 1.0),) * 2, away=0.4)
    assert "hardly moves" in judge([7.0, 8.0], floors, grounds=grounds).reason


@pytest.mark.parametrize(
    ("first", "late", "movement", "gaps", "label"),
    [
        (0.5, 40.0, 12.0, [0.6, 0.7], "cannot tell"),
        (0.0, 40.0, 12.0, [0.6, 0.7], "cannot tell"),
        (0.5, 40.0, 12.0, [0.0, 0.0], "trains alike"),
        (0.5, 40.0, 0.1, [0.6, 0.7], "differs"),
        (0.5, 2.0, 12.0, [0.6, 0.7], "differs"),
        (-30.0, -40.0, 12.0, [0.6, 0.7], "differs"),
    ],
)
def test_an_original_that_runs_away_is_nothing_to_follow(first, late, movement, gaps, label):
    grounds = replace(AMPLE, movements=(movement,) * 2, losses=((1.0, 0.5), (first, late)))
    verdict = judge(gaps, FLOORS[:2], grounds=grounds)
    assert verdict.label == label
    assert ("the original itself diverges" in verdict.reason) == (label == "cannot tell")


def test_without_a_noise_floor_only_the_plain_cases_are_told():
    assert "no noise floor was measured" in judge([0.2, 0.3], [0.0, 0.0]).reason
    assert judge([1.2, 1.3], [0.0, 0.0]).reason.endswith("as much as not training at all")


def test_the_reason_states_the_numbers():
    verdict = judge([0.60, 0.70, 0.65], FLOORS)
    assert "0.65 against a noise floor of 0.3" in verdict.reason
    assert f"ratio {verdict.low:.3g} to {verdict.high:.3g}" in verdict.reason
    assert "tolerance" not in verdict.reason
    assert "noise floor of 0.01, raised to the tolerance of 0.05" in judge([0.2, 0.2], [0.01, 0.01]).reason
    assert str(verdict) == "differs"


def test_the_interval_is_students_over_log_ratios():
    verdict = judge([0.1, 0.4], [0.2, 0.2])  # logs -ln 2, ln 2; t(0.9, 1) = 3.0777
    assert verdict.ratio == pytest.approx(1.0)
    assert math.log(verdict.high) == pytest.approx(3.0776835 * math.log(2), rel=1e-6)
    assert math.log(verdict.low) == pytest.approx(-3.0776835 * math.log(2), rel=1e-6)


def test_more_seeds_narrow_the_interval():
    few, many = judge([0.15, 0.25], [0.3, 0.3]), judge([0.15, 0.25] * 4, [0.3] * 8)
    assert many.high < few.high
    assert (few.label, many.label) == ("cannot tell", "trains alike")


def test_the_tolerance_stands_in_for_a_lower_floor():
    assert judge([0.03, 0.03], [0.001, 0.001]).label == "trains alike"
    assert judge([0.03, 0.03], [0.001, 0.001], tolerance=0.01).label == "differs"


positive = st.floats(0.06, 0.9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(positive, positive), min_size=2, max_size=6), st.floats(1.01, 3))
def test_a_larger_gap_is_never_judged_better(pairs, factor):
    rank = {"trains alike": 0, "cannot tell": 1, "differs": 2}
    gaps, floors = zip(*pairs, strict=True)
    before, after = judge(gaps, floors), judge([g * factor for g in gaps], floors)
    assert rank[before.label] <= rank[after.label]


def test_one_floor_for_every_gap():
    with pytest.raises(ValueError, match="expected one per noise floor"):
        judge([0.1, 0.2], [0.3])
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        judge([], [])
