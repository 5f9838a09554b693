import pytest
import torch

from jlab_compress.fitting.forecast.subset_curve import subset_curve
from jlab_compress.fitting.kernels.actions import respond
from jlab_compress.fitting.kernels.neuron_products import neuron_products
from jlab_compress.fitting.solvers.gram import HeldGram
from jlab_compress.fitting.solvers.least_squares import least_squares
from jlab_compress.fitting.solvers.pursuit import greedy_columns, pursue
from tests.fitting.problems import clustered, dense, draw, gated

X = draw(60, 5, seed=9)


def kernels(layer, x):
    """K_v and K_w as matrices over (row, output) pairs, from every neuron's gradients."""
    hidden, slopes = respond(layer, x)
    parts = [torch.kron(hidden * layer.multiplicities @ hidden.T, torch.eye(3, dtype=x.dtype))]
    near = [x @ x.T + float(b is not None) for b in layer.biases]
    total = 0
    for j in range(layer.width):
        block = sum(torch.outer(a[:, j], a[:, j]) * m for a, m in zip(slopes, near, strict=True))
        v = layer.outgoing[j]
        total = total + layer.multiplicities[j] * torch.kron(block, torch.outer(v, v))
    return [*parts, total]


@pytest.mark.parametrize("layer", [dense(12), dense(12, activation=torch.tanh), gated(12)])
def test_inner_products_give_the_norms_of_outputs_and_kernel(layer):
    counts = torch.linspace(0.5, 2, 12).double()
    counted = layer.select(torch.arange(12), counts)
    found = neuron_products(layer, X, n_probes=400)
    outgoing, incoming = (k.square().sum() for k in kernels(counted, X))
    outputs = (layer.hidden(X) * counts) @ layer.outgoing
    assert torch.allclose(counts @ found.outputs @ counts, outputs.square().sum())
    assert torch.allclose(3 * counts @ found.outgoing @ counts, outgoing)
    assert torch.allclose(counts @ found.incoming @ counts, incoming, rtol=0.2)
    assert not torch.allclose((3 * counts) @ found.incoming @ counts, incoming, rtol=0.2)


def test_errors_fall_with_the_width_and_vanish_at_the_number_of_distinct_neurons():
    layer = clustered(groups=6, copies=4)
    errors = subset_curve(layer, X[:40], X[40:], 6, displacement=0.0).errors((1, 3, 6))
    for part in (0, 1):
        falling = [e[part] for e in errors]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] > 0.1
        assert falling[-1] < 1e-3


def test_choice_by_products_is_the_choice_by_columns():
    columns, target = draw(30, 8), draw(30, 1, seed=1)
    found = pursue(HeldGram(columns.T @ columns), columns.T @ target, 5)
    order = found.order
    assert torch.equal(order, greedy_columns(columns, target, 5))
    solution = torch.linalg.solve_triangular(found.factor[:, order], found.reached, upper=True)
    expected, _ = least_squares(columns[:, order], target, intercept=False)
    assert torch.allclose(solution, expected, atol=1e-5)
