"""How differently a first training step moves the outputs of a slim model and of its original."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.backward import outputs_with_rows
from jlab_compress.compression.signals.capture import rows_of
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import copy_model, undisturbed

STEPS, LOOKS, LENGTH = 2, 8, 1e-4
# Plain gradients, and their signs, which are Adam's first step.
DIRECTIONS: tuple[Callable[[Tensor], Tensor], ...] = (lambda gradient: gradient, torch.sign)
Gradients = dict[str, Tensor]


def first_step_gap(
    original: nn.Module, slim: nn.Module, calls: Sequence[Call], held: Sequence[Call], *, seed: int = 0
) -> float | None:
    """Return ||d_slim - d|| / ||d||, d how a small first step on one call moves the outputs of another.

    The made-up task moves outputs on one side of a random plane one way and those on the other side the
    other way.

    Parameters
    ----------
    original, slim : nn.Module
        Neither is changed.
    calls, held : sequence of Call
        What steps are taken on, two at most, and what is looked at, up to eight after each step.
    seed : int
        Of the task.

    Returns
    -------
    float or None
        The larger of the gaps for SGD and for Adam: 0 where both models move alike, 1 where the slim one does
        not move. None where no gradient comes through, or parameters are of half precision, in which small
        steps are lost. Cost, for each step and model: one pass with gradients and up to 32 without.
    """
    if any(p.dtype not in (torch.float32, torch.float64) for p in original.parameters()):
        return None
    errors, sizes = [0.0, 0.0], [0.0, 0.0]
    for number, call in enumerate(calls[:STEPS]):
        others = held[number::STEPS][:LOOKS]
        task = _task(original, call, seed + number)
        both = [_gradients(model, call, task) for model in (original, slim)]
        if not all(both):
            return None
        for i, direction in enumerate(DIRECTIONS):
            length = (
                LENGTH
                * _size(dict(original.named_parameters()), both[0])
                / _size(both[0], both[0], direction)
            )
            wanted, found = (
                _movement(model, others, {name: length * direction(g) for name, g in gradients.items()})
                for model, gradients in zip((original, slim), both, strict=True)
            )
            errors[i] += float((found - wanted).square().sum())
            sizes[i] += float(wanted.square().sum())
    return max((e / s) ** 0.5 if s > 0 else 0.0 for e, s in zip(errors, sizes, strict=True))


def _outputs(model: nn.Module, call: Call) -> list[Tensor]:
    """Return the outputs without padded positions."""
    found = outputs_with_rows(model, call)
    return [rows_of(output, call) if output.dim() == 3 else output for output in found]


def _task(original: nn.Module, call: Call, seed: int) -> list[Tensor]:
    """Return where each output should go: one way on one side of a random plane, the other on the other."""
    generator = torch.Generator().manual_seed(seed)
    shifts = []
    with undisturbed(original):
        for output in _outputs(original, call):
            plane, way = torch.randn(2, output.shape[-1], generator=generator).to(output)
            side = ((output - output.mean(dim=0)) @ plane).sign()
            shifts.append(side[..., None] * way)
    return shifts


def _gradients(model: nn.Module, call: Call, task: list[Tensor]) -> Gradients:
    twin = copy_model(model)
    free = {name: p for name, p in twin.named_parameters() if p.requires_grad}
    with undisturbed(twin), torch.enable_grad():
        gain = torch.stack([(o * t).sum() for o, t in zip(_outputs(twin, call), task, strict=True)]).sum()
        if not gain.requires_grad:
            return {}
        found = torch.autograd.grad(gain, list(free.values()), allow_unused=True)
    return {name: g for name, g in zip(free, found, strict=True) if g is not None}


def _size(
    tensors: Gradients, names: Gradients, direction: Callable[[Tensor], Tensor] = DIRECTIONS[0]
) -> float:
    total = sum(float(direction(tensors[name].detach()).square().sum()) for name in names)
    return math.sqrt(max(total, torch.finfo(torch.float32).tiny))


def _movement(model: nn.Module, calls: Sequence[Call], steps: Gradients) -> Tensor:
    """Return how the outputs move, all in one row."""
    twin = copy_model(model)
    with undisturbed(twin):
        before = [output for call in calls for output in _outputs(twin, call)]
        for name, parameter in twin.named_parameters():
            if name in steps:
                parameter.add_(steps[name])
        after = [output for call in calls for output in _outputs(twin, call)]
    moved = [(a - b).flatten() for a, b in zip(after, before, strict=True)]
    return torch.cat(moved) if moved else torch.zeros(0)
