"""A wide net whose hidden neurons are copies of a few, and the slim net of the few."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from jlab_compress.execution.isolation import copy_model
from jlab_compress.slim.conversion import attach_plan
from jlab_compress.slim.layers import read_layer
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.surgery import write_layer
from jlab_compress.slim.units import Located

COUNTS = (3, 1, 4, 2, 6)
Pair = tuple[nn.Module, nn.Module]


@pytest.fixture
def make_pair() -> Callable[..., Pair]:
    """`make_pair(activation)` gives (wide, slim), float64; neuron j of the slim one stands for COUNTS[j]."""

    def make(activation: nn.Module | None = None, *, seed: int = 0) -> Pair:
        torch.manual_seed(seed)
        few = nn.Sequential(nn.Linear(3, len(COUNTS)), activation or nn.Tanh(), nn.Linear(len(COUNTS), 2))
        few = few.double()
        where = Located("0", "mlp", units_of(few, ("0",), "2", len(COUNTS)))
        layer = read_layer(few, where, torch.tanh)
        copies = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
        wide = copy_model(few)
        write_layer(wide, where, layer.select(copies))
        slim = copy_model(few)
        write_layer(slim, where, layer.select(torch.arange(5), torch.tensor(COUNTS).double()))
        block = BlockPlan("0", "mlp", where.units, sum(COUNTS), len(COUNTS), "exact", "weighted")
        attach_plan(slim, Plan((block,)))
        return wide, slim

    return make


@pytest.fixture
def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Twelve batches of a small regression problem."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(12, 16, 3, generator=generator, dtype=torch.float64)
    targets = torch.stack([inputs[..., 0] * inputs[..., 1], inputs[..., 2].sin()], -1)
    return list(zip(inputs, targets, strict=True))
