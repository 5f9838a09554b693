import copy

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.compression.signals.backward import read_signals
from jlab_compress.compression.signals.block_kernels import (
    block_errors,
    multiplicities_of,
    pair_blocks,
    write_multiplicities,
)
from jlab_compress.inspection.find import find_blocks
from tests.compression.joint.test_distillation import calls, model

__all__ = ["model"]


def slimmed(net):
    return compress_baseline(net, 6, calibration=calls(1, 200)[0].args[0], method="random").model


def free_blocks(net, features=8):
    return [b for b in find_blocks(net, torch.randn(2, features)) if b.locked is None]


def errors(pairs, net, slim):
    """Return the errors of each pair on a call, the same draw for all."""
    (call,) = calls(2, 40)
    blocks = [pair.block for pair in pairs]
    draw = torch.Generator().manual_seed(0)
    wanted = read_signals(net, call, [], blocks, generator=draw)
    found = read_signals(slim, call, [], blocks, gradients=True)
    return [
        torch.stack(block_errors(slim, pair, found, wanted, torch.Generator().manual_seed(1), kernels=True))
        for pair in pairs
    ]


def conv1d(net):
    """The same model with the transformers library's layers."""
    made = copy.deepcopy(net)
    for layers in (made.up, made.down):
        for i, linear in enumerate(layers):
            layers[i] = Conv1D(linear.out_features, linear.in_features)
            layers[i].weight.data.copy_(linear.weight.T)
            layers[i].bias.data.copy_(linear.bias)
    return made


@pytest.mark.parametrize("form", [lambda net: net, conv1d])
def test_new_multiplicities_keep_function_and_sum_and_change_how_it_trains(model, form):
    net = form(model)
    slim = slimmed(net)
    before = copy.deepcopy(slim)
    pair = pair_blocks(net, slim, free_blocks(net))[0]
    assert multiplicities_of(slim, pair).tolist() == pytest.approx([4.0] * 6)
    pair.logs.data.copy_(torch.linspace(-1, 1, 6))
    write_multiplicities(slim, pair)
    x = torch.randn(9, 8)
    assert torch.allclose(slim(x), before(x), atol=1e-6)
    counts = slim.up[0].output_multiplicities
    assert torch.equal(counts, slim.down[0].input_multiplicities)
    assert float(counts.sum()) == pytest.approx(24)
    assert float(counts.max() / counts.min()) == pytest.approx(float(torch.tensor(2.0).exp()))
    grads = []
    for each in (slim, before):
        each(x).square().sum().backward()
        grads.append(each.up[0].weight.grad)
    assert not torch.allclose(*grads, rtol=0.1)


def test_the_errors_are_those_of_the_model_with_its_new_multiplicities(model):
    slim = slimmed(model)
    blocks = free_blocks(model)
    pairs = pair_blocks(model, slim, blocks)
    start = errors(pairs, model, slim)
    for pair in pairs:
        pair.logs.data.copy_(torch.linspace(-1, 1, 6))
    planned = errors(pairs, model, slim)
    for pair in pairs:
        write_multiplicities(slim, pair)
    done = errors(pair_blocks(model, slim, blocks), model, slim)
    for a, b, c in zip(start, planned, done, strict=True):
        assert torch.allclose(b, c, atol=1e-5)
        assert torch.allclose(a[0], b[0], atol=1e-5)
        assert not torch.allclose(a[1:], b[1:], rtol=0.05)


def test_the_original_beside_itself_has_no_error(model):
    pairs = pair_blocks(model, model, free_blocks(model))
    assert all(float(e.detach().max()) < 1e-10 for e in errors(pairs, model, model))


def test_blocks_that_read_or_write_other_features_have_no_pair():
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 12),
        torch.nn.ReLU(),
        torch.nn.Linear(12, 10),
        torch.nn.ReLU(),
        torch.nn.Linear(10, 2),
    )
    slim = compress_baseline(net, 5, calibration=torch.randn(80, 4), method="random").model
    assert pair_blocks(net, slim, free_blocks(net, 4)) == []
