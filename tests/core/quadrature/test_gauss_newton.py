import numpy as np
import pytest
import torch

from jlab_compress.core.polynomials import ProductBasis, fit_basis
from jlab_compress.core.quadrature.gauss_newton import MomentGoal, moment_goal, settle_nodes


def uniform(n, m):
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (n, m)))


def rule(family, nodes):
    """Gauss nodes (s, 1) and weights that sum to one, from numpy."""
    module = {"legendre": np.polynomial.legendre.leggauss, "hermite": np.polynomial.hermite_e.hermegauss}
    places, shares = module[family](nodes)
    return torch.from_numpy(places)[:, None], torch.from_numpy(shares / shares.sum())


def goal_of(family, degree):
    """The moments of the family's own measure: one, and zero for every other orthonormal function."""
    basis = ProductBasis(torch.zeros(1).double(), torch.ones(1).double(), degree, family)
    moments = torch.zeros(degree + 1).double()
    moments[0] = 1.0
    reach = torch.tensor([1.2 if family == "legendre" else 6.0]).double()
    return MomentGoal(basis, moments, torch.ones(degree + 1).double(), -reach, reach)


@pytest.mark.parametrize("family", ["legendre", "hermite"])
@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_a_start_nearby_settles_to_the_gauss_rule(family, nodes):
    places, shares = rule(family, nodes)
    start = places + 0.05 * torch.linspace(-1, 1, nodes).double()[:, None] + 0.02
    found = settle_nodes(start, torch.full((nodes,), 1.0 / nodes).double(), goal_of(family, 2 * nodes - 1))
    assert found.certified
    torch.testing.assert_close(found.points, places, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.counts, shares, rtol=0, atol=1e-9)


def test_moments_beyond_what_the_nodes_can_meet_are_not_certified():
    places, shares = rule("legendre", 3)
    found = settle_nodes(places, shares, goal_of("legendre", 6))
    assert not found.certified
    assert found.error > 1e-3
    assert settle_nodes(places, shares, goal_of("legendre", 6).up_to(5)).certified


def test_a_start_that_meets_the_moments_is_left_alone():
    places, shares = rule("legendre", 3)
    found = settle_nodes(places, shares, goal_of("legendre", 5))
    assert torch.equal(found.points, places)
    assert torch.equal(found.counts, shares)


def test_multiplicities_stay_positive_and_nodes_in_the_box():
    generator = torch.Generator().manual_seed(0)
    start = 4 * torch.rand(6, 1, generator=generator, dtype=torch.float64) - 2
    goal = goal_of("legendre", 9)
    found = settle_nodes(start.clamp(-1.2, 1.2), torch.full((6,), 1 / 6).double(), goal, rounds=7)
    assert float(found.counts.min()) > 0
    assert float(found.points.abs().max()) <= 1.2


def test_the_goal_of_a_cloud_is_its_moments():
    points = uniform(9000, 2)
    counts = torch.from_numpy(np.random.default_rng(1).uniform(0.5, 2, 9000))
    goal = moment_goal(points, counts, 3)
    values = fit_basis(points, 3).columns(points)
    torch.testing.assert_close(goal.moments, values @ counts)
    torch.testing.assert_close(goal.scale, values.abs() @ counts)
    assert float(goal.missing(points, counts).abs().max()) < 1e-13
    assert float(goal.missing(points, counts.flip(0)).abs().max()) > 1e-4
    low, high = points.amin(0), points.amax(0)
    torch.testing.assert_close(goal.low, low - 0.05 * (high - low))
    torch.testing.assert_close(goal.high, high + 0.05 * (high - low))


def test_a_goal_up_to_a_lower_degree_is_its_beginning():
    points, ones = uniform(50, 2), torch.ones(50).double()
    goal = moment_goal(points, ones, 4)
    lower, few = goal.up_to(2), (points[:9], ones[:9])
    assert torch.equal(lower.moments, goal.moments[:6])
    torch.testing.assert_close(lower.missing(*few), goal.missing(*few)[:6], rtol=1e-12, atol=1e-15)
    assert float(lower.missing(*few).abs().max()) > 0.1
