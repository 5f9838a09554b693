import functools

import pytest
import torch

from jlab_compress.fitting.aims.baselines import random_subset
from jlab_compress.fitting.aims.dynamics import fit_dynamics as fit_with_effort
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.kernels.actions import kernel_error
from tests.fitting.problems import clustered, dense, draw, gated, same_bits, tensors

X = draw(120, 5, seed=9)
fit_dynamics = functools.partial(fit_with_effort, effort=Effort(node_steps=60))


def test_exact_copies_collapse_and_follow():
    layer = clustered(groups=6, copies=8)
    fit = fit_dynamics(layer, X, 10)
    assert (fit.layer.width, fit.function_error < 1e-12, fit.kernel_error, fit.trains_alike) == (
        6,
        True,
        0.0,
        True,
    )
    assert fit.layer.multiplicities.tolist() == [8.0] * 6


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, torch.nn.functional.gelu])
def test_near_copies_are_found_again(activation):
    layer = clustered(groups=6, copies=8, spread=0.02, activation=activation)
    fit = fit_dynamics(layer, X, 6)
    assert fit.trains_alike
    assert fit.function_error < 0.05
    assert fit.layer.multiplicities.min() > 0


def test_a_layer_that_cannot_be_followed_is_named():
    assert fit_dynamics(dense(60, activation=torch.tanh), X, 1).trains_alike is False


def test_a_gated_layer_is_fitted():
    fit = fit_dynamics(gated(), X, 20)
    assert fit.layer.width == 20
    assert len(fit.layer.incoming) == 2
    assert fit.function_error < random_subset(gated(), X, 20).function_error


def test_same_seed_same_bits_and_the_layer_is_untouched():
    layer = dense(40)
    before = [t.clone() for t in tensors(layer)]
    state = torch.get_rng_state()
    first, second = fit_dynamics(layer, X, 8, seed=3), fit_dynamics(layer, X, 8, seed=3)
    assert same_bits(first.layer, second.layer)
    assert not same_bits(first.layer, fit_dynamics(layer, X, 8, seed=4).layer)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(layer), strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_progress_ends_at_the_total_and_an_interrupt_passes_through():
    calls = []
    fit_dynamics(dense(40), X, 8, progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1][0] <= calls[-1][1]

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
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


def test_equal_counts_keep_function_and_kernel_of_a_relu_layer_only():
    counts = torch.linspace(0.5, 3, 40).double()
    check = functools.partial(kernel_error, inputs=X)
    relu = dense(40).select(torch.arange(40), counts)
    assert torch.allclose(relu.with_equal_multiplicities()(X), relu(X), rtol=1e-9)
    assert check(relu.with_equal_multiplicities(), relu) < 1e-9
    tanh = dense(40, activation=torch.tanh).select(torch.arange(40), counts)
    assert check(tanh.with_equal_multiplicities(), tanh) > 1e-3
