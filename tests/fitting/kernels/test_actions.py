import pytest
import torch

from jlab_compress.fitting.kernels.actions import (
    DAMPING,
    adaptive_directions,
    first_order_change,
    hidden_and_slopes,
    kernel_actions,
    kernel_error,
    neuron_gradients,
)
from jlab_compress.fitting.layer import Layer
from tests.fitting.problems import clustered, dense, draw, gated

X = draw(6, 5, seed=4)
LAYERS = {"tanh": dense(7, activation=torch.tanh), "relu": dense(7), "gated": gated(7)}
COUNTS = torch.linspace(0.5, 2, 7).double()


def moved(layer, outgoing, *incoming):
    """The outputs without bias when the parameters are these; every copy of a neuron shares them."""
    tensors = iter(incoming)
    weights = tuple(next(tensors) for _ in layer.incoming)
    biases = tuple(None if b is None else next(tensors) for b in layer.biases)
    return Layer(weights, biases, outgoing, None, layer.multiplicities, layer.activation)(X)


def jacobians(layer):
    """Of the outgoing rows, and of every incoming tensor, each (6 * 3, 7, -1)."""
    free = (layer.outgoing, *layer.incoming, *(b for b in layer.biases if b is not None))
    found = torch.autograd.functional.jacobian(lambda *tensors: moved(layer, *tensors), free)
    return [j.reshape(6 * 3, 7, -1) for j in found]


@pytest.mark.parametrize("name", LAYERS)
def test_actions_are_those_of_the_kernel_of_the_jacobian(name):
    layer, residual = LAYERS[name].select(torch.arange(7), COUNTS), draw(2, 6, 3, seed=5)
    parts = [torch.einsum("anp,bnp,n->ab", j, j, 1 / COUNTS) for j in jacobians(layer)]
    for probe, outgoing, incoming in zip(residual, *kernel_actions(layer, X, residual), strict=True):
        torch.testing.assert_close((parts[0] @ probe.flatten()).reshape(6, 3), outgoing)
        torch.testing.assert_close((sum(parts[1:]) @ probe.flatten()).reshape(6, 3), incoming)


@pytest.mark.parametrize("name", LAYERS)
def test_slopes_are_derivatives_and_can_be_differentiated_again(name):
    layer = LAYERS[name]
    hidden, slopes = hidden_and_slopes(layer, X)
    torch.testing.assert_close(hidden, layer.hidden(X))
    before = [
        (X @ w.T + (0 if b is None else b)).requires_grad_()
        for w, b in zip(layer.incoming, layer.biases, strict=True)
    ]
    expected = torch.autograd.grad(layer.activation(*before).sum(), before)
    for found, wanted in zip(slopes, expected, strict=True):
        torch.testing.assert_close(found, wanted)
        assert not found.requires_grad
    tracked = Layer(
        tuple(w.clone().requires_grad_() for w in layer.incoming),
        layer.biases,
        layer.outgoing,
        None,
        layer.multiplicities,
        layer.activation,
    )
    assert hidden_and_slopes(tracked, X)[0].requires_grad


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_and_changes_are_adjoint_to_each_other(name):
    """<R, change(d)> = sum_j c_j <gradients(R)_j, d_j> for any residual R and any direction d."""
    layer = LAYERS[name].select(torch.arange(7), COUNTS)
    forward, residual = hidden_and_slopes(layer, X), draw(1, 6, 3, seed=5)
    gradients = neuron_gradients(layer, X, residual, forward)
    directions = neuron_gradients(layer, X, draw(1, 6, 3, seed=6), forward)
    reached = sum(first_order_change(layer, X, directions, forward))
    pairs = [(gradients[0], directions[0])]
    for (rows, biases), (their_rows, their_biases) in zip(gradients[1], directions[1], strict=True):
        pairs.append((rows, their_rows))
        if biases is not None:
            pairs.append((biases[..., None], their_biases[..., None]))
    expected = sum((COUNTS[:, None] * a[0] * b[0]).sum() for a, b in pairs)
    torch.testing.assert_close((residual * reached).sum(), expected)
    assert not torch.allclose((residual * reached).sum(), sum((a * b).sum() for a, b in pairs), rtol=1e-2)


def test_adam_s_directions_are_gradients_over_their_usual_size():
    layer, x = LAYERS["tanh"], draw(50, 5, seed=1)
    forward = hidden_and_slopes(layer, x)
    residuals = draw(3000, 50, 3, seed=2)
    gradients = neuron_gradients(layer, x, residuals, forward)
    outgoing, ((rows, biases),) = adaptive_directions(gradients, layer, x, forward)
    for found, gradient in (
        (outgoing, gradients[0]),
        (rows, gradients[1][0][0]),
        (biases, gradients[1][0][1]),
    ):
        squares = gradient.square().mean(dim=0) / 50  # the usual square, over rows
        usual = (squares + DAMPING * squares.mean()).sqrt()
        torch.testing.assert_close(found, gradient / usual, rtol=0.1, atol=0.1)
        assert not torch.allclose(found, gradient / squares.mean().sqrt(), rtol=0.1, atol=0.1)


def test_copies_that_are_counted_have_the_kernel_of_copies():
    layer, x = clustered(groups=6, copies=4, activation=torch.tanh), draw(40, 5, seed=1)
    distinct = layer.select(torch.arange(0, 24, 4), torch.full((6,), 4.0).double())
    assert kernel_error(distinct, layer, x) < 1e-12
    assert kernel_error(
        distinct.select(torch.arange(6), torch.full((6,), 2.0).double()), layer, x
    ) == pytest.approx(0.5)


def test_the_error_falls_with_the_distance_and_its_probes_are_its_own():
    layer, x, state = dense(40, activation=torch.tanh), draw(40, 5, seed=1), torch.get_rng_state()
    errors = [
        kernel_error(layer.with_outgoing(layer.outgoing + shift * draw(40, 3, seed=2), None), layer, x)
        for shift in (0.1, 0.01, 0.001)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert torch.equal(torch.get_rng_state(), state)
