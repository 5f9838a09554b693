import pytest
import torch

from jlab_compress.fitting.aims.short_training import (
    compare_trainings,
    largest_eigenvalue,
    short_training,
    train_on,
)
from jlab_compress.fitting.held_out import split_rows
from jlab_compress.fitting.kernels.actions import kernel_actions
from tests.fitting.problems import clustered, dense, draw, gated, same_bits, tensors

X = draw(120, 5, seed=9)
SPLIT = split_rows(120)
TANH = dense(30, activation=torch.tanh)


def task_of(layer, displacement=1.0, seed=0):
    return short_training(layer, X, SPLIT, displacement=displacement, seed=seed)


@pytest.mark.parametrize("layer", [TANH, gated(30)], ids=["dense", "gated"])
@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_training_lowers_the_loss_at_the_rates_that_were_found(layer, method):
    task = task_of(layer)
    before, after = (
        float((now(task.inputs) - task.targets).square().mean())
        for now in (layer, train_on(layer, task, method))
    )
    assert after < 0.9 * before


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_copies_that_are_counted_train_exactly_as_copies(method):
    layer = clustered(groups=6, copies=4, activation=torch.tanh)
    counted = layer.select(torch.arange(0, 24, 4), torch.full((6,), 4.0).double())
    task = task_of(layer)
    wide, slim = (train_on(one, task, method) for one in (layer, counted))
    torch.testing.assert_close(slim(X), wide(X), rtol=1e-6, atol=1e-8)
    assert not torch.allclose(wide(X), layer(X), rtol=1e-2)


def test_a_layer_that_is_the_wide_one_has_no_gaps_and_half_the_copies_have():
    layer = clustered(groups=6, copies=4, activation=torch.tanh)
    exact = layer.select(torch.arange(0, 24, 4), torch.full((6,), 4.0).double())
    wrong = layer.select(torch.arange(0, 24, 4), torch.full((6,), 2.0).double())
    same, other = compare_trainings(layer, [exact, wrong], task_of(layer))
    assert max(same.output_gap, same.training_gap) < 1e-6
    assert other.output_gap > 0.1
    assert other.training_gap > 0.1


def test_outputs_alike_do_not_mean_a_training_alike():
    """Neurons without their counts that write what all their copies write: same function, slower training."""
    layer = clustered(groups=6, copies=4, activation=torch.tanh)
    refitted = layer.select(torch.arange(0, 24, 4), torch.ones(6).double())
    refitted = refitted.with_outgoing(4 * refitted.outgoing, layer.outgoing_bias)
    (gaps,) = compare_trainings(layer, [refitted], task_of(layer))
    torch.testing.assert_close(refitted(X), layer(X))
    assert gaps.training_gap > 0.2


def test_the_task_moves_outputs_as_far_as_expected():
    for displacement in (0.01, 30.0):
        task = task_of(TANH, displacement)
        outputs = TANH(task.inputs)
        shift = float((task.targets - outputs).square().mean().sqrt())
        assert shift == pytest.approx(max(displacement, float(outputs.square().mean().sqrt())), rel=1e-6)
    known = {tuple(row) for row in X[SPLIT.fit].tolist()}
    assert all(tuple(row) in known for row in task.inputs.tolist())
    assert torch.equal(task.held, X[SPLIT.held])


def test_the_largest_eigenvalue_is_that_of_the_kernel():
    layer, x = TANH, X[:20]
    probes = torch.eye(60).double().reshape(60, 20, 3)
    kernel = sum(kernel_actions(layer, x, probes)).reshape(60, 60)
    exact = float(torch.linalg.eigvalsh(kernel)[-1]) / 20
    assert largest_eigenvalue(layer, x, 0, iterations=800) == pytest.approx(exact, rel=1e-3)
    assert 0.7 * exact < largest_eigenvalue(layer, x, 0) <= exact * (1 + 1e-9)


def test_same_seed_same_bits_and_the_layer_is_untouched():
    before, state = [t.clone() for t in tensors(TANH)], torch.get_rng_state()
    one, same = (train_on(TANH, task_of(TANH), "adam", 5) for _ in range(2))
    assert same_bits(one, same)
    assert not same_bits(one, train_on(TANH, task_of(TANH, seed=1), "adam", 5))
    assert all(torch.equal(a, b) for a, b in zip(tensors(TANH), before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
