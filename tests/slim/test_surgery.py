"""Units written in the place of others: the same ones change nothing, others are where they belong."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.multihead import SlimMultiheadAttention
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.surgery import open_layers, select_units, settle, write_layer
from jlab_compress.slim.units import Located
from jlab_compress.slim.weighted import WeightedLinear
from tests.models import Gated, mlp, neurons, rows, seeded
from tests.slim.saved.models import Attending, HandWritten, conv, depthwise, inputs

NETS = {
    "mlp": (lambda: mlp(4, 12, 3, activation=nn.Tanh), rows(7, 4)),
    "gated": (lambda: seeded(Gated).double(), rows(7, 6)),
    "conv": (lambda: seeded(conv).double().eval(), inputs("conv")),
    "depthwise": (lambda: seeded(depthwise).double().eval(), inputs("depthwise")),
    "heads": (lambda: seeded(Attending).double(), inputs("heads")),
    "heads apart": (lambda: seeded(Attending, keys=5).double(), inputs("heads_apart")),
    "fused heads": (lambda: seeded(HandWritten, fused=True).double(), inputs("fused_heads")),
}


@pytest.mark.parametrize("name", NETS)
def test_what_was_read_is_written_back_and_some_of_it_in_another_order(name):
    build, x = NETS[name]
    net = build()
    for block in find_blocks(net, x).unlocked:
        layer = read_layer(net, block, block.activation)
        order = torch.randperm(block.width, generator=torch.Generator().manual_seed(1))
        same, turned, fewer = (copy.deepcopy(net) for _ in range(3))
        write_layer(same, block, layer, indices=torch.arange(block.width))
        write_layer(turned, block, layer.select(order), indices=order)
        half = order[: block.width // 2]
        write_layer(fewer, block, layer.select(half), indices=half)
        assert torch.allclose(same(x), net(x), rtol=1e-10)
        assert torch.allclose(turned(x), net(x), rtol=1e-10)
        assert not torch.allclose(fewer(x), net(x), rtol=1e-3)
        for unit in block.units:
            value = getattr(fewer.get_submodule(unit.module), unit.tensor)
            assert unit.width(value) == len(half)


def test_layers_keep_their_hooks_flags_dtype_and_become_slim_where_units_count():
    net = mlp(4, 12, 3, dtype=torch.float32)
    net[0].weight.requires_grad_(False)
    net[2].eval()
    handle = net[0].register_forward_hook(lambda *seen: None)
    layer = read_layer(net, neurons(net), torch.relu).select(torch.arange(5), torch.full((5,), 2.0))
    where = neurons(net)
    write_layer(net, where, layer)
    assert (type(net[0]), type(net[2])) == (WeightedLinear, WeightedLinear)
    assert (net[0].out_features, net[2].in_features) == (5, 5)
    assert list(net[0]._forward_hooks) == [handle.id]
    assert (net[0].weight.requires_grad, net[0].bias.requires_grad, net[2].training) == (False, True, False)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    write_layer(net, where, read_layer(net, where, torch.relu))
    assert (type(net[0]), type(net[2])) == (nn.Linear, nn.Linear), "all count once again"


def test_an_output_bias_of_channels_is_added_to_the_reader_s_once_for_all_entries_of_a_unit():
    net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2)).double()
    block = find_blocks(net, rows(5, 1, 3)).unlocked[0]
    layer = read_layer(net, block, block.activation)
    assert layer.outgoing_bias is None
    bias, before = torch.arange(6.0).double(), net[3].bias.detach().clone()
    write_layer(net, block, layer.with_outgoing(layer.outgoing, bias))
    assert torch.allclose(net[3].bias, before + torch.tensor([0 + 1 + 2, 3 + 4 + 5]).double())


def test_a_batch_norm_with_new_neurons_takes_their_statistics():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double().eval()
    block, x = Located("0", "mlp", units_of(net, ("0",), "3", 6, treating=("1",))), rows(50, 4)
    layer = read_layer(net, block, torch.tanh)
    moved = layer.select(torch.tensor([0, 1, 1]))
    write_layer(net, block, moved, inputs=x)
    assert torch.allclose(net(x), moved(x))
    entering = F.linear(x, net[0].weight, net[0].bias)
    assert torch.allclose(net[1].running_mean, entering.mean(0))
    assert torch.allclose(net[1].running_var, entering.var(0, unbiased=False))
    assert net[1].num_features == 3
    with pytest.raises(AssertionError, match="needs the rows that new neurons see"):
        write_layer(net, block, moved)


def test_fused_paths_that_would_miss_the_counts_are_left():
    layer = seeded(nn.TransformerEncoderLayer, 8, 2, 12, 0.0, batch_first=True).double().eval()
    net = nn.TransformerEncoder(layer, 1).eval()
    x = rows(3, 4, 8)
    for block in find_blocks(net, x).unlocked:
        rest = read_layer(net, block, block.activation)
        write_layer(net, block, rest.select(torch.arange(1), torch.full((1,), 3.0)))
    with torch.no_grad():
        fast = net(x)
    assert torch.allclose(fast, net(x).detach(), rtol=1e-10)
    assert not net.use_nested_tensor
    assert isinstance(net.layers[0].self_attn, SlimMultiheadAttention)


def test_opening_and_settling_alone():
    net = nn.ModuleDict({"a": nn.MultiheadAttention(8, 4)})
    block = Located("a", "attention", units_of(net, ("a",), "a.out_proj", 4), activation_only=True)
    open_layers(net, block)
    assert isinstance(net["a"], SlimMultiheadAttention)
    select_units(net, block.units, torch.tensor([0, 2]))
    settle(net, block, 4, 2)
    assert (net["a"].num_heads, net["a"].out_proj.in_features) == (2, 4)
