import pytest
import torch

from jlab_compress.fitting.kernels.actions import hidden_and_slopes
from jlab_compress.fitting.kernels.neuron_products import neuron_products
from tests.fitting.problems import dense, draw, gated

X = draw(60, 5, seed=9)
COUNTS = torch.linspace(0.5, 2, 12).double()


def kernels(layer, x):
    """K_v and K_w as matrices over (row, output) pairs, from every neuron's gradients."""
    hidden, slopes = hidden_and_slopes(layer, x)
    outgoing = torch.kron(hidden * layer.multiplicities @ hidden.T, torch.eye(3, dtype=x.dtype))
    near = [x @ x.T + float(b is not None) for b in layer.biases]
    total = 0
    for j in range(layer.width):
        block = sum(torch.outer(a[:, j], a[:, j]) * m for a, m in zip(slopes, near, strict=True))
        v = layer.outgoing[j]
        total = total + layer.multiplicities[j] * torch.kron(block, torch.outer(v, v))
    return outgoing, total


@pytest.mark.parametrize("layer", [dense(12), dense(12, activation=torch.tanh), gated(12)])
def test_they_give_the_norms_of_outputs_and_kernel(layer):
    counted = layer.select(torch.arange(12), COUNTS)
    found = neuron_products(layer, X, n_probes=400)
    outgoing, incoming = (k.square().sum() for k in kernels(counted, X))
    outputs = (layer.hidden(X) * COUNTS) @ layer.outgoing
    torch.testing.assert_close(COUNTS @ found.outputs @ COUNTS, outputs.square().sum())
    torch.testing.assert_close(3 * COUNTS @ found.outgoing @ COUNTS, outgoing)
    torch.testing.assert_close(COUNTS @ found.incoming @ COUNTS, incoming, rtol=0.2, atol=0)
    assert not torch.allclose((3 * COUNTS) @ found.incoming @ COUNTS, incoming, rtol=0.2)


def test_the_errors_of_other_multiplicities_are_those_of_the_function_and_the_kernel():
    layer = dense(12, activation=torch.tanh)
    found, ones = neuron_products(layer, X, n_probes=400), torch.ones(12).double()
    function, kernel = found.errors(COUNTS - ones, ones)
    counted = layer.select(torch.arange(12), COUNTS)
    hidden = layer.hidden(X)
    expected = ((hidden * (COUNTS - 1)) @ layer.outgoing).norm() / (hidden @ layer.outgoing).norm()
    assert function == pytest.approx(float(expected))
    parts = [
        float(((a - b).norm() / b.norm()) ** 2)
        for a, b in zip(kernels(counted, X), kernels(layer, X), strict=True)
    ]
    assert kernel == pytest.approx((sum(parts) / 2) ** 0.5, rel=0.1)
    assert found.errors(0 * ones, ones) == (0.0, 0.0)


def test_more_probes_come_nearer():
    layer = dense(12, activation=torch.tanh)
    exact = neuron_products(layer, X, n_probes=20_000).incoming
    few, many = (float((neuron_products(layer, X, n_probes=p).incoming - exact).norm()) for p in (16, 1000))
    assert many < 0.4 * few
