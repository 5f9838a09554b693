import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jlab_compress import compress_cloud
from jlab_compress.core.polynomials import fit_basis

KINDS = ["gaussian", "uniform", "clusters", "scales", "duplicates", "manifold", "cauchy", "far"]


def draw_points(kind, n, m, rng):
    normal = rng.standard_normal((n, m))
    points = {
        "gaussian": normal,
        "uniform": rng.uniform(-1, 1, (n, m)),
        "clusters": rng.choice([-1.0, 0.0, 1.0], (n, m)) + 1e-3 * rng.uniform(-1, 1, (n, m)),
        "scales": normal * 10.0 ** rng.uniform(-6, 6, m),
        "duplicates": normal[rng.integers(0, max(1, n // 7), n)],
        "manifold": np.column_stack([np.cos(normal[:, :1] + j) for j in range(m)]),
        "cauchy": rng.standard_cauchy((n, m)),
        "far": 1e3 + normal,
    }[kind]
    return torch.from_numpy(points)


def draw_counts(kind, n, rng):
    counts = {
        "ones": np.ones(n),
        "uniform": rng.random(n) + 0.01,
        "zeros": rng.integers(0, 3, n) + (np.arange(n) == 0),
        "uneven": 10.0 ** rng.uniform(-12, 12, n),
    }[kind]
    return torch.from_numpy(counts.astype(float))


def exact_error(points, counts, cloud):
    """The largest moment error over the sum of absolute values, by a sum in extended precision."""
    basis = fit_basis(points, cloud.degree)
    before, after = (basis.evaluate(p).numpy().astype(np.longdouble) for p in (points, cloud.points))
    missing = after.T @ cloud.multiplicities.numpy() - before.T @ counts.numpy()
    sums = abs(before).T @ counts.numpy()
    return float((abs(missing) / np.where(sums > 0, sums, 1)).max())


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    counting=st.sampled_from(["ones", "uniform", "zeros", "uneven"]),
    n=st.sampled_from([1, 2, 14, 15, 16, 60, 400, 3000]),
    m=st.integers(1, 4),
    degree=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_moments_are_exact_on_hard_clouds(kind, counting, n, m, degree, seed):
    rng = np.random.default_rng(seed)
    points, counts = draw_points(kind, n, m, rng), draw_counts(counting, n, rng)
    cloud = compress_cloud(points, counts, degree=degree)
    assert cloud.residual <= 1e-13
    assert exact_error(points, counts, cloud) <= 1e-13
    assert bool((cloud.multiplicities > 0).all())
    assert cloud.total == pytest.approx(float(counts.sum()), rel=1e-13)
    assert torch.equal(cloud.points, points[cloud.indices])
    assert bool((counts[cloud.indices] > 0).all())
    features = fit_basis(points, degree).evaluate(points).numpy()
    assert cloud.size <= np.linalg.matrix_rank(features / np.linalg.norm(features, axis=0).clip(1e-150))


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    counting=st.sampled_from(["ones", "uniform", "zeros", "uneven"]),
    n=st.sampled_from([1, 2, 15, 60, 400]),
    m=st.integers(1, 4),
    size=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_wanted_size_is_kept_on_hard_clouds(kind, counting, n, m, size, seed):
    rng = np.random.default_rng(seed)
    points, counts = draw_points(kind, n, m, rng), draw_counts(counting, n, rng)
    cloud = compress_cloud(points, counts, size=min(n, size))
    assert cloud.size <= size
    assert cloud.residual <= 1e-13
    assert bool((cloud.multiplicities > 0).all())
    assert cloud.total == pytest.approx(float(counts.sum()), rel=1e-13)
    assert torch.equal(cloud.points, points[cloud.indices])


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(KINDS), n=st.sampled_from([1, 2, 15, 200]), seed=st.integers(0, 2**32 - 1))
def test_moved_nodes_are_certified_on_hard_clouds(kind, n, seed):
    points = draw_points(kind, n, 2, np.random.default_rng(seed))
    cloud = compress_cloud(points, degree=3, move=True)
    assert cloud.size <= min(n, 10)
    assert cloud.residual <= 1e-9
    assert bool((cloud.multiplicities > 0).all())
    assert exact_error(points, points.new_ones(n), cloud) <= 1e-8


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
@pytest.mark.parametrize(("m", "degree"), [(2, 4), (4, 3), (8, 2)])
def test_multiplicities_stay_within_a_thousandth_of_the_mean(kind, m, degree):
    points = draw_points(kind, 20_000, m, np.random.default_rng(m))
    cloud = compress_cloud(points, degree=degree)
    assert cloud.spread >= 1e-3
    assert cloud.report.facts["smallest_over_mean_multiplicity"] == cloud.spread


def test_duplicates_collapse_to_exact_counts():
    distinct = draw_points("gaussian", 10, 3, np.random.default_rng(0))
    cloud = compress_cloud(distinct.repeat(7, 1), degree=2)
    assert cloud.size == 10
    torch.testing.assert_close(cloud.multiplicities, torch.full((10,), 7.0).double(), rtol=1e-13, atol=0)
