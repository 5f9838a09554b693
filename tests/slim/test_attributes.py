"""Attributes that name a width or a number of heads follow it; others stay."""

from types import SimpleNamespace

import pytest
from torch import nn

from jlab_compress.slim.attributes import (
    count_of_heads,
    drops_weights,
    fixing_field,
    leave_fast_path,
    parent_of,
    rename_config,
    rename_sizes,
)
from jlab_compress.slim.plan import BlockPlan
from jlab_compress.slim.units import Located, UnitAxis


class Attention(nn.Module):
    """Twelve query heads of size 2 over six common keys and values, written by hand."""

    def __init__(self):
        super().__init__()
        self.num_heads, self.num_key_value_heads, self.all_head_size, self.head_dim = 12, 6, 24, 2
        self.q, self.k, self.o = nn.Linear(8, 24), nn.Linear(8, 12), nn.Linear(24, 8)


HEADS = (
    UnitAxis("a.q", "weight", 0, each=4),
    UnitAxis("a.k", "weight", 0, each=2),
    UnitAxis("a.o", "weight", 1, "reads", each=4),
)


def test_numbers_of_heads_follow_with_their_queries():
    net = nn.ModuleDict({"a": Attention()})
    block = Located("a", "attention", HEADS, activation_only=True)
    assert count_of_heads(net, block) == 6
    rename_sizes(net, block, 6, 2)
    own = net["a"]
    assert (own.num_heads, own.num_key_value_heads, own.all_head_size, own.head_dim) == (4, 2, 8, 2)
    assert count_of_heads(nn.ModuleDict({"a": nn.Linear(2, 2)}), block) is None


def test_torchs_own_attention_says_its_number_itself():
    layer = nn.TransformerEncoderLayer(8, 4, 12)
    layer.nhead = 4
    block = Located(
        "self_attn", "attention", (UnitAxis("self_attn", "in_proj_weight", 0, sections=3, each=2),)
    )
    rename_sizes(layer, block, 4, 1)
    assert layer.nhead == 4


def test_widths_around_a_block_follow_where_they_have_its_value():
    net = nn.ModuleDict({"mlp": nn.ModuleDict({"up": nn.Linear(4, 12), "down": nn.Linear(12, 4)})})
    net["mlp"].intermediate_size, net["mlp"].hidden_dim, net["mlp"].n_inner = 12, 4, "12"
    units = (UnitAxis("mlp.up", "weight", 0), UnitAxis("mlp.down", "weight", 1, "reads"))
    rename_sizes(net, Located("mlp.up", "mlp", units), 12, 5)
    own = net["mlp"]
    assert (own.intermediate_size, own.hidden_dim, own.n_inner) == (5, 4, "12")
    assert parent_of(net, "mlp.up") is own


def planned(name, before, after):
    return BlockPlan(name, "mlp", (UnitAxis(name, "weight", 0),), before, after, "kept", "weighted")


@pytest.mark.parametrize(
    ("blocks", "size"),
    [
        ([planned("0.up", 12, 5), planned("1.up", 12, 5)], 5),
        ([planned("0.up", 12, 5), planned("1.up", 12, 4)], 12),
        ([planned("0.up", 12, 5)], 12),
        ([planned("0.other", 7, 5)], 12),
    ],
)
def test_a_configuration_changes_where_one_value_is_true_of_all(blocks, size):
    layers = [nn.ModuleDict({"up": nn.Linear(4, 12)}) for _ in range(2)]
    net = nn.Sequential(*layers)
    for block in blocks:
        if block.width_before == 12:
            net.get_submodule(block.name).out_features = block.width_after
    net.config = SimpleNamespace(intermediate_size=12)
    rename_config(net, blocks)
    assert net.config.intermediate_size == size


def test_a_block_as_wide_as_the_stream_is_ruled_by_its_field():
    net = nn.Linear(2, 2)
    assert fixing_field(net, 8) is None
    net.config = SimpleNamespace(hidden_size=8, intermediate_size=16)
    assert fixing_field(net, 8) == "hidden_size"
    assert fixing_field(net, 16) is None
    net.config.intermediate_size = 8
    assert fixing_field(net, 8) is None


@pytest.mark.parametrize(("rate", "drops"), [(0.0, False), (0.2, True)])
def test_dropped_attention_weights_are_seen(rate, drops):
    inner = nn.Sequential(nn.Dropout(rate))
    assert drops_weights(nn.ModuleDict({"a": nn.MultiheadAttention(4, 2, rate)}), "a") == drops
    assert drops_weights(nn.ModuleDict({"a": inner}), "a") == drops


def test_encoder_layers_around_a_layer_leave_their_fast_path():
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 2)
    leave_fast_path(net, "layers.1.linear1")
    assert [layer.activation_relu_or_gelu for layer in net.layers] == [1, 0]
    assert not net.use_nested_tensor
