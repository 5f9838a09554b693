import itertools

import numpy as np
import pytest
import torch

from jlab_compress.core.polynomials import (
    ProductBasis,
    count_functions,
    exponents,
    fit_basis,
    importance,
    largest_degree,
)


def basis_of(dimension, degree, family="legendre"):
    return ProductBasis(torch.zeros(dimension).double(), torch.ones(dimension).double(), degree, family)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("m", "k"), [(1, 0), (1, 5), (2, 4), (4, 3), (6, 2)])
def test_functions_are_all_multi_indices_up_to_the_degree_by_rising_degree(m, k):
    every = {a for a in itertools.product(range(k + 1), repeat=m) if sum(a) <= k}
    found = [tuple(row) for row in exponents(m, k).tolist()]
    assert set(found) == every
    assert len(found) == len(every) == count_functions(m, k)
    assert [sum(a) for a in found] == sorted(sum(a) for a in found)
    lower = exponents(m, max(0, k - 1))
    assert torch.equal(exponents(m, k)[: len(lower)], lower)


@pytest.mark.parametrize("m", [1, 2, 5])
def test_the_largest_degree_just_fits(m):
    for functions in (1, 7, 100, 1000):
        degree = largest_degree(m, functions)
        assert count_functions(m, degree) <= functions < count_functions(m, degree + 1)


@pytest.mark.parametrize(
    ("family", "module", "norm"),
    [
        ("legendre", np.polynomial.legendre.legval, lambda j: (2 * j + 1) ** 0.5),
        (
            "hermite",
            np.polynomial.hermite_e.hermeval,
            lambda j: float(1 / np.sqrt(float(np.prod(np.arange(1, j + 1))))),
        ),
    ],
)
def test_values_are_the_products_of_numpy_s_polynomials(family, module, norm):
    points, basis = normal(20, 2), basis_of(2, 4, family)
    columns = basis.columns(points)
    for a, column in zip(exponents(2, 4).tolist(), columns, strict=True):
        expected = np.ones(20)
        for coordinate, power in enumerate(a):
            expected = expected * norm(power) * module(points[:, coordinate].numpy(), [0] * power + [1])
        np.testing.assert_allclose(column, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("family", "rule"), [("legendre", "leggauss"), ("hermite", "hermegauss")])
def test_products_are_orthonormal(family, rule):
    module = np.polynomial.legendre if family == "legendre" else np.polynomial.hermite_e
    places, shares = getattr(module, rule)(8)
    grid = torch.from_numpy(np.stack(np.meshgrid(places, places), -1).reshape(-1, 2))
    weights = torch.from_numpy(np.outer(shares, shares).ravel() / shares.sum() ** 2)
    values = basis_of(2, 6, family).columns(grid)
    torch.testing.assert_close((values * weights) @ values.T, torch.eye(28).double(), rtol=0, atol=1e-11)
    other = basis_of(2, 6, "hermite" if family == "legendre" else "legendre").columns(grid)
    assert not torch.allclose((other * weights) @ other.T, torch.eye(28).double(), atol=0.1)


@pytest.mark.parametrize("family", ["legendre", "hermite"])
def test_gradients_agree_with_differences(family):
    basis = ProductBasis(torch.tensor([0.1, -0.2]).double(), torch.tensor([1.5, 0.7]).double(), 5, family)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (6, 2)))
    for i in range(2):
        step = torch.zeros(2).double()
        step[i] = 1e-6
        slope = (basis.columns(points + step) - basis.columns(points - step)) / 2e-6 * basis.scale[i]
        torch.testing.assert_close(basis.gradients(points)[i], slope, rtol=1e-6, atol=1e-6)


def test_a_buffer_is_filled_and_used():
    points, basis = normal(7, 2), basis_of(2, 3)
    buffer = torch.full((10, 9), torch.nan, dtype=torch.float64)
    found = basis.columns(points, buffer)
    assert torch.equal(found, basis.columns(points))
    assert torch.equal(buffer[:, :7], found)
    assert bool(buffer[:, 7:].isnan().all())


def test_a_gaussian_cloud_gets_hermite_and_a_uniform_one_legendre_on_its_box():
    gaussian, uniform = normal(4000, 2), 3 + 2 * torch.rand(4000, 2, dtype=torch.float64)
    assert fit_basis(gaussian, 3).family == "hermite"
    assert fit_basis(gaussian, 1).family == "legendre"
    basis = fit_basis(uniform, 3)
    assert basis.family == "legendre"
    torch.testing.assert_close(basis.centre - basis.scale, uniform.amin(0))
    torch.testing.assert_close(basis.centre + basis.scale, uniform.amax(0))


def test_a_constant_coordinate_is_only_centred():
    points = torch.tensor([[5.0, 0.0], [5.0, 2.0], [5.0, 1.0]]).double()
    basis = fit_basis(points, 2)
    assert (basis.centre[0], basis.scale[0]) == (5.0, 1.0)
    assert bool(torch.isfinite(basis.columns(points)).all())


def test_features_of_higher_degree_matter_less_on_average():
    weight, degrees = importance(3, 6), exponents(3, 6).sum(1)
    assert weight[0] == 1.0
    means = [float(weight[degrees == d].mean()) for d in range(7)]
    assert means == sorted(means, reverse=True)
