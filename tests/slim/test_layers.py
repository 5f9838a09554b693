"""What layers say of their units, and blocks as functions of few rows."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from jlab_compress.slim.conversion import set_multiplicities
from jlab_compress.slim.layers import (
    bias_of,
    columns_of,
    input_scale,
    is_conv,
    is_linear,
    matrix_of,
    on_cpu,
    read_layer,
)
from jlab_compress.slim.operators import operator_of, units_of
from jlab_compress.slim.units import Located
from tests.models import Gated, mlp, neurons, rows, seeded


def test_matrices_have_a_row_for_each_unit():
    linear, turned, conv = nn.Linear(3, 5), Conv1D(5, 3), nn.Conv2d(3, 5, 2)
    assert torch.equal(matrix_of(linear), linear.weight)
    assert torch.equal(matrix_of(turned), turned.weight.T)
    assert torch.equal(matrix_of(conv), conv.weight.flatten(1))
    assert not matrix_of(linear).requires_grad
    assert torch.equal(bias_of(linear), linear.bias)
    assert bias_of(nn.Linear(3, 5, bias=False)) is None


def test_columns_have_a_row_for_each_unit_that_is_read():
    linear, turned, conv = nn.Linear(6, 2), Conv1D(2, 6), nn.Conv2d(3, 5, 2)
    assert torch.equal(columns_of(linear), linear.weight.T)
    assert torch.equal(columns_of(turned), turned.weight)
    assert torch.equal(columns_of(conv), conv.weight.transpose(0, 1).flatten(1))
    pairs = columns_of(linear, repeat=2)
    assert torch.equal(pairs[1], torch.cat([linear.weight[0, 2:4], linear.weight[1, 2:4]]))


@pytest.mark.parametrize(
    ("layer", "linear", "conv"),
    [
        (nn.Linear(2, 2), True, False),
        (Conv1D(2, 2), True, False),
        (type("Mine", (nn.Linear,), {})(2, 2), False, False),
        (nn.Conv3d(2, 2, 1), False, True),
        (nn.Conv2d(2, 2, 1, groups=2), False, False),
        (nn.Conv2d(2, 2, 3, padding_mode="reflect"), False, False),
        (nn.Conv2d(2, 2, 3, padding="same"), False, False),
        (nn.ReLU(), False, False),
    ],
)
def test_layers_that_can_be_read(layer, linear, conv):
    assert (is_linear(layer), is_conv(layer)) == (linear, conv)


def test_units_that_count_scale_what_enters():
    counts = torch.tensor([4.0, 9.0])
    linear, flat = nn.Linear(2, 3), nn.Linear(4, 3)
    assert input_scale(linear) is None
    for layer in (linear, flat):
        set_multiplicities(layer, operator_of(layer), "input_multiplicities", counts)
    assert input_scale(linear).tolist() == [2.0, 3.0]
    conv = nn.Conv1d(2, 3, 2)
    set_multiplicities(conv, operator_of(conv), "input_multiplicities", counts)
    assert input_scale(conv).tolist() == [2.0, 2.0, 3.0, 3.0]


def test_a_block_of_neurons_is_a_function_of_its_inputs():
    net, x = mlp(4, 6, 3, activation=nn.Tanh, dtype=torch.float32), rows(5, 4)
    layer = read_layer(net, neurons(net), torch.tanh)
    assert layer.outgoing.dtype == torch.float64
    assert torch.allclose(layer(x).float(), net(x.float()), atol=1e-6)
    assert on_cpu(layer).multiplicities.tolist() == [1.0] * 6


def test_a_gated_block_without_biases():
    net, x = seeded(Gated).double(), rows(5, 6)
    layer = read_layer(net, neurons(net, ("gate", "up"), "down"), lambda g, u: F.silu(g) * u)
    assert torch.allclose(layer(x), net(x))
    assert (layer.biases, layer.outgoing_bias, layer.biased) == ((None, None), None, False)


def test_multiplicities_in_front_are_in_the_rows():
    net = mlp(4, 6, 3, activation=nn.Tanh)
    counts = torch.tensor([1.0, 2.0, 3.0, 1.0]).double()
    set_multiplicities(net[0], operator_of(net[0]), "input_multiplicities", counts)
    x = rows(5, 4)
    assert torch.allclose(read_layer(net, neurons(net), torch.tanh)(x * counts.sqrt()), net(x))


def test_a_batch_norm_is_part_of_the_rows():
    net = seeded(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    ).double()
    for _ in range(3):
        net(rows(20, 4) + 1)
    block = Located("0", "mlp", units_of(net, ("0",), "3", 6, treating=("1",)))
    x = rows(5, 4)
    assert torch.allclose(read_layer(net.eval(), block, torch.tanh)(x), net(x))


def test_where_only_a_run_tells_there_are_rows_and_no_function():
    net = nn.ModuleDict({"a": seeded(nn.MultiheadAttention, 8, 2).double()})
    block = Located("a", "attention", units_of(net, ("a",), "a.out_proj", 2), activation_only=True)
    layer = read_layer(net, block, torch.relu)
    assert [part.shape for part in layer.incoming] == [(2, 3 * 4 * 8), (2, 3 * 4)]
    assert layer.outgoing.shape == (2, 8 * 4)
    assert torch.equal(layer.outgoing[1].reshape(8, 4), net["a"].out_proj.weight[:, 4:])
    with pytest.raises(TypeError, match="cannot be called on rows"):
        layer.activation(rows(2, 2))
