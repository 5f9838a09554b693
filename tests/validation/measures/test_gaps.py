"""The training gap: known values, laws, refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jlab_compress.validation.measures.gaps import training_gap


def draw(seed: int, shape: tuple[int, ...] = (7, 3)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_training_gap_ignores_a_constant_error_and_scales_out(seed, scale, shift):
    start, end, slim_start = draw(seed), draw(seed + 1), draw(seed + 2)
    moved = end - start
    assert training_gap(end, start, slim_start + moved, slim_start) < 1e-12
    wrong = slim_start + moved * 0.75 + shift
    expected = training_gap(end, start, wrong, slim_start)
    scaled = training_gap(end * scale, start * scale, wrong * scale, slim_start * scale)
    assert scaled == pytest.approx(expected, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 3))
def test_training_gap_of_a_slower_slim_model_is_the_missing_part(seed, part):
    start, end = draw(seed), draw(seed + 1)
    gap = training_gap(end, start, start + part * (end - start), start)
    assert gap == pytest.approx(abs(1 - part), abs=1e-12)


def test_training_gap_when_the_original_stands_still():
    start = draw(0)
    assert training_gap(start, start, start, start) == 0.0
    assert training_gap(start, start, start + 1, start) == math.inf


def test_an_output_that_is_not_finite_is_infinitely_far():
    start, end = draw(0), draw(1)
    assert training_gap(end, start, end * math.nan, start) == math.inf


@pytest.mark.parametrize("shape", [(7, 4), (0, 3)])
def test_shapes_must_agree_and_hold_something(shape):
    f = draw(0)
    with pytest.raises(ValueError, match="expected the same shape at step 0 as later"):
        training_gap(f, torch.zeros(shape), f, f)
    with pytest.raises(ValueError, match="expected two tensors of one shape"):
        training_gap(f, f, *[torch.zeros(shape)] * 2)
