import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2

from jlab_compress.fitting.aims import baselines
from jlab_compress.fitting.held_out import relative_error, split_rows
from jlab_compress.fitting.solvers.kmeans import spread_rows
from tests.fitting.problems import clustered, dense, draw, gated, same_bits, tensors

X = draw(150, 5, seed=9)
EVERY = [
    baselines.random_subset,
    baselines.magnitude,
    baselines.kmeans_merge,
    baselines.greedy_refit,
    baselines.interpolative,
    baselines.nnls_outputs,
]


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("layer", [dense(40, dtype=torch.float32), gated(40)], ids=["float32", "gated"])
def test_width_dtype_bits_and_judgement(method, layer):
    before = [t.clone() for t in tensors(layer)]
    rows = X.to(layer.outgoing.dtype)
    fit = method(layer, rows, 12, seed=1)
    assert 1 <= fit.layer.width <= 12
    assert fit.layer.outgoing.dtype == layer.outgoing.dtype
    assert same_bits(fit.layer, method(layer, rows, 12, seed=1).layer)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(layer), strict=True))
    held = split_rows(150, 1).held
    assert fit.function_error == pytest.approx(
        relative_error(fit.layer(rows[held]), layer(rows[held])), rel=1e-3
    )
    if fit.indices is not None:
        assert torch.equal(fit.layer.incoming[0], layer.incoming[0][fit.indices])


@pytest.mark.parametrize("method", EVERY)
def test_bad_arguments_are_refused(method):
    with pytest.raises(ValueError, match="size must be between 1"):
        method(dense(40), X, 0)
    with pytest.raises(ValueError, match="inputs must be calibration rows"):
        method(dense(40), X[:0], 4)


@pytest.mark.parametrize("method", [baselines.kmeans_merge, baselines.greedy_refit, baselines.nnls_outputs])
def test_copies_are_represented_exactly(method):
    assert method(clustered(groups=6, copies=8), X, 6).function_error < 1e-6


def test_random_and_magnitude_do_not_represent_copies():
    layer = clustered(groups=6, copies=8)
    assert baselines.random_subset(layer, X, 6).function_error > 0.05
    assert baselines.magnitude(layer, X, 6).function_error > 0.05


def test_kmeans_counts_add_up_and_greedy_beats_the_plain_ones():
    layer = dense(60)
    merged = baselines.kmeans_merge(layer, X, 15).layer
    assert merged.multiplicities.sum() == 60
    assert merged.width == 15
    greedy = baselines.greedy_refit(layer, X, 15).function_error
    assert greedy < min(m(layer, X, 15).function_error for m in EVERY[:3])


@pytest.mark.parametrize("shape", [(90, 4, 20), (60, 33, 59), (30, 2, 30)])
def test_the_rows_drawn_to_start_from_are_those_of_scipy(shape):
    n, m, size = shape
    points = draw(n, m, seed=2).numpy()
    drawn = spread_rows(points, size, np.random.default_rng(7))
    theirs, _ = kmeans2(points, size, iter=1, minit="++", rng=np.random.default_rng(7))
    ours, _ = kmeans2(points, points[drawn], iter=1, minit="matrix")
    assert np.array_equal(ours, theirs)
    assert len(set(drawn)) == size


def test_more_rows_than_are_distinct_can_be_drawn():
    points = np.repeat([[1.0], [5.0]], 4, axis=0)
    drawn = spread_rows(points, 6, np.random.default_rng(0))
    assert set(points[drawn, 0]) == {1.0, 5.0}
