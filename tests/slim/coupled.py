"""A net whose residual stream is one width that many layers share, with every unit axis of it by hand."""

import copy

import torch
from torch import nn

from jlab_compress.slim.conversion import attach_plan, count_units
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.surgery import select_units, settle
from jlab_compress.slim.units import Located, UnitAxis
from tests.models import seeded


class Stream(nn.Module):
    """Two layers write into the stream, two read it, a third does both, and a batch norm treats it."""

    def __init__(self, width=3):
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.up, self.down = nn.Linear(width, 5), nn.Linear(5, width)
        self.mix = nn.Linear(width, width)
        self.norm, self.head = nn.BatchNorm1d(width), nn.Linear(width, 2)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.down(torch.tanh(self.up(x)))
        return self.head(torch.tanh(self.norm(torch.tanh(self.mix(x)))))


def made(name):
    return UnitAxis(name, "weight", 0), UnitAxis(name, "bias", 0)


STATISTICS = ("weight", "bias", "running_mean", "running_var")
STREAM = (
    *made("embed"),
    UnitAxis("up", "weight", 1, "reads"),
    *made("down"),
    UnitAxis("mix", "weight", 1, "reads"),
    *made("mix"),
    *(UnitAxis("norm", name, 0, "treats") for name in STATISTICS),
    UnitAxis("head", "weight", 1, "reads"),
)
WIDE, KEPT = torch.tensor([0, 1, 2, 2, 0, 1, 0]), torch.tensor([0, 1, 2])
COUNTS = torch.tensor([3.0, 2.0, 2.0]).double()


def small():
    net = seeded(Stream).double()
    with torch.no_grad():
        net.norm.running_mean.copy_(torch.tensor([0.1, -0.2, 0.3]))
        net.norm.running_var.copy_(torch.tensor([0.5, 1.5, 2.0]))
        net.norm.weight.copy_(torch.tensor([0.7, 1.3, 0.9]))
        net.norm.bias.copy_(torch.tensor([0.4, -0.6, 0.2]))
    return net


def repeated():
    """Return the net with units in two or three copies, and its slim form that keeps the first of each."""
    block = Located("stream", "stream", STREAM)
    wide = small()
    select_units(wide, STREAM, WIDE, (1 / COUNTS)[WIDE])
    settle(wide, block, 3, 7)
    slim = copy.deepcopy(wide)
    select_units(slim, STREAM, KEPT)
    count_units(slim, block, COUNTS)
    settle(slim, block, 7, 3)
    kept = tuple(KEPT.tolist())
    attach_plan(slim, Plan((BlockPlan("stream", "stream", STREAM, 7, 3, "exact", "weighted", kept),)))
    return wide, slim
