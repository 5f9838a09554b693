"""Small networks with known structure, shared by the tests of this room."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.slim.operators import units_of
from jlab_compress.slim.units import Located


def seeded(builder, *args, seed=0, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return builder(*args, **kwargs)


def mlp(*widths, activation=nn.ReLU, dtype=torch.float64, seed=0):
    def build():
        layers = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), activation()]
        return nn.Sequential(*layers[:-1]).to(dtype)

    return seeded(build, seed=seed)


def neurons(model, incoming=("0",), outgoing="2"):
    """Return where the neurons between linear layers of a model are."""
    width = len(model.get_submodule(incoming[0]).weight)
    return Located(incoming[0], "mlp", units_of(model, incoming, outgoing, width))


def rows(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def repeat_units(makers, reader, times):
    """Widen in place: each unit becomes `times` equal ones, in a mixed order; the function stays."""
    n = makers[0].weight.shape[0] if isinstance(makers[0], nn.Linear) else makers[0].weight.shape[1]
    index = torch.arange(n).repeat(times)[
        torch.randperm(n * times, generator=torch.Generator().manual_seed(9))
    ]
    for maker in makers:
        linear = isinstance(maker, nn.Linear)
        maker.weight = nn.Parameter(
            maker.weight.detach()[index] if linear else maker.weight.detach()[:, index]
        )
        if maker.bias is not None:
            maker.bias = nn.Parameter(maker.bias.detach()[index])
        if linear:
            maker.out_features = n * times
        else:
            maker.nf = n * times
    linear = isinstance(reader, nn.Linear)
    old = reader.weight.detach() / times
    reader.weight = nn.Parameter(old[:, index] if linear else old[index])
    if linear:
        reader.in_features = n * times
    else:
        reader.nx = n * times


def repeat_channels(conv, norm, reader, times):
    """The same for channels, of a convolution with a batch norm behind it, read by either kind of layer."""
    n = conv.out_channels
    index = torch.arange(n).repeat(times)[
        torch.randperm(n * times, generator=torch.Generator().manual_seed(9))
    ]
    for module in (conv, norm):
        for name in ("weight", "bias"):
            if getattr(module, name) is not None:
                setattr(module, name, nn.Parameter(getattr(module, name).detach()[index]))
    norm.running_mean, norm.running_var = norm.running_mean[index], norm.running_var[index]
    conv.out_channels = norm.num_features = n * times
    old = reader.weight.detach() / times
    if isinstance(reader, nn.Conv2d):
        reader.weight = nn.Parameter(old[:, index])
        reader.in_channels = n * times
    else:
        reader.weight = nn.Parameter(old.reshape(len(old), n, -1)[:, index].flatten(1))
        reader.in_features = reader.weight.shape[1]


class Gated(nn.Module):
    def __init__(self, n_in=6, n=12, n_out=4):
        super().__init__()
        self.gate = nn.Linear(n_in, n, bias=False)
        self.up = nn.Linear(n_in, n, bias=False)
        self.down = nn.Linear(n, n_out, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class TwoBranches(nn.Module):
    """One block per way in which user code may depend on the width; `kind` picks the code between."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.Linear(5, 12)
        self.norm = nn.LayerNorm(12)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 12))
        self.second = nn.Linear(12, 3)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return self.second(getattr(self, f"_{self.kind}")(h))

    def _plain(self, h):
        return h

    def _layernorm(self, h):
        return self.norm(h)

    def _bare_norm(self, h):
        return (h - h.mean(-1, keepdim=True)) * h.var(-1, keepdim=True).add(1e-3).rsqrt()

    def _softmax(self, h):
        return h.softmax(-1)

    def _mean(self, h):
        return h - h.mean(-1, keepdim=True)

    def _reads_width(self, h):
        return h / self.first.out_features

    def _reads_shape(self, h):
        return h / h.shape[-1]

    def _fixed_view(self, h):
        return h.view(-1, 12)

    def _positions(self, h):
        return h * self.scale

    def _flip(self, h):
        return h.flip(-1)

    def _cumulative(self, h):
        return h.cumsum(-1)

    def _chunk(self, h):
        a, b = h.chunk(2, -1)
        return torch.cat([a * b, a], -1)

    def _detached(self, h):
        return h.detach()

    def _inplace(self, h):
        return h.mul_(2.0).relu_()

    def _sigmoid_gelu(self, h):
        return h * torch.sigmoid(1.702 * h)

    def _reads_values(self, h):
        self.last = float(h.abs().max())
        return h

    def _residual(self, h):
        return h + F.pad(self.first.weight.sum() * h.detach(), (0, 0))
