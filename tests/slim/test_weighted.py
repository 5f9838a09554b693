"""Slim layers compute and learn like the layers with all copies that they stand for."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.slim.conversion import as_weighted, set_multiplicities
from jlab_compress.slim.copies import along, living_layers, weigh
from jlab_compress.slim.operators import operator_of
from jlab_compress.slim.weighted import (
    WeightedBatchNorm2d,
    WeightedConv2d,
    WeightedLinear,
)
from tests.models import rows, seeded

COUNTS = torch.tensor([3.0, 1.0, 2.0]).double()
COPIES = torch.repeat_interleave(torch.arange(3), COUNTS.long())


def test_weigh_without_multiplicities_is_the_identity_on_values_and_gradients():
    w = rows(2, 3).requires_grad_()
    weigh(w, None, None).square().sum().backward()
    assert torch.equal(w.grad, 2 * w.detach())


def test_gradients_are_those_of_one_copy():
    c_in, c_out = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([2.0, 5.0])
    layer = WeightedLinear(3, 2, input_multiplicities=c_in, output_multiplicities=c_out).double()
    full = nn.Linear(6, 7).double()
    a, b = torch.arange(3).repeat_interleave(c_in.long()), torch.arange(2).repeat_interleave(c_out.long())
    full.weight.data = layer.weight_of_one.data[b][:, a].clone()
    full.bias.data = layer.bias.data[b].clone()
    h, v = rows(9, 3), rows(2, 4, seed=1)
    out = (torch.tanh(layer(h)) * c_out) @ v
    expected = torch.tanh(full(h[:, a])) @ v[b]
    assert torch.allclose(out, expected, rtol=1e-13)
    out.square().sum().backward()
    expected.square().sum().backward()
    assert torch.allclose(layer.weight_of_one.grad[b][:, a], full.weight.grad, rtol=1e-11)
    assert torch.allclose(layer.bias.grad[b], full.bias.grad, rtol=1e-11)


def slim_of(layer, buffer):
    slim = copy.deepcopy(layer)
    set_multiplicities(slim, operator_of(slim), buffer, COUNTS)
    return slim


@pytest.mark.parametrize("bias", [True, False])
def test_channels_that_are_made_learn_like_each_copy(bias):
    few = seeded(nn.Conv2d, 2, 3, 3, bias=bias).double()
    slim, full = slim_of(few, "output_multiplicities"), nn.Conv2d(2, 6, 3, bias=bias).double()
    full.load_state_dict({key: value[COPIES] for key, value in few.state_dict().items()})
    assert type(slim) is WeightedConv2d
    x, read = rows(4, 2, 6, 6), rows(3, seed=2)
    seen = torch.einsum("bchw,c->bhw", torch.tanh(slim(x)), COUNTS * read)
    expected = torch.einsum("bchw,c->bhw", torch.tanh(full(x)), read[COPIES])
    assert torch.allclose(seen, expected, rtol=1e-12)
    seen.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in slim.named_parameters():
        assert torch.allclose(parameter.grad[COPIES], dict(full.named_parameters())[name].grad, rtol=1e-10)


def test_channels_that_are_read_weigh_as_often_as_they_are_counted():
    few = seeded(nn.Conv2d, 3, 2, 3).double()
    slim, x = slim_of(few, "input_multiplicities"), rows(4, 3, 6, 6)
    full = F.conv2d(x[:, COPIES], few.weight[:, COPIES], few.bias)
    assert torch.allclose(slim(x), full, rtol=1e-12)
    slim(x).square().sum().backward()
    full.square().sum().backward()
    assert torch.allclose(slim.weight.grad * COUNTS.view(1, 3, 1, 1), few.weight.grad, rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_norm_keeps_statistics_and_learns_like_each_copy(momentum):
    few = seeded(nn.BatchNorm2d, 3, momentum=momentum).double()
    slim, full = slim_of(few, "output_multiplicities"), nn.BatchNorm2d(6, momentum=momentum).double()
    assert type(slim) is WeightedBatchNorm2d
    x, read = rows(5, 3, 4, 4) + 1, rows(3, seed=2)
    for _ in range(2):
        seen = torch.einsum("bchw,c->bhw", torch.tanh(slim(x)), COUNTS * read)
        expected = torch.einsum("bchw,c->bhw", torch.tanh(full(x[:, COPIES])), read[COPIES])
    assert torch.allclose(seen, expected, rtol=1e-12)
    assert torch.allclose(slim.running_var[COPIES], full.running_var)
    assert slim.num_batches_tracked == 2
    seen.square().sum().backward()
    expected.square().sum().backward()
    assert torch.allclose(slim.weight.grad[COPIES], full.weight.grad, rtol=1e-10)
    assert torch.allclose(slim.bias.grad[COPIES], full.bias.grad, rtol=1e-10)


def test_a_linear_layer_stored_the_other_way_round():
    from transformers.pytorch_utils import Conv1D

    few = seeded(Conv1D, 3, 2).double()
    slim = slim_of(few, "output_multiplicities")
    x = rows(4, 2)
    assert torch.equal(slim(x), F.linear(x, few.weight.T, few.bias))
    slim(x).square().sum().backward()
    few(x).square().sum().backward()
    assert torch.allclose(slim.weight.grad * COUNTS, few.weight.grad, rtol=1e-12)
    set_multiplicities(slim, operator_of(slim), "output_multiplicities", None)
    assert type(slim) is Conv1D


def test_along_runs_along_one_axis():
    assert along(torch.ones(3), 1, torch.ones(2, 3, 4)).shape == (1, 3, 1)
    assert along(None, 1, torch.ones(2)) is None


def test_slim_layers_are_known_while_they_live():
    layer = nn.Linear(2, 3)
    as_weighted(layer, operator_of(layer))
    seen = weakref.ref(layer)
    assert any(other is layer for other in living_layers())
    assert isinstance(layer, WeightedLinear)
    del layer
    gc.collect()
    assert seen() is None
