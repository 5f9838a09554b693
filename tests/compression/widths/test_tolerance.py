import math

import pytest

from jlab_compress.compression.widths.tolerance import error_at, width_within

WIDTHS, ERRORS = [10, 1000], [0.1, 0.001]


@pytest.mark.parametrize(
    ("tolerance", "width"), [(0.5, 10), (0.1, 10), (0.01, 100), (0.001, 1000), (1e-6, 1000)]
)
def test_the_width_for_a_tolerance_lies_on_the_line_between_two_forecasts(tolerance, width):
    assert width_within(WIDTHS, ERRORS, tolerance) == width


@pytest.mark.parametrize("width", [10, 17, 250, 1000])
def test_the_error_at_a_width_lies_on_the_same_line(width):
    assert error_at(WIDTHS, ERRORS, width) == pytest.approx(1 / width)
    assert width_within(WIDTHS, ERRORS, error_at(WIDTHS, ERRORS, width)) == width


def test_no_error_is_expected_to_be_smaller_than_at_the_narrower_width_on_the_way_to_none():
    assert error_at(WIDTHS, [0.1, 0.0], 999) == 0.1
    assert error_at(WIDTHS, [0.1, 0.0], 1000) == 0.0
    assert math.isnan(error_at(WIDTHS, [math.nan, math.nan], 100))
