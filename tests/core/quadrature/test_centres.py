"""Centres of cells that keep the moments of the whole."""

import numpy as np
import pytest
import torch

from jlab_compress import compress_cloud
from jlab_compress.core.quadrature.centres import find_centres, has_room, settle_centres
from tests.core.quadrature.test_node_elimination import exact_error


def cloud_of(n, m, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, m)))


def test_size_and_degree_with_room_settle_the_centres():
    points = cloud_of(3000, 3)
    cloud = compress_cloud(points, size=100, degree=4, move=True)
    assert (cloud.size, cloud.indices, cloud.degree) == (100, None, 4)
    assert exact_error(points, cloud) <= 1e-9
    assert cloud.residual <= 1e-10
    assert bool((cloud.multiplicities > 0).all())
    assert cloud.notes[0].startswith("centres of 100 cells, moved so that moments up to degree 4")


def test_they_meet_kinks_better_than_kept_objects():
    """Means of |<a, x> + b|, which no polynomial follows quickly."""
    points, generator = cloud_of(3000, 4), torch.Generator().manual_seed(0)
    directions = torch.randn(4, 200, generator=generator, dtype=torch.float64)
    offsets = torch.randn(200, generator=generator, dtype=torch.float64)

    def error(cloud):
        values = lambda x: (x @ directions + offsets).abs()  # noqa: E731
        mean = cloud.multiplicities @ values(cloud.points) / cloud.multiplicities.sum()
        return float((mean - values(points).mean(0)).square().mean().sqrt())

    moved = error(compress_cloud(points, size=200, degree=4, move=True))
    assert moved < 0.5 * error(compress_cloud(points, size=200, degree=5))
    assert moved < 0.85 * error(compress_cloud(points, size=200))


def test_twin_centres_alone_lose_the_moments():
    points = cloud_of(2000, 3)
    cloud = compress_cloud(points, size=80, degree=4, move=True)
    centres, counts = find_centres(points, torch.ones(2000), 80)
    assert float((counts @ centres**2 - (points**2).sum(0)).abs().max()) > 10
    assert float((cloud.multiplicities @ cloud.points**2 - (points**2).sum(0)).abs().max()) < 1e-6


def test_weights_count():
    points, counts = cloud_of(400, 2), torch.ones(400).double()
    counts[:100] = 3.0
    counts[390:] = 0.0
    doubled = torch.cat([points[:100], points[:100], points[:390]])
    weighted = compress_cloud(points, counts, size=40, degree=3, move=True)
    assert float(weighted.multiplicities.sum()) == pytest.approx(590)
    torch.testing.assert_close(weighted.multiplicities @ weighted.points**3, (doubled**3).sum(0))


def test_duplicates_leave_one_centre_each():
    corners = cloud_of(5, 2)
    centres, counts = find_centres(corners.repeat(4, 1), torch.ones(20), 12)
    assert len(centres) <= 12
    assert float(counts.sum()) == 20
    assert float(torch.cdist(corners, centres).amin(1).max()) < 1e-12


def test_moments_that_cannot_be_met_are_left_to_elimination():
    points = cloud_of(500, 2)
    assert not has_room(2, size=2, degree=4)
    assert compress_cloud(points, size=2, degree=4, move=True).size > 2
    two = torch.cat([torch.zeros(50, 2), torch.ones(50, 2)]).double()
    assert settle_centres(two, torch.ones(100), size=60, degree=1) is not None
