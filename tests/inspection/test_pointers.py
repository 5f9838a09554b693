"""Parameters that something else points at are not replaced behind its back."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.compression.prepare import prepare
from jlab_compress.inspection.find import find_blocks
from jlab_compress.inspection.pointers import pointers_in
from tests.models import mlp, rows

X = rows(40, 4)


class Shape:
    """What muP hangs on a parameter."""

    def __init__(self, *sizes):
        self.sizes = sizes


class Held:
    def __init__(self, parameters):
        self.inner = {"groups": [tuple(parameters)]}


def shared_bias(net):
    net[2].bias = net[0].bias


def shared_reader_bias(net):
    net.add_module("3", nn.ReLU())
    net.add_module("4", nn.Linear(6, 6).double())
    net[4].bias = net[2].bias


POINTERS = {
    "a bias of two layers": (shared_bias, r"0\.bias is shared with 2"),
    "the reader's bias": (shared_reader_bias, r"2\.bias is shared with 4"),
    "infshape": (lambda n: setattr(n[0].weight, "infshape", Shape(6, 4)), r"0\.weight has .* 'infshape'"),
    "a mask": (
        lambda n: setattr(n[2].weight, "mask", torch.ones(6, 6)),
        r"2\.weight has an attribute 'mask'",
    ),
    "a list": (
        lambda n: setattr(n, "decayed", [n[2].weight]),
        r"2\.weight is .* the model's attribute decayed",
    ),
    "an optimizer": (
        lambda n: setattr(n, "optimizer", torch.optim.SGD(n.parameters(), 0.1)),
        r"0\.weight is also held by the model's attribute optimizer",
    ),
    "an object": (
        lambda n: setattr(n[1], "state", Held(n.parameters())),
        r"0\.weight is .* attribute 1\.state",
    ),
    "a set": (lambda n: setattr(n[0], "mine", {n[0].bias}), r"0\.bias is .* attribute 0\.mine"),
}


@pytest.mark.parametrize("name", POINTERS)
def test_a_block_whose_parameters_are_pointed_at_is_locked(name):
    net = mlp(4, 6, 6)
    make, words = POINTERS[name]
    make(net)
    before = copy.deepcopy(net.state_dict())
    block = find_blocks(net, X[:8]).named("0")
    assert block.locked is not None
    with pytest.raises(ValueError, match=words):
        compress_baseline(net, {"0": 3}, calibration=X, method="magnitude")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_marks_on_parameters_go_along():
    net = mlp(4, 6, 5, 3)
    for parameter in net.parameters():
        parameter._no_weight_decay, parameter.group, parameter.scales = True, "hidden", (1, 0.5)
    net.note = {"rates": [0.1]}
    slim = compress_baseline(net, 3, calibration=X, method="k-means").model
    marks = [(p._no_weight_decay, p.group, p.scales) for p in slim.parameters()]
    assert marks == [(True, "hidden", (1, 0.5))] * 6
    assert pointers_in(slim) == {}


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_gradient_hooks_are_refused_and_may_be_removed(kind):
    net, seen = mlp(4, 6, 3), []
    handle = getattr(net[2].weight, kind)(seen.append)
    with pytest.raises(ValueError, match=r"model: 2\.weight have gradient hooks .*remove them first"):
        prepare(net, X)
    assert find_blocks(net, X[:8]).named("0").locked is None
    handle.remove()
    assert compress_baseline(net, 3, calibration=X, method="k-means").model[2].weight.shape == (3, 3)
    assert seen == []
