"""Torch's attention with fewer heads: like the stock one, and heads that count for several."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.slim.conversion import count_units, multiplicities_of
from jlab_compress.slim.multihead import SlimMultiheadAttention, open_attention
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.surgery import select_units, settle
from jlab_compress.slim.units import Located
from tests.models import rows, seeded


@pytest.mark.parametrize("options", [{}, {"need_weights": False}, {"average_attn_weights": False}])
@pytest.mark.parametrize("shape", [(3, 4, 8), (4, 8)])
def test_an_opened_attention_does_what_the_stock_one_does(options, shape):
    for first in (True, False):
        stock = seeded(nn.MultiheadAttention, 8, 2, batch_first=first).double()
        opened = copy.deepcopy(stock)
        open_attention(opened)
        x = rows(*shape)
        length = shape[-2] if first or len(shape) == 2 else shape[0]
        masks = [None, torch.ones(length, length).bool().triu(1), rows(length, length)]
        if len(shape) == 3:
            masks.append(rows(2 * (shape[0] if first else shape[1]), length, length))
        for mask in masks:
            pairs = zip(
                stock(x, x, x, attn_mask=mask, **options),
                opened(x, x, x, attn_mask=mask, **options),
                strict=True,
            )
            assert all(a is b is None or torch.allclose(a, b, atol=1e-12) for a, b in pairs)
    with pytest.raises(RuntimeError, match="Need attn_mask"):
        opened(x, x, x, is_causal=True)


ORDER, COUNTS = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([2.0, 3.0]).double()


@pytest.mark.parametrize("sizes", [{}, {"kdim": 5, "vdim": 5}])
def test_a_head_that_counts_for_several_computes_and_learns_like_them(sizes):
    attention = seeded(nn.MultiheadAttention, 8, 2, batch_first=True, **sizes).double()
    net = nn.ModuleDict({"a": attention})
    open_attention(net["a"])
    block = Located("a", "attention", units_of(net, ("a",), "a.out_proj", 2), activation_only=True)
    full = copy.deepcopy(net)
    select_units(full, block.units, ORDER)
    settle(full, block, 2, 5)
    count_units(net, block, COUNTS)
    assert torch.equal(multiplicities_of(net, block), COUNTS)
    assert multiplicities_of(full, block) is None
    assert full["a"].num_heads == 5
    x = rows(4, 3, 8)
    other = x[..., :5] if sizes else x
    (got, weights), (expected, whole) = (m["a"](x, other, other) for m in (net, full))
    assert torch.allclose(got, expected, rtol=1e-10)
    assert torch.allclose(weights, whole, rtol=1e-10), "averaged over heads as often as they count"
    got.square().sum().backward()
    expected.square().sum().backward()
    mine, theirs = (dict(m.named_parameters()) for m in (net, full))
    for unit in block.units:
        alike = unit.select(mine[unit.name].grad, ORDER)
        assert torch.allclose(alike, theirs[unit.name].grad, rtol=1e-9, atol=1e-12), unit.name


def test_gradients_are_divided_until_the_outputs_are_folded():
    layer = nn.MultiheadAttention(8, 2)
    open_attention(layer)
    open_attention(layer)
    assert type(layer) is SlimMultiheadAttention
    assert layer.output_multiplicities is None
    layer.head_multiplicities = COUNTS
    assert not layer.divides
    assert layer.row_multiplicities() is None
    plain = nn.Linear(2, 2)
    open_attention(plain)
    assert type(plain) is nn.Linear
