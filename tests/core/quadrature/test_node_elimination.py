import numpy as np
import pytest
import torch

from jlab_compress import compress_cloud
from jlab_compress.core.evaluation import RandomFunctionTest
from jlab_compress.core.polynomials import count_functions, fit_basis
from jlab_compress.core.quadrature.gauss_newton import moment_goal
from jlab_compress.core.quadrature.node_elimination import eliminate_nodes, raise_degree, reachable_degree


def exact_error(points, cloud):
    basis = fit_basis(points, cloud.degree)
    before, after = basis.columns(points), basis.columns(cloud.points)
    return float(((after @ cloud.multiplicities - before.sum(1)) / before.abs().sum(1)).abs().max())


def uniform(n, m, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, m)))


def start_of(points, degree):
    kept = compress_cloud(points, degree=degree)
    return kept.points, kept.multiplicities


def test_one_dimension_gives_the_gauss_nodes():
    """A fine uniform grid stands for the uniform measure; 3 nodes then keep degree 5."""
    points = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[:, None]
    nodes = eliminate_nodes(*start_of(points, 5), moment_goal(points, torch.ones(200_001), 5))
    places, shares = np.polynomial.legendre.leggauss(3)
    order = nodes.points[:, 0].argsort()
    assert nodes.certified
    np.testing.assert_allclose(nodes.points[order, 0], places, atol=1e-4)
    np.testing.assert_allclose(nodes.counts[order] / 200_001, shares / 2, atol=1e-4)


@pytest.mark.parametrize("least", [1, 4, 6, 10])
def test_elimination_stops_where_it_is_told_and_keeps_the_moments(least):
    points = uniform(800, 2)
    goal = moment_goal(points, torch.ones(800), 3)
    nodes = eliminate_nodes(*start_of(points, 3), goal, least=least)
    assert max(4, least) <= len(nodes.counts) <= max(5, least)
    assert float(goal.missing(nodes.points, nodes.counts).abs().max()) <= 1e-10
    assert float(nodes.counts.min()) > 0


@pytest.mark.parametrize(("size", "dimension"), [(6, 1), (12, 2), (20, 3)])
def test_moved_nodes_meet_a_higher_degree_than_kept_ones(size, dimension):
    points = uniform(1500, dimension)
    start = compress_cloud(points, size=size)
    goal = moment_goal(points, torch.ones(1500), reachable_degree(dimension, size))
    nodes, degree = raise_degree(start.points, start.multiplicities, goal)
    assert len(nodes.counts) == start.size
    assert degree > start.degree
    assert float(goal.up_to(degree).missing(nodes.points, nodes.counts).abs().max()) <= 1e-10
    assert count_functions(dimension, degree) <= start.size * (dimension + 1)


@pytest.mark.parametrize("dimension", [1, 3, 8])
def test_no_more_moments_are_looked_at_than_there_are_unknowns(dimension):
    for size in (1, 10, 200):
        degree = reachable_degree(dimension, size)
        assert count_functions(dimension, degree) <= max(1, size * (dimension + 1))
        assert count_functions(dimension, degree + 1) > min(4400, size * (dimension + 1))


@pytest.mark.parametrize(("degree", "most"), [(4, 16), (6, 44)])
def test_moved_nodes_of_a_gaussian_cloud(degree, most):
    points = torch.from_numpy(np.random.default_rng(0).standard_normal((10_000, 4)))
    cloud = compress_cloud(points, degree=degree, move=True)
    assert cloud.size <= most
    assert cloud.indices is None
    assert exact_error(points, cloud) <= 1e-9
    assert cloud.residual <= 1e-9
    assert bool((cloud.multiplicities > 0).all())
    low, high = points.amin(0), points.amax(0)
    rim = 0.05 * (high - low) + 1e-12
    assert bool(((cloud.points >= low - rim) & (cloud.points <= high + rim)).all())


def test_moved_nodes_of_a_given_size_do_better_than_kept_objects():
    points = uniform(2000, 2)
    test = RandomFunctionTest(points, points.new_ones(2000), seed=5)
    kept, moved = (compress_cloud(points, size=20, move=move) for move in (False, True))
    assert moved.size == 20
    assert moved.degree > kept.degree
    assert test.error(moved) < test.error(kept) / 2


def test_elimination_above_the_wanted_size_says_so():
    points = uniform(500, 2)
    cloud = compress_cloud(points, size=2, degree=4, move=True)
    assert cloud.size > 2
    assert exact_error(points, cloud) <= 1e-9
    assert "elimination stalled" in cloud.notes[-1]
