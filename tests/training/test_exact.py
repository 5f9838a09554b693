"""Neurons that are repeated collapse exactly, and the slim model trains as the original does."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim import weighted
from jlab_compress.slim.conversion import fold
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.surgery import write_layer
from tests.models import Gated, mlp, repeat_channels, repeat_units, rows, seeded

STEPS = 200
SHAPES = {nn.TransformerEncoderLayer: (4, 5), nn.Conv2d: (2, 8, 8)}
OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05),
    "SGD, momentum, decay": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=1e-2),
    # At twice this rate Adam makes 1e-9 of a last bit in the encoder layer, on some processors.
    "Adam": lambda p: torch.optim.Adam(p, 5e-3),
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=1e-1),
}


def repeated_mlp():
    net = mlp(5, 6, 4, 3, activation=nn.Tanh)
    repeat_units([net[0]], net[2], 4)
    repeat_units([net[2]], net[4], 3)
    return net, 2


def repeated_gated():
    net = seeded(Gated, 5, 6, 3).double()
    repeat_units([net.gate, net.up], net.down, 3)
    return net, 1


def repeated_encoder():
    net = seeded(
        nn.TransformerEncoderLayer, 5, 1, 6, dropout=0.0, batch_first=True, activation="gelu"
    ).double()
    repeat_units([net.linear1], net.linear2, 4)
    return net, 1


def repeated_conv1d():
    from transformers.pytorch_utils import Conv1D

    net = seeded(lambda: nn.Sequential(Conv1D(6, 5), nn.GELU(), Conv1D(3, 6))).double()
    repeat_units([net[0]], net[2], 4)
    return net, 1


def conv_net():
    net = nn.Sequential(
        *(
            nn.Conv2d(2, 3, 3, padding=1, bias=False),
            nn.BatchNorm2d(3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        ),
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(16, 3)),
    ).double()
    with torch.no_grad():
        for _ in range(3):
            net(rows(20, 2, 8, 8))
    return net


def repeated_conv():
    net = seeded(conv_net)
    repeat_channels(net[0], net[1], net[4], 3)
    repeat_channels(net[4], net[5], net[8], 2)
    return net, 2


def mobile():
    def conv(a, b, size, **options):
        return nn.Conv2d(a, b, size, padding=size // 2, **options)

    net = nn.Sequential(
        *(conv(2, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU6()),
        *(conv(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.ReLU6(), conv(6, 4, 1), nn.ReLU()),
        *(nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
    ).double()
    with torch.no_grad():
        for _ in range(3):
            net(rows(20, 2, 8, 8))
    return net


def repeated_mobile():
    """Channels with two depthwise filters each, and channels with a batch norm after their activation."""
    net = seeded(mobile)
    x = rows(30, 2, 8, 8)
    for block, index in zip(find_blocks(net, x), ([0, 2, 1, 1, 0, 2], [3, 0, 1, 2, 2, 1, 0, 3]), strict=True):
        layer = read_layer(net, block, block.activation)
        share = block.width / len(index)
        layer = replace(layer, outgoing=layer.outgoing * share)
        write_layer(net, block, layer.select(torch.tensor(index)))
    return net, 2


NETS = {
    "mlp": repeated_mlp,
    "gated": repeated_gated,
    "encoder layer": repeated_encoder,
    "Conv1D": repeated_conv1d,
    "conv net": repeated_conv,
    "mobile net": repeated_mobile,
}


def collapsed(build):
    net, blocks = build()
    x = rows(30, *SHAPES.get(type(net[0] if isinstance(net, nn.Sequential) else net), (5,)))
    result = compress(net, 6, calibration=x, progress=False)
    assert len(result.plan.blocks) == blocks
    return net, result, x


def trained(net, x, optimizer):
    net = copy.deepcopy(net).train()
    y = torch.sin(net(x).detach().flip(0) * 3)
    parameters = optimizer(net.parameters())
    for step in range(STEPS):
        batch = slice(10 * (step % 3), 10 * (step % 3) + 10)
        parameters.zero_grad()
        (net(x[batch]) - y[batch]).square().mean().backward()
        parameters.step()
    return net(x).detach()


@pytest.mark.parametrize("build", NETS.values(), ids=NETS.keys())
def test_repeated_neurons_collapse_to_the_distinct_ones_with_their_counts(build):
    net, result, x = collapsed(build)
    slim = result.model
    for block in result.plan.blocks:
        assert block.width_after < block.width_before
        counts = slim.get_submodule(block.outgoing).input_multiplicities
        assert torch.equal(counts, torch.full_like(counts, block.width_before // block.width_after))
        for name in block.incoming:
            made = slim.get_submodule(name).output_multiplicities
            assert torch.equal(made.repeat_interleave(block.entries_per_unit), counts)
    for flag in (True, False):
        with torch.set_grad_enabled(flag):
            expected = net.eval()(x)
            assert (slim.eval()(x) - expected).norm() <= 1e-12 * expected.norm()
            assert (fold(slim).eval()(x) - expected).norm() <= 1e-12 * expected.norm()


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.parametrize("build", NETS.values(), ids=NETS.keys())
def test_training_stays_the_same_for_200_steps(build, optimizer):
    net, result, x = collapsed(build)
    expected, got = trained(net, x, optimizer), trained(result.model, x, optimizer)
    assert (expected - net(x)).norm() > 1e-2 * expected.norm(), "the training moved nothing"
    assert (got - expected).norm() <= 1e-9 * expected.norm()


@pytest.mark.parametrize("optimizer", ["SGD", "SGD, momentum, decay"])
def test_without_the_division_of_gradients_training_differs(optimizer, monkeypatch):
    monkeypatch.setattr(weighted, "weigh", lambda w, columns, rows: w if columns is None else w * columns)
    net, result, x = collapsed(repeated_mlp)
    expected, got = (trained(m, x, OPTIMIZERS[optimizer]) for m in (net, result.model))
    assert (got - expected).norm() > 1e-3 * expected.norm()


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW"])
def test_adam_hides_the_division_up_to_its_eps_only(optimizer, monkeypatch):
    monkeypatch.setattr(weighted, "weigh", lambda w, columns, rows: w if columns is None else w * columns)
    net, result, x = collapsed(repeated_mlp)
    expected, got = (trained(m, x, OPTIMIZERS[optimizer]) for m in (net, result.model))
    assert (got - expected).norm() > 1e-9 * expected.norm()


def test_plain_gauge_trains_the_same_under_sgd_with_momentum_and_decay():
    net = mlp(5, 6, 3)
    repeat_units([net[0]], net[2], 4)
    x = rows(120, 5)
    slim = compress(net, 6, calibration=x, plain=True, progress=False)
    assert type(slim.model[0]) is nn.Linear
    assert slim.plan.blocks[0].gauge == "plain"
    assert slim.plan.blocks[0].multiplicities == (4.0,) * 6
    optimizer = OPTIMIZERS["SGD, momentum, decay"]
    expected = trained(net, x, optimizer)
    assert (trained(slim.model, x, optimizer) - expected).norm() <= 1e-9 * expected.norm()


def test_plain_gauge_is_refused_where_the_activation_is_not_homogeneous():
    with pytest.raises(ValueError, match=r"block 0 has the activation tanh.*pass plain=False"):
        compress(mlp(5, 6, 3, activation=nn.Tanh), 3, calibration=rows(20, 5), plain=True)
    with pytest.raises(ValueError, match="block gate has the activation silu, mul"):
        compress(seeded(Gated), 3, calibration=rows(20, 6, dtype=torch.float32), plain=True)
