import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2

from jlab_compress.fitting.solvers.kmeans import cluster_neurons, merge_clusters, neuron_rows, spread_rows
from tests.fitting.problems import clustered, dense, draw, gated


@pytest.mark.parametrize("shape", [(90, 4, 20), (60, 33, 59), (30, 2, 30)])
def test_the_rows_drawn_to_start_from_are_those_of_scipy(shape):
    n, m, size = shape
    points = draw(n, m, seed=2).numpy()
    drawn = spread_rows(points, size, np.random.default_rng(7))
    theirs, _ = kmeans2(points, size, iter=1, minit="++", rng=np.random.default_rng(7))
    ours, _ = kmeans2(points, points[drawn], iter=1, minit="matrix")
    assert np.array_equal(ours, theirs)
    assert len(set(drawn)) == size
    others = spread_rows(points, size, np.random.default_rng(8))
    assert size == n or set(others) != set(drawn)


def test_more_rows_than_are_distinct_can_be_drawn():
    points = np.repeat([[1.0], [5.0]], 4, axis=0)
    drawn = spread_rows(points, 6, np.random.default_rng(0))
    assert set(points[drawn, 0]) == {1.0, 5.0}


def test_incoming_and_outgoing_parts_of_a_neuron_weigh_alike():
    layer = dense(20)
    rows = neuron_rows(layer)
    assert rows.shape == (20, 5 + 1 + 3)
    for part in (rows[:, :6], rows[:, 6:]):
        assert float(part.square().mean().sqrt()) == pytest.approx(1)
    louder = layer.with_outgoing(1000 * layer.outgoing, layer.outgoing_bias)
    torch.testing.assert_close(neuron_rows(louder), rows)
    assert neuron_rows(gated(20)).shape == (20, 5 + 5 + 3)


def test_groups_of_near_copies_are_the_clusters():
    labels = cluster_neurons(clustered(groups=6, copies=8, spread=1e-3), 6)
    assert [len(set(part.tolist())) for part in labels.reshape(6, 8)] == [1] * 6
    assert len(set(labels.tolist())) == 6


@pytest.mark.parametrize("size", [1, 30, 48])
def test_no_cluster_is_empty_even_among_copies(size):
    labels = cluster_neurons(clustered(groups=6, copies=8), size)
    assert set(labels.tolist()) == set(range(size))


def test_same_seed_same_labels_and_the_generators_stay():
    layer, state, theirs = dense(60), torch.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(cluster_neurons(layer, 9, 3), cluster_neurons(layer, 9, 3))
    assert not torch.equal(cluster_neurons(layer, 9, 3), cluster_neurons(layer, 9, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], theirs)


def test_a_cluster_becomes_its_mean_neuron_with_all_its_counts():
    layer = dense(5).select(torch.arange(5), torch.tensor([1.0, 2.0, 1.0, 1.0, 4.0]).double())
    merged = merge_clusters(layer, torch.tensor([0, 1, 0, 1, 2]))
    assert merged.multiplicities.tolist() == [2.0, 3.0, 4.0]
    c, w = layer.multiplicities, layer.incoming[0]
    torch.testing.assert_close(merged.incoming[0][1], (c[1] * w[1] + c[3] * w[3]) / 3)
    assert not torch.allclose(merged.incoming[0][1], (w[1] + w[3]) / 2, rtol=1e-3)


def test_merging_a_linear_layer_with_equal_outgoing_rows_loses_nothing():
    layer = dense(8, activation=lambda z: z)
    layer = layer.with_outgoing(layer.outgoing[:2].repeat_interleave(4, 0), layer.outgoing_bias)
    merged, x = merge_clusters(layer, torch.tensor([0] * 4 + [1] * 4)), draw(20, 5, seed=3)
    torch.testing.assert_close(merged(x), layer(x))
