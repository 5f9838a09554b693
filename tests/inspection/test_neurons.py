"""Neurons and channels as blocks, before any of them is confirmed."""

import pytest
import torch
from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.recorder import record
from jlab_compress.inspection.neurons import find_neurons
from tests.models import Gated, mlp, rows, seeded
from tests.slim.saved.models import conv, depthwise, inputs


def listed(model, x, taken=()):
    return find_neurons(Uses(model, record(model.eval(), Call((x,)))), frozenset(taken))


def only(model, x):
    (block,) = listed(model, x).values()
    return block


def axes(block):
    return [(unit.name, unit.axis, unit.role, unit.each) for unit in block.units]


def test_blocks_stand_where_their_layer_ran():
    found = listed(mlp(4, 8, 6, 2), rows(3, 4))
    assert [(index, block.name) for index, block in found.items()] == [(0, "0"), (2, "2")]
    assert list(listed(mlp(4, 8, 6, 2), rows(3, 4), taken={"0"}).values()) == [found[2]]


def test_neurons_of_linear_layers():
    block = only(mlp(4, 8, 2, activation=nn.GELU), rows(3, 4))
    assert axes(block) == [
        ("0.weight", 0, "makes", 1),
        ("0.bias", 0, "makes", 1),
        ("2.weight", 1, "reads", 1),
    ]
    assert (block.kind, block.width, block.dimension, block.activation_name) == ("mlp", 8, 7, "gelu")
    assert (block.activation_only, block.dropout) == (False, False)
    assert torch.equal(block.activation(rows(2, 8)), nn.functional.gelu(rows(2, 8)))


def test_a_gated_block_has_two_makers():
    block = only(seeded(Gated).double(), rows(3, 6))
    assert (block.kind, block.incoming, block.outgoing) == ("gated-mlp", ("gate", "up"), "down")


def test_channels_with_a_norm_and_flattened_ones():
    first, second = listed(conv().double(), inputs("conv")).values()
    assert axes(first)[1:5] == [
        (f"1.{key}", 0, "treats", 1) for key in ("weight", "bias", "running_mean", "running_var")
    ]
    assert (first.kind, first.norm, first.residual) == ("conv", "1", None)
    assert (second.entries_per_unit, second.outgoing, second.activation_only) == (3, "6", False)


def test_channels_that_are_treated_further_have_no_function_of_their_own():
    block = only(depthwise().double(), inputs("depthwise"))
    assert (block.activation_only, block.activation, block.channelwise) == (True, None, ("1", "3", "4"))
    assert block.norm is None


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.Dropout1d()])
def test_dropout_on_neurons_is_said(layer):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), layer, nn.Linear(8, 2)).double()
    assert only(net, rows(3, 4)).dropout


def test_a_locked_block_tells_its_layers():
    net = nn.Sequential(nn.Linear(4, 8), nn.Softmax(-1), nn.Linear(8, 2)).double()
    block = only(net, rows(3, 4))
    assert (block.incoming, block.outgoing) == (("0",), "2")
    assert "mixes its hidden units" in block.locked
