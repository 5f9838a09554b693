"""One look at a model serves every call, with the same result as a look for each."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress import allocate_widths, compress_baseline, prepare
from tests.models import mlp, rows, seeded
from tests.quick import FAST, X, same, tensors

compress = partial(jlab_compress.compress, effort=FAST, progress=False)
sweep = partial(jlab_compress.sweep, effort=FAST)


def test_a_prepared_model_gives_the_same_bits_as_the_model_again_and_again():
    net = mlp(6, 40, 30, 3)
    prepared = prepare(net, X, seed=3)
    made = compress(net, 8, calibration=X, preserve="function", seed=3)
    for _ in range(2):
        again = compress(prepared, 8, preserve="function", seed=3)
        assert same(tensors(again.model), tensors(made.model))
        assert again.report.to_dict() == made.report.to_dict()
    other = compress(prepare(net, X, seed=4), 8, preserve="function", seed=3)
    assert not same(tensors(other.model), tensors(made.model))
    assert same(tensors(prepared.original), tensors(net))


def test_every_door_takes_a_prepared_model():
    net = mlp(6, 40, 30, 3)
    prepared = prepare(net, X)
    assert sweep(prepared, [8]).forecasts == sweep(net, [8], calibration=X).forecasts
    widths = allocate_widths(net, calibration=X, macs=0.5, effort=FAST)
    assert allocate_widths(prepared, macs=0.5, effort=FAST) == widths
    slim = compress_baseline(prepared, widths, method="greedy").model
    assert same(tensors(slim), tensors(compress_baseline(net, widths, calibration=X, method="greedy").model))


def test_calibration_beside_a_prepared_model_and_a_model_without_are_refused():
    net = mlp(6, 40, 3)
    with pytest.raises(ValueError, match=r"^calibration: the model was prepared with its calibration"):
        compress(prepare(net, X), 8, calibration=X)
    with pytest.raises(TypeError, match=r"^calibration: expected a tensor, .* got NoneType"):
        compress(net, 8)


def test_preparing_leaves_the_model_and_shows_its_blocks():
    net = seeded(nn.Sequential, nn.Linear(6, 40), nn.BatchNorm1d(40), nn.Dropout(), nn.Linear(40, 3)).train()
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    prepared = prepare(net, rows(60, 6).float())
    assert same(before, net.state_dict())
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in net.modules())
    assert repr(prepared) == repr(prepared.blocks)
    assert "<table" in prepared._repr_html_()


def test_looking_into_attention_does_not_change_what_is_prepared():
    layer = seeded(nn.TransformerEncoderLayer, 12, 6, 16, 0.0, batch_first=True).double()
    prepared = prepare(layer, rows(30, 4, 12))
    before = compress_baseline(prepared, {"self_attn": 3}, method="greedy")
    sweep(prepared, {"self_attn": [3]})
    assert prepared.change() is None
    after = compress_baseline(prepared, {"self_attn": 3}, method="greedy")
    assert same(tensors(before.model), tensors(after.model))
    assert [type(m) for m in before.model.modules()] == [type(m) for m in after.model.modules()]


class Tempered(nn.Module):
    """Takes rows in two parts only, as its hook hands them on, and an optional argument."""

    def __init__(self):
        super().__init__()
        self.net = mlp(4, 12, 3)

    def forward(self, x, temperature=None):
        left, right = x
        return self.net(torch.cat([left, right], -1)) * (1 if temperature is None else temperature)


def test_targets_of_a_loader_are_told_with_the_hooks_that_the_model_needs():
    net, x = Tempered(), rows(40, 4)
    net.register_forward_pre_hook(lambda module, args: ((args[0][:, :1], args[0][:, 1:]), *args[1:]))
    prepared = prepare(net, [(x, torch.arange(40) % 3)])
    assert [len(call.args) for call in prepared.calls] == [1]
    assert any("taken for a target" in note for note in prepared.blocks.notes)
    assert prepared.blocks.named("net.0").locked is None
    assert torch.equal(prepared.original(x), net(x))
