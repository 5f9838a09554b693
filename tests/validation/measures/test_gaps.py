"""Function gap and training gap: known values, laws, refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jlab_compress.validation.measures.gaps import function_gap, training_gap


def draw(seed: int, shape: tuple[int, ...] = (7, 3)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_function_gap_of_a_known_error():
    assert function_gap(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)


def test_equal_outputs_have_no_gap_and_unequal_ones_do():
    f = draw(0)
    assert function_gap(f, f.clone()) == 0.0
    assert function_gap(f + 1e-9, f) > 0.0


def test_a_zero_original_is_infinitely_far_from_anything_else():
    zero = torch.zeros(4)
    assert function_gap(zero, zero) == 0.0
    assert function_gap(zero + 1, zero) == math.inf


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_training_gap_ignores_a_constant_error_and_scales_out(seed, scale, shift):
    start, end, slim_start = draw(seed), draw(seed + 1), draw(seed + 2)
    moved = end - start
    assert training_gap(slim_start + moved, slim_start, end, start) < 1e-12
    wrong = slim_start + moved * 0.75 + shift
    expected = training_gap(wrong, slim_start, end, start)
    scaled = training_gap(wrong * scale, slim_start * scale, end * scale, start * scale)
    assert scaled == pytest.approx(expected, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 3))
def test_training_gap_of_a_slower_slim_model_is_the_missing_part(seed, part):
    start, end = draw(seed), draw(seed + 1)
    gap = training_gap(start + part * (end - start), start, end, start)
    assert gap == pytest.approx(abs(1 - part), abs=1e-12)


def test_training_gap_when_the_original_stands_still():
    start = draw(0)
    assert training_gap(start, start, start, start) == 0.0
    assert training_gap(start + 1, start, start, start) == math.inf


def test_an_output_that_is_not_finite_is_infinitely_far():
    start, end = draw(0), draw(1)
    assert training_gap(end * math.nan, start, end, start) == math.inf
    assert function_gap(end * math.inf, end) == math.inf


def test_half_precision_outputs_are_compared_in_float64():
    big = torch.full((1000,), 300.0, dtype=torch.float16)
    assert function_gap(big, big) == 0.0
    assert math.isfinite(function_gap(big * 2, big))


@pytest.mark.parametrize("shape", [(7, 4), (0, 3)])
def test_shapes_must_agree_and_hold_something(shape):
    with pytest.raises(ValueError, match="expected two tensors of one shape"):
        function_gap(torch.zeros(shape), torch.zeros(7, 3) if shape[0] else torch.zeros(shape))
    with pytest.raises(ValueError, match="expected two tensors of one shape"):
        training_gap(draw(0), draw(0), draw(0), torch.zeros(shape))
