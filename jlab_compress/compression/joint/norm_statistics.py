"""Running statistics of batch norms whose neurons have moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import watching
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.splits import portions
from jlab_compress.inspection.block import Block

ROWS = 32


def norms_of(blocks: Sequence[Block]) -> list[str]:
    """Return the dotted paths of the blocks' batch norms, each once."""
    return list(dict.fromkeys(block.norm for block in blocks if block.norm is not None))


@torch.no_grad()
def renew_statistics(model: nn.Module, norms: Sequence[str], calls: Sequence[Call]) -> None:
    """Give batch norms the statistics of neurons that have moved, in place, and the same outputs as before.

    Until then a norm divides by the statistics of neurons that are no more, and the first training batches
    would replace them. Here they become those of the calibration, and scale and shift undo that.

    Parameters
    ----------
    model : nn.Module
        A copy.
    norms : sequence of str
        Dotted paths of the batch norms.
    calls : sequence of Call
        The calibration.
    """
    for name, (mean, variance) in statistics(model, norms, calls).items():
        norm: Any = model.get_submodule(name)
        old = (norm.running_var + norm.eps).sqrt()
        norm.bias.add_(norm.weight * (mean - norm.running_mean) / old)
        norm.weight.mul_((variance + norm.eps).sqrt() / old)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def statistics(
    model: nn.Module, norms: Sequence[str], calls: Sequence[Call]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return mean and variance of every unit that enters some batch norms, over all rows and positions."""
    sums: dict[str, Tensor] = {}

    def add(name: str, units: Tensor) -> None:
        axes = [axis for axis in range(units.dim()) if axis != 1]
        variance, mean = (part.double() for part in torch.var_mean(units, axes, correction=0))
        share = torch.ones_like(mean)
        found = units[:, 0].numel() * torch.stack([share, mean, variance + mean.square()])
        sums[name] = sums[name] + found if name in sums else found

    for part in (part for call in calls if norms for part in portions(call, ROWS)):
        with watching(model, norms, enter=add), undisturbed(model):
            part(model)
    found = {}
    for name, (count, total, squares) in sums.items():
        mean = total / count
        like = model.get_submodule(name).running_var
        found[name] = (mean.to(like), (squares / count - mean.square()).clamp_min(0.0).to(like))
    return found
