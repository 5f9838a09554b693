from dataclasses import replace

import pytest
import torch

from jlab_compress.fitting.aims import baselines
from jlab_compress.fitting.held_out import relative_error, split_rows
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
def test_a_layer_that_gives_nothing_keeps_neurons(method):
    layer = dense(20)
    silent = replace(layer, outgoing=torch.zeros_like(layer.outgoing), outgoing_bias=None)
    fit = method(silent, X, 6)
    assert (fit.layer.width, fit.function_error) == (6, 0.0)


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


def test_a_random_subset_is_unbiased_over_the_draw():
    layer = dense(20, activation=torch.tanh)
    mean = sum(baselines.random_subset(layer, X, 5, seed=s).layer(X) for s in range(400)) / 400
    alone = baselines.random_subset(layer, X, 5, seed=0).layer(X)
    assert relative_error(mean, layer(X)) < 0.2
    assert relative_error(alone, layer(X)) > 0.5


def test_magnitude_keeps_the_neurons_with_the_largest_weights():
    layer = dense(20)
    loud = torch.ones(20).double()
    loud[[3, 11]] = 50.0
    louder = layer.with_outgoing(layer.outgoing * loud[:, None], layer.outgoing_bias)
    assert baselines.magnitude(louder, X, 2).indices.tolist() == [3, 11]
    assert baselines.magnitude(layer, X, 2).indices.tolist() != [3, 11]


def test_interpolation_looks_at_activations_only():
    layer = dense(40)
    other = layer.with_outgoing(draw(40, 3, seed=7), layer.outgoing_bias)
    first, second = (baselines.interpolative(one, X, 10).indices for one in (layer, other))
    assert torch.equal(first, second)
    first, second = (baselines.greedy_refit(one, X, 10).indices for one in (layer, other))
    assert not torch.equal(first, second)


def test_a_fixed_bias_stays_and_a_free_one_is_refitted():
    layer = dense(40)
    targets = layer(X) + 5.0
    free, fixed = (baselines.greedy_refit(layer, X, 10, targets=targets, bias=bias) for bias in (True, False))
    assert torch.equal(fixed.layer.outgoing_bias, layer.outgoing_bias)
    assert free.function_error < 0.5 * fixed.function_error
