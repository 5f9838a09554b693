"""Small slim models as version 0.1.0 saved them, beside this file as NAME.safetensors.

`MODELS` builds a fresh original for each. `expected.safetensors` holds what the slim model gave on
`inputs(name)`, and under "NAME stepped" what it gave after `step`, which shows whether the gradients of
repeated units are divided as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

HERE = Path(__file__).parent


class Gated(nn.Module):
    """A gated block: two layers make the neurons together, a third one reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(4, 10, bias=False), nn.Linear(4, 10, bias=False)
        self.down = nn.Linear(10, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


class Attending(nn.Module):
    """Torch's own attention, all heads in one parameter, or in three where keys have another size."""

    def __init__(self, *, keys: int | None = None) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 4, kdim=keys, vdim=keys, batch_first=True)
        self.keys, self.read = keys, nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        other = x if self.keys is None else x[..., : self.keys]
        out: Tensor = self.read(torch.tanh(self.attention(x, other, other, need_weights=False)[0]))
        return out


class HandWritten(nn.Module):
    """Attention written by hand, with one projection for queries, keys and values, or with three."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.head_size = 4, 2
        if fused:
            self.qkv = nn.Linear(8, 24)
        else:
            self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.fused, self.out, self.read = fused, nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        if self.fused:
            parts = self.qkv(x).view(rows, length, 3, self.num_heads, self.head_size)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        else:
            split = (layer(x).view(rows, length, -1, self.head_size) for layer in (self.q, self.k, self.v))
            q, k, v = (part.transpose(1, 2) for part in split)
        scores = (q @ k.transpose(-1, -2) / self.head_size**0.5).softmax(-1)
        out: Tensor = self.read(torch.tanh(self.out((scores @ v).transpose(1, 2).flatten(2))))
        return out


def mlp(activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Two blocks: 4-12-8-3."""
    return nn.Sequential(nn.Linear(4, 12), activation(), nn.Linear(12, 8), activation(), nn.Linear(8, 3))


def conv() -> nn.Sequential:
    """Channels with a batch norm, then channels that are flattened, three inputs of the last layer each."""
    return nn.Sequential(
        nn.Conv2d(2, 8, (1, 2), bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, (1, 2)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(18, 3),
    )


def depthwise() -> nn.Sequential:
    """Channels that pass through a depthwise convolution and two batch norms."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 3, 1),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "exact": lambda: nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 3)),
    "batch_norm": lambda: nn.Sequential(nn.Linear(4, 10), nn.BatchNorm1d(10), nn.GELU(), nn.Linear(10, 3)),
    "gated": Gated,
    "conv1d": lambda: nn.Sequential(Conv1D(10, 4), nn.GELU(), Conv1D(3, 10)),
    "conv": conv,
    "depthwise": depthwise,
    "heads": Attending,
    "heads_apart": lambda: Attending(keys=5),
    "fused_heads": lambda: HandWritten(fused=True),
    "heads_by_hand": lambda: HandWritten(fused=False),
    "encoder_layer": lambda: nn.TransformerEncoderLayer(8, 4, 12, 0.0, batch_first=True),
    "plain": lambda: nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 2)),
    "folded": mlp,
    "folded_heads": lambda: HandWritten(fused=True),
    "moved": lambda: mlp(nn.ReLU),
    "moved_channels": conv,
}


def fresh(name: str) -> nn.Module:
    """Return an original of other values, in float64 and evaluation mode."""
    return MODELS[name]().double().eval()


def inputs(name: str, rows: int = 5) -> Tensor:
    """Return inputs of a model, the same ones on every machine."""
    shapes = dict.fromkeys(("conv", "moved_channels"), (2, 1, 5)) | {"depthwise": (2, 4, 4), "plain": (2,)}
    shapes |= {n: (3, 8) for n in MODELS if "heads" in n or n == "encoder_layer"}
    shape = (rows, *shapes.get(name, (4,)))
    return (2 * torch.sin(torch.arange(1.0, 1.0 + torch.Size(shape).numel()).double() ** 2)).reshape(shape)


def expected(name: str) -> tuple[Tensor, Tensor]:
    """Return the outputs on `inputs(name)`, as saved and after one `step`."""
    stored = load_file(HERE / "expected.safetensors")
    return stored[name], stored[f"{name} stepped"]


def step(slim: nn.Module, x: Tensor) -> None:
    """Take one step of gradient descent on the mean square of the outputs, in place."""
    optimizer = torch.optim.SGD(slim.parameters(), lr=0.1)
    slim(x).square().mean().backward()
    optimizer.step()
