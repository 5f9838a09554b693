"""Kernels of a linear layer from its factors, and errors of kernels and outputs."""

import pytest
import torch

from jlab_compress.fitting.kernels.row_kernels import (
    inner_products,
    linear_kernel,
    spread_error,
    squared_error,
    squared_kernel_error,
)
from tests.fitting.problems import draw

X, R = draw(5, 3), draw(5, 2, seed=1)


@pytest.mark.parametrize("biased", [True, False])
def test_the_kernel_is_that_of_gradients_by_autograd(biased):
    weight, bias = draw(2, 3, seed=2).requires_grad_(), torch.zeros(2, dtype=X.dtype, requires_grad=True)
    free = [weight, bias] if biased else [weight]
    each = [torch.autograd.grad((weight @ x + bias) @ r, free) for x, r in zip(X, R, strict=True)]
    flat = torch.stack([torch.cat([g.flatten() for g in gradients]) for gradients in each])
    assert torch.allclose(linear_kernel(X, R, biased=biased), flat @ flat.T)


def test_counts_are_repeated_columns():
    counts = torch.tensor([1, 3, 2])
    repeated = X.repeat_interleave(counts, dim=1)
    assert torch.allclose(inner_products(X, counts.to(X)), inner_products(repeated))
    twice = linear_kernel(
        X, R, biased=True, input_counts=counts.to(X), output_counts=torch.full((2,), 2.0).to(X)
    )
    assert torch.allclose(twice, linear_kernel(repeated, torch.cat([R, R], dim=1), biased=True))


def test_squared_error_is_relative():
    assert float(squared_error(X * 1.1, X)) == pytest.approx(0.01)
    assert float(squared_error(X, torch.zeros_like(X))) > 1e300


def test_every_row_of_a_kernel_counts_alike():
    wanted = torch.diag(torch.tensor([1.0, 100.0]))
    small, large = wanted.clone(), wanted.clone()
    small[0, 0], large[1, 1] = 2.0, 200.0
    assert float(squared_kernel_error(small, wanted)) == pytest.approx(0.5)
    assert float(squared_kernel_error(large, wanted)) == pytest.approx(0.5)
    assert float(squared_error(small, wanted)) < 1e-3
    assert float(squared_kernel_error(wanted, wanted)) == 0.0


def test_spread_error_is_one_for_the_mean_and_a_floor_forgives():
    mean = X.mean(dim=0).expand_as(X)
    assert float(spread_error(mean, X)) == pytest.approx(1.0)
    assert float(spread_error(X, X)) == 0.0
    floor = float((X - X.mean(dim=0)).norm())
    assert float(spread_error(mean, X, floor)) == pytest.approx(0.5)
    constant = torch.ones(4, 2)
    assert float(spread_error(constant * 2, constant)) > 1e6
