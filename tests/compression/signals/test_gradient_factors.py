"""Gradients at single rows: zero rows are known, padding is left out, roots stand for multiplicities."""

import torch
from torch import nn

from jlab_compress.compression.signals.gradient_factors import (
    FactoredGradients,
    SummedGradients,
    layer_gradients,
)
from jlab_compress.execution.calls import Call
from jlab_compress.slim.conversion import as_weighted
from jlab_compress.slim.operators import operator_of
from tests.models import rows


def test_rows_beyond_rounding_are_reached():
    cotangents = torch.tensor([[1.0, 0.0], [1e-9, 0.0], [0.0, 0.0], [0.0, -2.0]])
    found = FactoredGradients(torch.ones(4, 1), cotangents, True)
    assert found.reached.tolist() == [0, 3]
    assert SummedGradients(cotangents).reached.tolist() == [0, 3]
    assert FactoredGradients(torch.ones(2, 1), torch.zeros(2, 1), True).reached.tolist() == []


def test_padding_is_left_out():
    mask = torch.tensor([[1, 0], [1, 1]])
    layer, x, r = nn.Linear(3, 2).double(), rows(2, 2, 3), rows(2, 2, 2, seed=1)
    found = layer_gradients(layer, x, r, Call((), {"attention_mask": mask}))
    assert torch.equal(found.inputs, x[[0, 1, 1], [0, 0, 1]])
    assert torch.equal(found.cotangents, r[[0, 1, 1], [0, 0, 1]])


def test_factors_have_the_inner_products_of_gradients():
    x, r = rows(4, 3), rows(4, 2, seed=1)
    for bias in (True, False):
        found = layer_gradients(nn.Linear(3, 2, bias=bias), x, r, Call((x,)))
        each = (r[:, :, None] * x[:, None]).flatten(1)
        each = torch.cat([each, r], dim=1) if bias else each
        assert torch.allclose(found.kernel(torch.arange(4)), each @ each.T)


def test_inputs_take_roots_of_multiplicities_and_cotangents_are_over_them():
    layer = nn.Linear(3, 2).double()
    as_weighted(layer, operator_of(layer))
    x, r = rows(4, 3), rows(4, 2, seed=1)
    layer.input_multiplicities = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    layer.output_multiplicities = torch.tensor([4.0, 16.0], dtype=torch.float64)
    found = layer_gradients(layer, x, r, Call((x,)))
    assert torch.allclose(found.inputs, x * torch.tensor([1.0, 2.0, 3.0]).double())
    assert torch.allclose(found.cotangents, r / torch.tensor([2.0, 4.0]).double())


def test_a_filter_sums_over_positions_as_autograd_does():
    conv, x = nn.Conv2d(2, 3, 3, padding=1).double(), rows(4, 2, 5, 5)
    out = conv(x)
    found = layer_gradients(conv, x, torch.ones_like(out), Call((x,)))
    each = [torch.autograd.grad(conv(x[i : i + 1]).sum(), [conv.weight, conv.bias]) for i in range(4)]
    flat = torch.stack(
        [torch.cat([weight.flatten(1), bias[:, None]], dim=1).flatten() for weight, bias in each]
    )
    assert torch.allclose(found.gradients, flat)
