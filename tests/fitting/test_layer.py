import pytest
import torch
from torch.nn import functional as F

from jlab_compress.fitting.layer import Layer, is_homogeneous
from tests.fitting.problems import dense, draw, gated, same_bits

X = draw(30, 5, seed=9)
COUNTS = torch.linspace(0.5, 3, 40).double()


def counted(layer):
    return layer.select(torch.arange(40), COUNTS)


def after_a_step(layer, rate=0.01):
    """The function after a step of gradient descent, each neuron's gradient divided by its count."""
    free = [*layer.incoming, *(b for b in layer.biases if b is not None), layer.outgoing]
    leaves = [t.clone().requires_grad_() for t in free]
    n = len(layer.incoming)
    biases = iter(leaves[n:-1])
    now = Layer(
        tuple(leaves[:n]),
        tuple(None if b is None else next(biases) for b in layer.biases),
        leaves[-1],
        layer.outgoing_bias,
        layer.multiplicities,
        layer.activation,
    )
    gradients = torch.autograd.grad((now(X) - 1).square().sum(), leaves)
    with torch.no_grad():
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf -= rate * gradient / layer.multiplicities.reshape(-1, *[1] * (leaf.ndim - 1))
    return now(X).detach()


def test_the_function_is_the_weighted_sum_over_neurons():
    layer = counted(dense(40, activation=torch.tanh))
    by_hand = layer.outgoing_bias.clone().expand(30, 3)
    for j in range(40):
        hidden = torch.tanh(X @ layer.incoming[0][j] + layer.biases[0][j])
        by_hand = by_hand + COUNTS[j] * hidden[:, None] * layer.outgoing[j]
    assert torch.allclose(layer(X), by_hand)
    assert not torch.allclose(dense(40, activation=torch.tanh)(X), by_hand, rtol=0.1)


def test_a_gated_layer_takes_both_parts():
    layer = gated(40)
    gate, up = (X @ w.T for w in layer.incoming)
    assert torch.allclose(layer(X), (F.silu(gate) * up) @ layer.outgoing)


def test_a_selection_keeps_rows_and_counts():
    layer, indices = counted(dense(40)), torch.tensor([7, 3])
    kept = layer.select(indices)
    assert torch.equal(kept.incoming[0], layer.incoming[0][indices])
    assert torch.equal(kept.biases[0], layer.biases[0][indices])
    assert kept.multiplicities.tolist() == COUNTS[indices].tolist()
    assert layer.select(indices, torch.ones(2).double()).multiplicities.tolist() == [1.0, 1.0]


def test_a_layer_without_a_bias_gets_none_with_its_outgoing_weights():
    layer, outgoing, bias = dense(40), draw(40, 3, seed=1), draw(3, seed=2)
    assert layer.with_outgoing(outgoing, bias).outgoing_bias is bias
    bare = Layer(layer.incoming, layer.biases, layer.outgoing, None, COUNTS, torch.relu, biased=False)
    slim = bare.with_outgoing(outgoing, bias)
    assert slim.outgoing_bias is None
    assert slim.multiplicities.tolist() == [1.0] * 40


def test_a_homogeneous_layer_in_another_gauge_has_the_same_function_and_the_same_step():
    layer = counted(dense(40))
    even = layer.with_equal_multiplicities()
    assert even.multiplicities.tolist() == pytest.approx([float(COUNTS.mean())] * 40)
    assert torch.allclose(even(X), layer(X), rtol=1e-9)
    assert torch.allclose(after_a_step(even), after_a_step(layer), rtol=1e-9)
    assert not torch.allclose(after_a_step(layer), layer(X), rtol=1e-2)


def test_a_layer_that_is_not_homogeneous_does_not_survive_it():
    layer = counted(dense(40, activation=torch.tanh))
    assert not torch.allclose(layer.with_equal_multiplicities()(X), layer(X), rtol=1e-3)


@pytest.mark.parametrize(
    ("activation", "homogeneous"),
    [
        (torch.relu, True),
        (lambda z: F.leaky_relu(z, 0.2), True),
        (lambda z: z, True),
        (torch.abs, True),
        (torch.tanh, False),
        (F.gelu, False),
        (F.silu, False),
        (F.relu6, False),
        (lambda z: F.hardtanh(z, -10.0, 10.0), False),
        (lambda z: F.hardtanh(z, -1e6, 1e6), False),
        (lambda z: F.hardtanh(z, -1e-6, 1e-6), False),
        (lambda z: F.threshold(z, 50.0, 0.0), False),
        (lambda z: F.hardshrink(z, 1e-5), False),
        (lambda z: z.relu() + 1e-3, False),
        (torch.square, False),
        (lambda z: torch.maximum(0.3 * z, -2 * z), True),
    ],
)
def test_homogeneity_is_judged_over_many_magnitudes(activation, homogeneous):
    assert is_homogeneous(activation) is homogeneous
    assert dense(4, activation=activation).homogeneous is homogeneous


def test_neurons_with_a_bound_at_ten_are_another_function_with_equal_counts():
    """They were once taken for homogeneous, and the starts of moved nodes lost a fifth of their function."""
    bounded = counted(dense(40, activation=lambda z: F.hardtanh(z, -10.0, 10.0)))
    x = 8 * X
    error = (bounded.with_equal_multiplicities()(x) - bounded(x)).norm() / bounded(x).norm()
    assert error > 0.02
    assert not bounded.homogeneous


def test_a_gated_layer_is_not_homogeneous():
    assert gated(4).homogeneous is False


def test_a_layer_goes_to_another_precision_and_back():
    layer = counted(dense(40, dtype=torch.float32).to(torch.float64))
    single = layer.to(torch.float32)
    assert {t.dtype for t in (*single.incoming, single.outgoing, single.multiplicities)} == {torch.float32}
    assert single.activation is layer.activation
    assert same_bits(layer.to(torch.float64), layer)


def test_tensors_that_disagree_about_the_number_of_neurons_are_refused():
    with pytest.raises(ValueError, match=r"must agree on the number of neurons; got \[4, 4, 5, 4\]"):
        Layer((draw(4, 2),), (draw(4),), draw(5, 1), None, torch.ones(4), torch.relu)
