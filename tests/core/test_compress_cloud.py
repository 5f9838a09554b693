import numpy as np
import pytest
import torch

from jlab_compress import compress_cloud
from jlab_compress.core.cloud import Cloud, merge_clouds
from jlab_compress.core.evaluation import RandomFunctionTest
from jlab_compress.core.polynomials import ProductBasis, count_functions


def uniform(n, m, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, m)))


def moments(cloud, degree=3):
    m = cloud.dimension
    basis = ProductBasis(torch.zeros(m).double(), torch.ones(m).double(), degree)
    return basis.columns(cloud.points) @ cloud.multiplicities


def test_size_alone_says_what_it_picked_and_beats_the_paper_s_setting():
    points = uniform(3000, 3)
    whole = Cloud(points, points.new_ones(3000))
    judge = RandomFunctionTest(points, whole.multiplicities, seed=7)
    chosen = compress_cloud(points, size=100)
    paper = compress_cloud(points, size=100, degree=3)
    assert chosen.size == 100
    assert chosen.degree >= 4
    assert "are exact in 1 cell" in chosen.notes[0]
    assert "are fitted" in chosen.notes[1]
    assert paper.cells == 5
    assert judge.error(chosen) < judge.error(paper) / 5
    torch.testing.assert_close(moments(chosen), moments(whole), rtol=0, atol=1e-9)


def test_a_degree_that_needs_more_than_the_size_is_lowered():
    cloud = compress_cloud(uniform(500, 2), size=12, degree=9)
    assert (cloud.degree, cloud.cells, cloud.size) == (3, 1, 10)


def test_cells_keep_the_moments_of_every_cell():
    points = uniform(900, 2)
    cloud = compress_cloud(points, degree=2, cells=4)
    assert cloud.size == 4 * count_functions(2, 2)
    assert cloud.cells == 4
    torch.testing.assert_close(
        moments(cloud, 2), moments(Cloud(points, points.new_ones(900)), 2), rtol=0, atol=1e-11
    )
    assert not torch.allclose(moments(cloud, 3), moments(Cloud(points, points.new_ones(900)), 3))


@pytest.mark.parametrize("seed", range(3))
def test_sixteen_parts_merge_in_any_order(seed):
    points = uniform(4000, 3)
    whole = Cloud(points, points.new_ones(4000))
    parts = [compress_cloud(part, degree=3) for part in points.chunk(16)]
    order = np.random.default_rng(seed).permutation(16)
    total = parts[order[0]]
    for i in order[1:]:
        union = merge_clouds(total, parts[i])
        total = compress_cloud(union.points, union.multiplicities, degree=3)
    assert total.size <= count_functions(3, 3)
    error = (moments(total) - moments(whole)).abs() / 4000
    assert float(error.max()) <= 1e-12
    direct = compress_cloud(points, degree=3)
    torch.testing.assert_close(moments(total), moments(direct), rtol=0, atol=4000 * 1e-12)


def test_permuting_the_objects_changes_no_moment():
    points = uniform(700, 2)
    shuffled = points[torch.from_numpy(np.random.default_rng(1).permutation(700))]
    one, other = compress_cloud(points, degree=4), compress_cloud(shuffled, degree=4)
    torch.testing.assert_close(moments(one, 4), moments(other, 4), rtol=0, atol=1e-11)


def test_the_same_seed_gives_the_same_cloud_and_leaves_the_generators_alone():
    points = uniform(2000, 2)
    before = points.clone()
    state = torch.get_rng_state()
    one, other = (compress_cloud(points, size=40, seed=3) for _ in range(2))
    assert torch.equal(one.indices, other.indices)
    assert torch.equal(one.multiplicities, other.multiplicities)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(points, before)


def test_float32_in_float32_out():
    cloud = compress_cloud(uniform(400, 2).float(), degree=3)
    assert cloud.points.dtype == cloud.multiplicities.dtype == torch.float32
    assert 1e-12 < cloud.residual <= 1e-5


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"size": 0}, ValueError, "size: expected at least 1"),
        ({"size": 51}, ValueError, "size: expected at most the 50 objects"),
        ({"size": 2.5}, TypeError, "size: expected a whole number"),
        ({"degree": -1}, ValueError, "degree: expected at least 0"),
        ({"degree": 2, "cells": 0}, ValueError, "cells: expected at least 1"),
        ({"size": 5, "cells": 6}, ValueError, "cells: expected at most 5"),
        ({}, ValueError, "neither size nor degree"),
    ],
)
def test_bad_requests(arguments, kind, message):
    with pytest.raises(kind, match=message):
        compress_cloud(uniform(50, 2), **arguments)


@pytest.mark.parametrize(
    ("points", "counts", "kind", "message"),
    [
        (torch.tensor([[1.0, torch.nan]]), None, ValueError, "points: expected finite"),
        (torch.tensor([[1.0, torch.inf]]), None, ValueError, "points: expected finite"),
        (torch.zeros(3), None, ValueError, r"points: expected shape \(n, m\)"),
        (torch.zeros(0, 2), None, ValueError, r"points: expected shape \(n, m\)"),
        (torch.zeros(3, 2, dtype=torch.int64), None, TypeError, "points: expected float32 or float64"),
        ([[1.0]], None, TypeError, "points: expected a torch tensor"),
        (
            torch.zeros(3, 2),
            torch.tensor([1.0, -1.0, 1.0]),
            ValueError,
            "multiplicities: expected values >= 0",
        ),
        (
            torch.zeros(3, 2),
            torch.tensor([1.0, torch.nan, 1.0]),
            ValueError,
            "multiplicities: expected finite",
        ),
        (torch.zeros(3, 2), torch.zeros(3), ValueError, "all are zero"),
        (torch.zeros(3, 2), torch.ones(2), ValueError, r"multiplicities: expected shape \(3,\)"),
        (torch.zeros(3, 2), torch.ones(3).double(), ValueError, "expected torch.float32 on cpu"),
        (torch.zeros(3, 2), torch.ones(3, device="meta"), ValueError, "torch.float32 on meta"),
        (torch.zeros(3, 2), [1.0, 1.0, 1.0], TypeError, "multiplicities: expected a torch tensor"),
    ],
)
def test_bad_clouds(points, counts, kind, message):
    with pytest.raises(kind, match=message):
        compress_cloud(points, counts, degree=1)
