"""Differences of outputs, and the function gap: known values, laws, refusals."""

import math

import pytest
import torch

from jlab_compress.execution.closeness import difference, function_gap, tolerance


def draw(seed, shape=(7, 3)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_function_gap_of_a_known_error():
    assert function_gap(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])) == pytest.approx(0.1)


def test_the_original_comes_first():
    small, large = torch.tensor([1.0]), torch.tensor([2.0])
    assert function_gap(small, large) == 1.0
    assert function_gap(large, small) == 0.5


def test_equal_outputs_have_no_gap_and_unequal_ones_do():
    f = draw(0)
    assert function_gap(f, f.clone()) == 0.0
    assert function_gap(f, f + 1e-9) > 0.0


def test_many_outputs_are_compared_as_one():
    f, g = [draw(0), draw(1, (4,))], [draw(2), draw(3, (4,))]
    flat = (torch.cat([t.flatten() for t in some]) for some in (f, g))
    assert function_gap(iter(f), iter(g)) == pytest.approx(function_gap(*flat), rel=1e-12)


def test_a_zero_original_is_infinitely_far_from_anything_else():
    zero = torch.zeros(4)
    assert function_gap(zero, zero) == 0.0
    assert function_gap(zero, zero + 1) == math.inf


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_an_output_that_is_not_finite_is_infinitely_far(wrong):
    f = draw(0)
    assert function_gap(f, f * wrong) == math.inf
    assert function_gap(f * wrong, f) == math.inf


def test_half_precision_outputs_are_compared_in_float64():
    big = torch.full((1000,), 300.0, dtype=torch.float16)
    assert function_gap(big, big) == 0.0
    assert function_gap(big, big * 2) == 1.0


@pytest.mark.parametrize(
    ("first", "second"),
    [(torch.zeros(7, 4), torch.zeros(7, 3)), (torch.zeros(0), torch.zeros(0)), ([], []), ([draw(0)], [])],
)
def test_outputs_must_agree_in_shape_and_hold_something(first, second):
    with pytest.raises(ValueError, match="expected two tensors of one shape"):
        function_gap(first, second)


def test_difference_is_the_largest_relative_one():
    one, other = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])
    assert difference([other, one], [one, one]) == pytest.approx(0.1)
    assert difference([one], [one]) == 0.0
    assert difference([one], [one[:1]]) == math.inf


def test_infinite_values_must_agree_in_place():
    masked = torch.tensor([1.0, -math.inf])
    assert difference([masked], [masked.clone()]) == 0.0
    assert difference([torch.tensor([1.0, 2.0])], [masked]) == math.inf


def test_the_coarsest_dtype_says_what_rounding_explains():
    assert tolerance(torch.float64, torch.float16) == tolerance(torch.float16)
    assert tolerance(torch.float64) < tolerance(torch.float32) < tolerance(torch.float16)
