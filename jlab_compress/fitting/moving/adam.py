"""Adam: its rate over the steps, and a minimisation that is undone where held-out batches say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TENSOR_RATE, LOG_RATE = 0.01, 0.05
TENSOR_WARM_UP = 0.1


@dataclass(frozen=True)
class OptimizationResult:
    """What an optimizer made of the mean loss on held-out batches.

    Parameters
    ----------
    before, after : float
        At the start and at the end of the steps.
    """

    before: float
    after: float

    @property
    def helped(self) -> bool:
        """Whether the loss fell; otherwise the tensors are as they were."""
        return self.after < self.before


def rate_share(step: int, steps: int, *, warm_up: float = 0.0) -> float:
    """Return the share of the full rate at a step, counted from 0: linearly up, then down as a cosine.

    Parameters
    ----------
    step, steps : int
        Steps done, and in all.
    warm_up : float
        Share of the steps in which the rate rises.

    Examples
    --------
    >>> [round(rate_share(step, 4), 2) for step in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    >>> rate_share(0, 100, warm_up=0.1)
    0.1
    """
    risen = min(1.0, (step + 1) / (warm_up * steps)) if warm_up else 1.0
    return risen * 0.5 * (1 + math.cos(math.pi * step / steps))


def minimize(
    free: Sequence[Tensor],
    loss: Callable[[int], Tensor],
    batches: Sequence[int],
    held: Sequence[int],
    *,
    logs: Sequence[Tensor] = (),
    steps: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> OptimizationResult:
    """Move tensors by Adam so that a loss over batches falls, in place, unless it rises on held-out batches.

    Parameters
    ----------
    free : sequence of Tensor
        Leaves that require gradients; on return they hold the last values, or the first ones where the
        last are no better on the held-out batches or the loss lets no gradient through.
    loss : callable
        Batch number to a scalar that depends on `free`.
    batches, held : sequence of int
        Numbers of the batches to learn from, and of those that only judge.
    logs : sequence of Tensor
        Further leaves, logarithms of multiplicities, that move too.
    steps : int
        How many.
    seed : int
        Of the order of the batches.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    OptimizationResult
        Cost: the steps, and two looks at the held-out batches.

    Examples
    --------
    >>> x = torch.tensor([4.0], requires_grad=True)
    >>> result = minimize([x], lambda number: (x - 3.0).square().sum(), range(16), [0], steps=160)
    >>> result.after < 0.01 * result.before
    True
    """
    entries = sum(t.numel() for t in free)
    size = (sum(float(t.detach().square().sum()) for t in free) / entries) ** 0.5
    rates = [TENSOR_RATE * size, LOG_RATE]
    groups = [{"params": list(tensors)} for tensors in (free, logs)]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(seed)
    every = [*free, *logs]
    first, before, order = _copy(every), _held_out(loss, held), list[int]()
    for step in range(1, steps + 1):
        order = order or torch.randperm(len(batches), generator=generator).tolist()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * rate_share(step - 1, steps, warm_up=TENSOR_WARM_UP)
        value = loss(batches[order.pop()])
        if not value.requires_grad:
            break
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        if progress is not None:
            progress(step, steps)
    result = OptimizationResult(before, _held_out(loss, held))
    if not result.helped:
        with torch.no_grad():
            for tensor, value in zip(every, first, strict=True):
                tensor.copy_(value)
    return result


def _held_out(loss: Callable[[int], Tensor], held: Sequence[int]) -> float:
    with torch.no_grad():
        return sum(float(loss(number)) for number in held) / len(held)


def _copy(free: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in free]
