"""What was prepared knows its rows, and whether the model has changed since."""

from functools import partial

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress import compress_baseline, prepare
from jlab_compress.compression.prepare import read_prepared
from tests.models import mlp, seeded
from tests.quick import FAST, X, same, tensors

compress = partial(jlab_compress.compress, effort=FAST, progress=False)
sweep = partial(jlab_compress.sweep, effort=FAST)


def test_rows_are_split_once_and_none_is_lost():
    prepared = prepare(mlp(6, 40, 3), [X[:100], X[100:103], X[103:]])
    parts = [call.args[0] for call in (*prepared.fit, *prepared.held)]
    every = torch.cat(parts)
    assert sorted(map(tuple, every.tolist())) == sorted(map(tuple, X.tolist()))
    assert sum(call.rows for call in prepared.held) == 12
    few = prepared.on(prepared.calls[:1], seed=0)
    assert sum(call.rows for call in (*few.fit, *few.held)) == 100
    assert few.blocks is prepared.blocks


def test_too_few_rows_to_keep_some_apart_are_seen_and_unseen():
    prepared = prepare(mlp(6, 40, 3), X[:3])
    assert prepared.held == ()
    assert prepared.unseen == prepared.fit


def train(net):
    net[0].weight.data.add_(1e-3)


def replace_a_layer(net):
    net[1] = nn.Tanh()


def widen(net):
    net[0].weight = nn.Parameter(torch.zeros(41, 6, dtype=torch.float64))


def drop_a_bias(net):
    net[2].bias = None


def give_a_buffer(net):
    net.register_buffer("steps", torch.zeros(1))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (train, "0.weight"),
        (replace_a_layer, "module 1"),
        (widen, "0.weight"),
        (drop_a_bias, "2.bias"),
        (give_a_buffer, "steps"),
        (lambda net: net.float(), "0.weight"),
        (lambda net: setattr(net[0], "scale", 2.0), "0.scale"),
        (lambda net: setattr(net[0], "padding", (1, 1)), "0.padding"),
        (lambda net: setattr(net[1], "forward", torch.tanh), "1.forward"),
        (lambda net: setattr(net[1], "forward", lambda x: x), "1.forward"),
        (lambda net: net[1].register_forward_hook(lambda *_: None), "1._forward_hooks"),
        (lambda net: net[0].weight.requires_grad_(False), "0.weight"),
    ],
)
def test_a_model_that_changed_since_is_refused(change, what):
    net = mlp(6, 40, 3)
    prepared = prepare(net, X)
    assert read_prepared(prepared, None, seed=0) is prepared
    change(net)
    with pytest.raises(ValueError, match=rf"^model: {what} has changed since the model was prepared"):
        compress_baseline(prepared, 8, method="random")


def test_another_mode_is_no_change():
    net = mlp(6, 40, 3)
    prepared = prepare(net, X)
    net.eval()
    assert prepared.change() is None


def test_the_slim_model_is_in_the_mode_that_the_model_is_in_now():
    net = seeded(nn.Sequential, nn.Linear(6, 40), nn.ReLU(), nn.Dropout(), nn.Linear(40, 3)).double().eval()
    prepared = prepare(net, X)
    net.train()[2].eval()
    slim = compress_baseline(prepared, 8, method="random").model
    assert [module.training for module in slim.modules()] == [module.training for module in net.modules()]
    assert not any(module.training for module in prepared.original.modules())


def test_prepared_models_are_keys_and_differ_by_who_they_are():
    net = mlp(6, 40, 3)
    one, other = prepare(net, X), prepare(net, X)
    assert len({one, other, one}) == 2
    assert one != one.on(one.calls, seed=0)


def test_attributes_that_a_copy_prints_otherwise_are_no_change():
    net = mlp(6, 40, 3)
    net.parts = (object(), [torch.zeros(2)])
    assert prepare(net, X).change() is None


def test_buffers_that_hold_nan_are_no_change():
    net = mlp(6, 40, 3)
    net.register_buffer("seen", torch.tensor([torch.nan, 1.0]))
    prepared = prepare(net, X)
    assert read_prepared(prepared, None, seed=0) is prepared
    net.seen[1] = 2.0
    with pytest.raises(ValueError, match=r"^model: seen has changed"):
        read_prepared(prepared, None, seed=0)


def test_a_model_that_is_gone_has_not_changed():
    prepared = prepare(mlp(6, 40, 3), X)
    assert prepared.source() is None
    assert compress_baseline(prepared, 8, method="random").model[0].out_features == 8


def test_what_an_interrupted_call_left_on_the_copy_is_gone_at_the_next():
    prepared = prepare(mlp(6, 40, 3), X)
    first = compress(prepared, 8).model
    copied = prepared.original
    weight, memory = copied[0].weight, copied[0].weight.data
    weight.data = memory + 1.0
    copied[2] = nn.Tanh()
    copied[1].train().register_forward_hook(lambda *_: torch.zeros(1))
    weight.requires_grad_(False)
    assert same(tensors(compress(prepared, 8).model), tensors(first))
    assert copied[0].weight is weight
    assert weight.data_ptr() == memory.data_ptr()
    assert weight.requires_grad
    assert not copied[1]._forward_hooks
    assert isinstance(copied[2], nn.Linear)
