"""Each verdict from numbers that deserve it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlab_compress.validation.verdict import judge

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
        ([0.2, 0.2], [0.0, 0.0], "differs"),
        ([0.2, 0.2], [1.1, 1.3], "cannot tell"),
        ([0.2, 0.2], [math.nan, 0.1], "cannot tell"),
        ([0.01], [0.3], "cannot tell"),
    ],
)
def test_verdict(gaps, floors, label):
    assert judge(gaps, floors).label == label


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
