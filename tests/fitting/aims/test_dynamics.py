import functools

import pytest
import torch

from jlab_compress.fitting.aims import baselines, dynamics
from jlab_compress.fitting.aims.baselines import greedy_refit, kmeans_merge, nnls_outputs, random_subset
from jlab_compress.fitting.aims.dynamics import fit_dynamics as fit_with_effort
from jlab_compress.fitting.aims.dynamics import node_steps
from jlab_compress.fitting.aims.short_training import compare_trainings, short_training
from jlab_compress.fitting.criteria import EXACT, KERNEL_ERROR_LIMIT, TRAINING_GAP_LIMIT
from jlab_compress.fitting.displacement import layer_displacement
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.held_out import split_rows
from jlab_compress.fitting.kernels.actions import kernel_error
from tests.fitting.problems import clustered, dense, draw, gated, same_bits, tensors

X = draw(120, 5, seed=9)
FEW = Effort(node_steps=60, node_batches=20)
fit_dynamics = functools.partial(fit_with_effort, effort=FEW)


def test_exact_copies_collapse_and_train_alike():
    fit = fit_dynamics(clustered(groups=6, copies=8), X, 10)
    assert fit.layer.width == 6
    assert fit.function_error < 1e-12
    assert (fit.kernel_error, fit.criteria, fit.trains_alike) == (0.0, EXACT, True)
    assert fit.layer.multiplicities.tolist() == [8.0] * 6
    assert torch.equal(fit.layer.incoming[0], clustered(groups=6, copies=8).incoming[0][fit.indices])


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, torch.nn.functional.gelu])
def test_near_copies_are_found_again(activation):
    layer = clustered(groups=6, copies=8, spread=0.02, activation=activation)
    fit = fit_dynamics(layer, X, 6)
    assert fit.trains_alike
    assert fit.function_error < 0.05
    assert fit.layer.multiplicities.min() > 0


def test_a_layer_that_will_not_train_alike_is_named():
    assert fit_dynamics(dense(60, activation=torch.tanh), X, 1).trains_alike is False


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh], ids=["relu", "tanh"])
def test_what_is_kept_trains_nearest_and_the_criteria_say_how_near(activation):
    layer, split = dense(60, activation=activation), split_rows(120)
    fit = fit_dynamics(layer, X, 16)
    others = [plain(layer, X, 16) for plain in (random_subset, kmeans_merge, nnls_outputs, greedy_refit)]
    wide, x = layer.to(torch.float32), X.float()
    displacement = layer_displacement(wide, x[split.fit])
    task = short_training(wide, x, split, displacement=displacement)
    mine, *theirs = compare_trainings(wide, [f.layer.to(torch.float32) for f in (fit, *others)], task)
    nearest = min(gaps.output_gap + gaps.training_gap for gaps in theirs)
    assert mine.output_gap + mine.training_gap <= nearest
    gap, kernel = fit.criteria
    assert gap.value == pytest.approx(mine.training_gap, rel=1e-5)
    assert kernel.value == fit.kernel_error == pytest.approx(kernel_error(fit.layer, layer, X[split.held]))
    assert (gap.limit, kernel.limit) == (TRAINING_GAP_LIMIT, KERNEL_ERROR_LIMIT)
    assert str(gap) in fit.notes[0]


@pytest.mark.parametrize("method", ["nnls_outputs", "greedy_refit", "random_subset"])
def test_kept_neurons_are_named_by_their_place_among_all_copies(monkeypatch, method):
    """Dead neurons come first, so that the place among distinct ones is another."""
    wide = dense(40, activation=torch.tanh)
    dead = wide.select(torch.tensor([0] * 20 + list(range(20))))
    for part in (*dead.incoming, *dead.biases, dead.outgoing):
        part[:20] = 0.0
    monkeypatch.setattr(dynamics, "_moved_from", lambda *_: [])
    monkeypatch.setattr(dynamics, "PLAIN_FITS", (getattr(baselines, method),))
    fit = fit_dynamics(dead, X, 8)
    assert torch.equal(fit.layer.incoming[0], dead.incoming[0][fit.indices])
    assert torch.equal(fit.layer.biases[0], dead.biases[0][fit.indices])


def test_a_gated_layer_is_fitted():
    fit = fit_dynamics(gated(), X, 20)
    assert fit.layer.width == 20
    assert len(fit.layer.incoming) == 2
    assert fit.function_error < random_subset(gated(), X, 20).function_error


def test_counts_are_equal_for_relu_and_not_for_tanh():
    counts = {
        act: fit_dynamics(dense(40, activation=act), X, 10).layer.multiplicities
        for act in (torch.relu, torch.tanh)
    }
    assert len(set(counts[torch.relu].tolist())) == 1
    assert len(set(counts[torch.tanh].tolist())) > 1


def test_outputs_that_will_move_far_are_met_less_well():
    layer = dense(60, activation=torch.tanh)
    stays, moves = (fit_dynamics(layer, X, 10, displacement=d) for d in (1e-3, 30.0))
    assert stays.function_error < moves.function_error


def test_steps_are_fewer_where_few_numbers_are_free_or_a_step_is_expensive():
    usual = node_steps(dense(40, n_in=50, n_out=50), 20, Effort(node_steps=100))
    tiny = node_steps(dense(4, n_in=1, n_out=1), 2, Effort(node_steps=100))
    huge = node_steps(dense(40, n_in=5000, n_out=5000), 40, Effort(node_steps=100))
    assert usual == 100
    assert 20 <= tiny < 100
    assert 20 <= huge < 100
    assert node_steps(dense(40, n_in=50, n_out=50), 20, Effort(node_steps=200)) == 2 * usual


def test_same_seed_same_bits_and_the_layer_is_untouched():
    layer, state = dense(40), torch.get_rng_state()
    before = [t.clone() for t in tensors(layer)]
    first, second = fit_dynamics(layer, X, 8, seed=3), fit_dynamics(layer, X, 8, seed=3)
    assert same_bits(first.layer, second.layer)
    assert not same_bits(first.layer, fit_dynamics(layer, X, 8, seed=4).layer)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(layer), strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_progress_ends_at_the_total_and_an_interrupt_passes_through():
    calls = []
    fit_dynamics(dense(40), X, 8, progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        fit_dynamics(dense(40), X, 8, progress=interrupt)


@pytest.mark.parametrize("size", [0, 41])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(ValueError, match="size must be between 1 and the layer's width 40"):
        fit_dynamics(dense(40), X, size)


def test_bad_rows_are_refused():
    with pytest.raises(ValueError, match=r"shape \(q, 5\)"):
        fit_dynamics(dense(40), X[:, :4], 8)
    with pytest.raises(ValueError, match="finite"):
        fit_dynamics(dense(40), X / 0, 8)
