"""Random probes: output residuals that a tangent kernel is applied to, white or smooth over the inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HIDDEN_NEURONS = 64


def white_probes(inputs: Tensor, n_out: int, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` residuals of independent normal entries, (count, q, n_out), for inputs (q, n_in)."""
    return torch.randn(count, len(inputs), n_out, generator=generator).to(inputs)


def smooth_probes(inputs: Tensor, n_out: int, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` residuals that are `smooth_values` of the inputs, (count, q, n_out)."""
    return torch.stack([smooth_values(inputs, n_out, generator) for _ in range(count)])


def smooth_values(inputs: Tensor, n_out: int, generator: torch.Generator) -> Tensor:
    """Return a random smooth function of the inputs, (q, n_out), about as large as white noise.

    A two-layer tanh network of 64 neurons, with incoming weights that suit the spread of the rows.

    Examples
    --------
    >>> values = smooth_values(torch.ones(2, 3), 5, torch.Generator().manual_seed(0))
    >>> values.shape, torch.equal(values[0], values[1])
    (torch.Size([2, 5]), True)
    """
    centred = inputs - inputs.mean(dim=0)
    spread = centred.square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
    first = torch.randn(inputs.shape[1], HIDDEN_NEURONS, generator=generator).to(inputs) * (2.0 / spread)
    second = torch.randn(HIDDEN_NEURONS, n_out, generator=generator).to(inputs)
    return torch.tanh(centred @ first) @ second / math.sqrt(HIDDEN_NEURONS)
