from dataclasses import replace

import pytest
import torch

from jlab_compress.fitting.held_out import relative_error
from jlab_compress.fitting.kernels.actions import kernel_actions, kernel_error
from jlab_compress.fitting.moving.nodes import (
    error_scales,
    move_nodes,
    outputs_and_steps,
    teacher_batches,
)
from jlab_compress.fitting.solvers.kmeans import cluster_neurons, merge_clusters
from tests.fitting.problems import clustered, dense, draw, gated, same_bits, tensors

X = draw(400, 5)


def loss(layer, targets, scales):
    """The mean of what `move_nodes` minimises, over all minibatches."""
    total = 0.0
    for batch in targets:
        parts = outputs_and_steps(layer, batch.inputs, batch.residuals, adaptive=True)
        total += sum(
            float((a - b).square().mean() / s) for a, b, s in zip(parts, batch.parts, scales, strict=True)
        )
    return total / len(targets)


@pytest.mark.parametrize("layer", [dense(40, activation=torch.tanh), gated(40)], ids=["dense", "gated"])
def test_nodes_that_move_lower_the_errors_of_outputs_and_kernel(layer):
    targets = teacher_batches(layer, X, minibatches=10)
    scales, start = error_scales(targets, 0.0), merge_clusters(layer, cluster_neurons(layer, 12))
    moved = move_nodes(start, targets, scales, steps=150, rate=0.05)
    assert loss(moved, targets, scales) < 0.5 * loss(start, targets, scales)
    fresh = draw(200, 5, seed=7)
    assert relative_error(moved(fresh), layer(fresh)) < 0.8 * relative_error(start(fresh), layer(fresh))
    assert kernel_error(moved, layer, fresh) < 0.8 * kernel_error(start, layer, fresh)
    assert bool((moved.multiplicities > 0).all())


def test_nodes_that_are_right_stay():
    """The distinct neurons with their counts have no error, so no gradient; shaken, they come back."""
    layer = clustered(groups=4, copies=5, activation=torch.tanh)
    right = layer.select(torch.arange(0, 20, 5), torch.full((4,), 5.0).double())
    targets = teacher_batches(layer, X, minibatches=10)
    scales = error_scales(targets, 0.0)
    assert loss(right, targets, scales) < 1e-25
    shaken = replace(right, incoming=(right.incoming[0] + 0.2 * draw(4, 5, seed=3),))
    back = move_nodes(shaken, targets, scales, steps=200, rate=0.02)
    assert loss(back, targets, scales) < 1e-2 * loss(shaken, targets, scales)


def test_multiplicities_move_only_if_they_may():
    layer = dense(20, activation=torch.tanh)
    targets = teacher_batches(layer, X, minibatches=4)
    scales, start = error_scales(targets, 0.0), merge_clusters(layer, cluster_neurons(layer, 6))
    fixed, free = (
        move_nodes(start, targets, scales, steps=5, rate=0.05, fixed_counts=fixed) for fixed in (True, False)
    )
    torch.testing.assert_close(fixed.multiplicities, start.multiplicities)
    assert not torch.allclose(free.multiplicities, start.multiplicities, rtol=1e-3)


def test_targets_are_what_the_layer_gives_and_its_kernel_makes_of_the_probes():
    layer = dense(20, activation=torch.tanh)
    for batch in teacher_batches(layer, X, minibatches=3, seed=2):
        outputs, outgoing, incoming = batch.parts[:3]
        torch.testing.assert_close(outputs + layer.outgoing_bias, layer(batch.inputs))
        expected = kernel_actions(layer, batch.inputs, batch.residuals)
        torch.testing.assert_close((outgoing, incoming), expected)
        known = {tuple(row) for row in X.tolist()}
        assert all(tuple(row) in known for row in batch.inputs.tolist())


def test_probes_are_white_unless_smooth_ones_are_wanted():
    layer, twice = dense(20), torch.cat([X[:1], X[:1]])
    white, smooth = (
        teacher_batches(layer, twice, smooth=s, minibatches=1)[0].residuals for s in (False, True)
    )
    assert torch.equal(smooth[:, 0], smooth[:, 1])
    assert not torch.equal(white[:, 0], white[:, 1])


def test_an_output_that_will_move_far_need_not_be_met():
    targets = teacher_batches(dense(20), X, minibatches=3)
    near, far = error_scales(targets, 0.0), error_scales(targets, 7.0)
    assert float(far[0] - near[0]) == pytest.approx(49.0)
    assert torch.equal(torch.stack(far[1:]), torch.stack(near[1:]))


def test_same_seed_same_bits_and_the_layers_are_untouched():
    layer, state = dense(20), torch.get_rng_state()
    before = [t.clone() for t in tensors(layer)]
    results = []
    for seed in (3, 3, 4):
        targets = teacher_batches(layer, X, minibatches=3, seed=seed)
        start = layer.select(torch.arange(5))
        results.append(move_nodes(start, targets, error_scales(targets, 0.0), steps=4, rate=0.05))
    assert same_bits(results[0], results[1])
    assert not same_bits(results[0], results[2])
    assert all(torch.equal(a, b) for a, b in zip(tensors(layer), before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_every_step_is_counted():
    layer, seen = dense(20), []
    targets = teacher_batches(layer, X, minibatches=2)
    move_nodes(
        layer.select(torch.arange(5)),
        targets,
        error_scales(targets, 0.0),
        steps=7,
        rate=0.05,
        progress=lambda: seen.append(1),
    )
    assert len(seen) == 7
