import numpy as np
import pytest
import torch

from jlab_compress import compress_cloud
from jlab_compress.core.evaluation import RandomFunctionTest
from jlab_compress.core.polynomials import ProductBasis, fit_basis


def exact_error(points, cloud):
    basis = fit_basis(points, cloud.degree)
    before, after = basis.columns(points), basis.columns(cloud.points)
    return float(((after @ cloud.multiplicities - before.sum(1)) / before.abs().sum(1)).abs().max())


def test_one_dimension_gives_the_gauss_nodes():
    """A fine uniform grid stands for the uniform measure; 3 nodes then keep degree 5."""
    points = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[:, None]
    cloud = compress_cloud(points, degree=5, move=True)
    places, shares = np.polynomial.legendre.leggauss(3)
    order = cloud.points[:, 0].argsort()
    assert cloud.size == 3
    assert cloud.indices is None
    np.testing.assert_allclose(cloud.points[order, 0], places, atol=1e-4)
    np.testing.assert_allclose(cloud.multiplicities[order] / 200_001, shares / 2, atol=1e-4)


@pytest.mark.parametrize(("degree", "most"), [(4, 16), (6, 44)])
def test_moved_nodes_of_a_gaussian_cloud(degree, most):
    points = torch.from_numpy(np.random.default_rng(0).standard_normal((10_000, 4)))
    cloud = compress_cloud(points, degree=degree, move=True)
    assert cloud.size <= most
    assert exact_error(points, cloud) <= 1e-9
    assert cloud.residual <= 1e-9
    assert bool((cloud.multiplicities > 0).all())
    low, high = points.amin(0), points.amax(0)
    rim = 0.05 * (high - low) + 1e-12
    assert bool(((cloud.points >= low - rim) & (cloud.points <= high + rim)).all())


def test_moved_nodes_of_a_given_size_do_better_than_kept_objects():
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2000, 2)))
    judge = RandomFunctionTest(points, points.new_ones(2000), seed=5)
    kept, moved = (compress_cloud(points, size=20, move=move) for move in (False, True))
    assert moved.size == 20
    assert moved.degree > kept.degree
    assert judge.error(moved) < judge.error(kept) / 2


def test_elimination_above_the_wanted_size_says_so():
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (500, 2)))
    cloud = compress_cloud(points, size=2, degree=4, move=True)
    assert cloud.size > 2
    assert exact_error(points, cloud) <= 1e-9
    assert "elimination stalled" in cloud.notes[-1]


@pytest.mark.parametrize("family", ["legendre", "hermite"])
def test_gradients_agree_with_differences(family):
    basis = ProductBasis(torch.tensor([0.1, -0.2]).double(), torch.tensor([1.5, 0.7]).double(), 5, family)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (6, 2)))
    for i in range(2):
        step = torch.zeros(2).double()
        step[i] = 1e-6
        slope = (basis.columns(points + step) - basis.columns(points - step)) / 2e-6 * basis.scale[i]
        torch.testing.assert_close(basis.gradients(points)[i], slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("family", "rule"), [("legendre", "leggauss"), ("hermite", "hermegauss")])
def test_products_are_orthonormal(family, rule):
    module = np.polynomial.legendre if family == "legendre" else np.polynomial.hermite_e
    places, shares = getattr(module, rule)(8)
    grid = torch.from_numpy(np.stack(np.meshgrid(places, places), -1).reshape(-1, 2))
    weights = torch.from_numpy(np.outer(shares, shares).ravel() / shares.sum() ** 2)
    basis = ProductBasis(torch.zeros(2).double(), torch.ones(2).double(), 6, family)
    values = basis.columns(grid)
    torch.testing.assert_close((values * weights) @ values.T, torch.eye(28).double(), rtol=0, atol=1e-11)
