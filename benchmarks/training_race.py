"""Shared by the training benchmarks: clouds at initialisation, slim nets from them, a race side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from jlab_compress.compression.compress import compress
from jlab_compress.core.cloud import Cloud
from jlab_compress.core.compress_cloud import compress_cloud
from jlab_compress.core.polynomials import largest_degree
from jlab_compress.fitting.aims.moments import rebuild
from jlab_compress.fitting.layer import Layer
from jlab_compress.inspection.find import find_blocks
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.weighted import WeightedLinear
from jlab_compress.validation.measures.curve import HELD_OUT_LOSS, TRAINING_GAP, Curve, final
from jlab_compress.validation.roles import ORIGINAL
from jlab_compress.validation.training.contest import Contest
from jlab_compress.validation.training.side_by_side import train_side_by_side
from jlab_compress.validation.training.steps import default_step

MOVED, DYNAMICS = "ours, moved centres", "ours, dynamics"
PAPER, RANDOM, NAIVE = "paper", "random subset", "naive net"
ROOM = 8  # unknowns for each moment that moved centres keep
Batch = tuple[Tensor, Tensor]


def harmonic(points: Tensor, order: int, waves: float) -> Tensor:
    """Return the cylindrical harmonic J_order(waves r) cos(order theta) at points (q, 2), as (q, 1)."""
    from scipy.special import jv

    radius, angle = points.norm(dim=1), torch.atan2(points[:, 1], points[:, 0])
    values = torch.from_numpy(jv(order, waves * radius.double().cpu().numpy())).to(points)
    return (values * torch.cos(order * angle))[:, None]


def harmonic_batches(
    rows: int, batch: int, *, target: tuple[int, float], noise: float, seed: int, device: str
) -> list[Batch]:
    """Draw points in [-1, 1]^2 with noisy targets of a harmonic (order, waves), cut into batches."""
    generator = torch.Generator().manual_seed(seed)
    x = (2 * torch.rand(rows, 2, generator=generator) - 1).to(device)
    y = harmonic(x, *target) + noise * torch.randn(rows, 1, generator=generator).to(device)
    return list(zip(x.split(batch), y.split(batch), strict=True))


def wide_net(width: int, *, seed: int, device: str) -> nn.Sequential:
    """Return a 2-width-1 ReLU net as torch.nn.Linear draws it."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1)).to(device)


def slim_nets(
    net: nn.Sequential,
    size: int,
    calibration: Tensor,
    *,
    degree: int,
    seed: int,
    skip: Sequence[str] = (),
) -> dict[str, nn.Module]:
    """Return the contestants at one width.

    "ours, moved centres" are the centres of `size` cells of the cloud of neurons (w, b, v), moved to keep
    its moments; "ours, dynamics" is what `compress` makes of the net and inputs without targets; "paper"
    keeps moments up to `degree` with unmoved neurons; a random subset counts each neuron n / s times, the
    naive net (the paper's comparison) once. Those in `skip` are left out.
    """
    layer = read_layer(net, find_blocks(net).named("0"), torch.relu)
    cloud = neurons_of(layer)
    kept = compress_cloud(scaled(cloud), size=size, degree=degree, seed=seed)
    assert kept.indices is not None
    drawn = torch.randperm(layer.width, generator=torch.Generator().manual_seed(seed))[:size]
    indices = kept.indices.to(layer.outgoing.device)
    makers: dict[str, Callable[[], nn.Module]] = {
        MOVED: lambda: slim_net(net, moved_centres(layer, size)),
        DYNAMICS: lambda: compress(net, size, calibration=calibration, seed=seed, progress=False).model,
        PAPER: lambda: slim_net(net, layer.select(indices, kept.multiplicities)),
        RANDOM: lambda: slim_net(net, layer.select(drawn, torch.full((size,), layer.width / size))),
        NAIVE: lambda: slim_net(net, layer.select(drawn, torch.ones(size))),
    }
    return {name: make() for name, make in makers.items() if name not in skip}


def neurons_of(layer: Layer) -> Tensor:
    """Return the layer's neurons as points (n, 4), on the host."""
    assert layer.biases[0] is not None
    return torch.cat([layer.incoming[0], layer.biases[0][:, None], layer.outgoing], 1).double().cpu()


def moved_centres(layer: Layer, size: int) -> Layer:
    """Return the layer of `size` moved centres that stand for the neurons of a layer."""
    cloud = neurons_of(layer)
    moved = settled(scaled(cloud), size)
    points = moved.points * cloud.square().mean(0).sqrt()
    return rebuild(layer, points.to(layer.outgoing), moved.multiplicities.to(layer.outgoing))


def settled(cloud: Tensor, size: int) -> Cloud:
    """Return moved centres of a cloud, with an eighth as many moments kept as there are unknowns."""
    degree = largest_degree(cloud.shape[1], size * (cloud.shape[1] + 1) // ROOM)
    return compress_cloud(cloud, size=size, degree=degree, move=True)


def scaled(cloud: Tensor) -> Tensor:
    """Return the cloud with columns of unit rms, so that no coordinate counts for nothing."""
    return cloud / cloud.square().mean(0).sqrt()


def slim_net(net: nn.Sequential, layer: Layer) -> nn.Sequential:
    """Return the net with the layer's weighted neurons in the place of its own."""
    old = net[0].weight
    counts = layer.multiplicities.to(old)
    first = WeightedLinear(2, layer.width, output_multiplicities=counts)
    second = WeightedLinear(layer.width, 1, input_multiplicities=counts)
    made = nn.Sequential(first, nn.ReLU(), second).to(old)
    with torch.no_grad():
        first.weight.copy_(layer.incoming[0])
        first.bias.copy_(layer.biases[0])
        second.weight.copy_(layer.outgoing.T)
        second.bias.copy_(net[2].bias)
    return made


def cosine(kind: Callable[..., Optimizer], rate: float, steps: int) -> Callable[..., Optimizer]:
    """Return an optimizer factory whose rate falls to zero along a cosine over `steps`."""

    def make(parameters: object) -> Optimizer:
        optimizer = kind(parameters, lr=rate)
        scheduler = CosineAnnealingLR(optimizer, steps)
        optimizer.register_step_post_hook(lambda *_: scheduler.step())
        return optimizer

    return make


def race(
    models: Mapping[str, nn.Module],
    batches: Sequence[Batch],
    test: Sequence[Batch],
    *,
    optimizer: Callable[..., Optimizer],
    steps: int,
    seed: int,
) -> dict[str, Curve]:
    """Train all models on the same batches and return their curves; by role or by any name."""
    contest = Contest(tuple(batches), tuple(test), default_step(F.mse_loss), optimizer, F.mse_loss)
    return train_side_by_side(models, contest, seed=seed, steps=steps)


def curve_distance(runs: Sequence[Mapping[str, Curve]], name: str) -> float:
    """Return how far a test-loss curve runs from the original's.

    It is the rms over the later half of the log ratio of both losses, mean over seeds: the seeds' mean
    comes first, so that it is a distance of mean curves and noise in a single one averages out.
    """
    half = len(runs[0][ORIGINAL].recorded) // 2
    pairs = [
        zip(run[name].of(HELD_OUT_LOSS)[half:], run[ORIGINAL].of(HELD_OUT_LOSS)[half:], strict=True)
        for run in runs
    ]
    logs = [[math.log(a / b) for a, b in pair] for pair in pairs]
    return math.sqrt(fmean(fmean(each) ** 2 for each in zip(*logs, strict=True)))


def race_row(runs: Sequence[Mapping[str, Curve]], name: str) -> tuple[str, float, float, float, float]:
    """Return a model's name, its test loss at the end and at its highest, curve distance and training gap."""
    loss = final(runs, name, HELD_OUT_LOSS)
    highest = fmean(max(run[name].of(HELD_OUT_LOSS)) for run in runs)
    gap = final(runs, name, TRAINING_GAP)
    return name, loss, highest, curve_distance(runs, name), gap
