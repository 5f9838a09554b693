"""A net with repeated neurons, its slim form, and plain loops that train both.

The wide net has two hidden layers whose neurons come in unequal numbers of copies, so the layer between
them both reads and makes neurons with multiplicities. After 200 steps in float64 every parameter of the
wide net must equal the slim one's to 1e-9.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.slim.conversion import attach_plan
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.units import UnitAxis
from jlab_compress.slim.weighted import WeightedLinear
from tests.models import mlp, rows

STEPS = 200
TOLERANCE = 1e-9
UNEQUAL = ((3, 1, 4, 2, 6), (2, 5, 1, 3))
EQUAL = ((3, 3, 3, 3, 3), (3, 3, 3, 3))


class Pair:
    """A wide net, its slim form, data, and the measure of how far their parameters are apart."""

    def __init__(self, counts=UNEQUAL, dtype=torch.float64):
        few = mlp(4, 5, 4, 3, activation=nn.Tanh, dtype=dtype)
        with torch.no_grad():
            few[2].weight /= 3
            few[4].weight /= 3
        first, second = (torch.tensor(c) for c in counts)
        self.maps = {"0": (None, _copies(first)), "2": (_copies(first), _copies(second))}
        self.maps["4"] = (_copies(second), None)
        self.wide, self.slim = copy.deepcopy(few), nn.Sequential()
        for name, (read, made) in self.maps.items():
            layer = self.wide.get_submodule(name)
            layer.weight = nn.Parameter(spread(spread(layer.weight.detach(), made, 0), read, 1))
            layer.bias = nn.Parameter(spread(layer.bias.detach(), made, 0))
        inner = {"0": (None, first), "2": (first, second), "4": (second, None)}
        for name, module in few.named_children():
            self.slim.append(_weighted(module, *inner[name]) if name in inner else module)
        plans = [_plan("0", "2", counts[0]), _plan("2", "4", counts[1])]
        attach_plan(self.slim, Plan(tuple(plans)))
        self.x = rows(48, 4).to(dtype)
        self.y = torch.stack([self.x[:, 0] * self.x[:, 1], self.x[:, 2].sin(), self.x[:, 3]], -1)

    def distance(self):
        slim, far = dict(self.slim.named_parameters()), 0.0
        for name, parameter in self.wide.named_parameters():
            read, made = self.maps[name[0]]
            value = spread(slim[name].detach(), made, 0)
            value = spread(value, read, 1) if name.endswith("weight") else value
            far = max(far, float((parameter.detach() - value).abs().max()))
        return far


def _copies(counts):
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def spread(value, copies, axis):
    return value if copies is None else value.index_select(axis, copies)


def _plan(incoming, outgoing, counts):
    units = (
        UnitAxis(incoming, "weight", 0),
        UnitAxis(incoming, "bias", 0),
        UnitAxis(outgoing, "weight", 1, "reads"),
    )
    return BlockPlan(
        incoming, "mlp", units, sum(counts), len(counts), "exact", "weighted",
        indices=tuple(sum(counts[:j]) for j in range(len(counts))),
    )  # fmt: skip


def _weighted(module, read, made):
    multiplicities = [None if c is None else c.to(module.weight) for c in (read, made)]
    layer = WeightedLinear(
        module.in_features,
        module.out_features,
        input_multiplicities=multiplicities[0],
        output_multiplicities=multiplicities[1],
    ).to(module.weight.dtype)
    with torch.no_grad():
        layer.weight_of_one.copy_(module.weight)
        layer.bias.copy_(module.bias)
    return layer


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def batch(pair, step):
    part = slice(12 * (step % 4), 12 * (step % 4) + 12)
    return pair.x[part], pair.y[part]


def train(pair, model, *, optimizer=sgd, loss=None, before_step=None, after_step=None, steps=STEPS):
    """Run one plain loop; the hooks are what a caller's loop does in between."""
    made = optimizer(model.parameters())
    for step in range(steps):
        made.zero_grad()
        x, y = batch(pair, step)
        value = F.mse_loss(model(x), y) if loss is None else loss(model, x, y)
        value.backward()
        if before_step:
            before_step(model)
        made.step()
        if after_step:
            after_step(made, value)
    return made


def both(pair, **how):
    train(pair, pair.wide, **how)
    train(pair, pair.slim, **how)
    return pair.distance()


def undivided(slim):
    """Break the rule, in place: gradients of copies are no longer divided by their number."""
    for name in ("0", "2"):
        slim.get_submodule(name).output_multiplicities = None
    return slim
