"""Joint NTK matching: the slim model is moved to the original's outputs and tangent kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jlab_compress.compression.joint.refinement import Objective, refine_fits
from jlab_compress.compression.joint.task import NTK_MATCHING, Outcome, Refinement, layers_of, matchable
from jlab_compress.compression.signals.block_rows import gather_inputs
from jlab_compress.compression.signals.layer_kernels import ROWS, KernelTargets, tangents
from jlab_compress.execution.calls import Call
from jlab_compress.execution.splits import portions
from jlab_compress.fitting.displacement import displacement_of
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.fit import Fit
from jlab_compress.slim.layers import input_scale, is_linear, matrix_of
from jlab_compress.slim.weighted import is_conv

NOTE = (
    "NTK matching: all blocks were refined against the original's outputs and the tangent kernel of the "
    "whole network; errors of single blocks are from before."
)
CHEAP_WEIGHTS, LEAST_SHARE = 1_000_000, 0.25
EXPENSIVE_ROWS, FEWEST_ROWS, MOST_GRADIENTS = 32, 8, 2**25
MOST_KEPT, LOOKED_AT = 2**18, 2048


def match_kernels(task: Refinement, fits: Mapping[str, Fit]) -> Outcome:
    """Refine the inexact `matchable` blocks of a task by `kernel_matching`, and say so in their fits.

    Parameters
    ----------
    task : Refinement
        Its slim model changes in place.
    fits : mapping of str to Fit
        Of all blocks, by name.
    """
    blocks = matchable(task.of(b for b in task.blocks if fits[b.name].function_error > 0))
    if not blocks:
        return Outcome(fits)
    return refine_fits(task, blocks, fits, kernel_matching, method=NTK_MATCHING, note=NOTE)


def kernel_matching(task: Refinement) -> Objective:
    """Return the objective of NTK matching.

    Fits made block by block do not know what the other blocks make of their errors, neither on the way to the
    outputs nor on the way back. Here outputs and the tangent kernels of all layers of the blocks are drawn to
    the original's, as the whole slim model gives them (Jacot, Gabriel, Hongler 2018). Multiplicities stay.

    Parameters
    ----------
    task : Refinement
        All its blocks move; see `matchable`.

    Returns
    -------
    Objective
        The squared relative error of a batch. Cost: 800 batches (at normal effort) of at most 256 rows
        through both models, forwards and backwards, and once more backwards; down to 200 with more than a
        million weights or tokens as inputs; with images or tokens of at most 32 rows. A loss that cannot
        be differentiated twice raises a RuntimeError.
    """
    layers = layers_of(task.blocks)
    budget = Budget.of(task, layers)
    displacement = expected_displacement(task)
    fit, held = (
        [p for call in calls for p in portions(call, budget.rows)] for calls in (task.fit, task.held)
    )
    if not budget.fresh:
        fit = fit * math.ceil(task.effort.matching_batches / len(fit))
    targets = teacher_targets(task, layers, [*fit, *held], fresh=len(fit) if budget.fresh else 0)

    def loss(number: int) -> Tensor:
        call, draw, wanted = targets(number)
        found = tangents(task.slim, call, layers, draw, graph=torch.is_grad_enabled())
        return found.error(wanted, displacement=displacement)

    return Objective(loss, len(fit), len(held), budget.steps)


@dataclass(frozen=True)
class Budget:
    """Sizes of batches and numbers of steps.

    A step is expensive where layers have many weights, and for images and tokens. Batches are small
    there, and the original's targets are computed once for a fixed set of batches. Otherwise every step
    draws a new random sum of the outputs, for which the original runs once more.

    Parameters
    ----------
    rows : int
        In a batch, at most.
    steps : int
        Of the optimizer.
    fresh : bool
        Whether each step draws a new sum.
    """

    rows: int
    steps: int
    fresh: bool

    @staticmethod
    def of(task: Refinement, layers: list[str]) -> Budget:
        """Return what suits a task whose given layers move."""
        sizes = [_weights(task.original.get_submodule(name)) for name in layers]
        images = any(b.kind == "conv" for b in task.blocks)
        vectors = all(t.dim() <= 2 and t.is_floating_point() for call in task.fit for t in call.tensors)
        if vectors and not images:
            return Budget(ROWS, _steps(task.effort, sum(sizes)), True)
        rows = max(FEWEST_ROWS, min(EXPENSIVE_ROWS, MOST_GRADIENTS // max(sizes)))
        steps = _steps(task.effort, sum(sizes)) if images else round(task.effort.matching_steps * LEAST_SHARE)
        return Budget(rows, steps, False)


def _steps(effort: Effort, weights: int) -> int:
    share = max(LEAST_SHARE, min(1.0, math.sqrt(CHEAP_WEIGHTS / weights)))
    return round(effort.matching_steps * share)


def _weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters(recurse=False))


Teacher = Callable[[int], tuple[Call, torch.Generator, KernelTargets]]


def teacher_targets(task: Refinement, layers: list[str], batches: list[Call], *, fresh: int) -> Teacher:
    """Return a function that gives a batch by its number, and what the original wants of it.

    Parameters
    ----------
    task : Refinement
        Holds the original.
    layers : list of str
        Those whose kernels are targets.
    batches : list of Call
        By number.
    fresh : int
        The first so many batches get a new random sum of the outputs each time. The others have one each, and
        their targets are kept unless they are large.

    Returns
    -------
    callable
        Gives the batch, a generator that draws its random sum, and the targets.
    """
    draws = torch.Generator().manual_seed(task.seed)
    kept: dict[int, KernelTargets] = {}

    def wanted(call: Call, draw: torch.Generator) -> KernelTargets:
        return tangents(task.original, call, layers, draw).targets(draw)

    def targets(number: int) -> tuple[Call, torch.Generator, KernelTargets]:
        call = batches[number]
        if number < fresh:
            again = torch.Generator()
            again.set_state(draws.get_state())
            return call, again, wanted(call, draws)
        draw, again = (torch.Generator().manual_seed(task.seed + number) for _ in range(2))
        found = kept.get(number) or wanted(call, draw)
        if sum(output.numel() for output in found.outputs) <= MOST_KEPT:
            kept[number] = found
        return call, again, found

    return targets


def expected_displacement(task: Refinement) -> float:
    """Return how far training is expected to move the original's outputs, as a multiple of their size.

    About ten at initialisation, next to nothing where the outputs have been trained; read off the last layer
    that runs.
    """
    name = [n for n in task.running if _is_layer(task.original.get_submodule(n))][-1]
    last = task.original.get_submodule(name)
    hidden = gather_inputs(task.original, name, task.fit[:1], seed=task.seed)[:LOOKED_AT]
    scale = input_scale(last)
    outgoing = matrix_of(last).T.to(hidden)
    outgoing = outgoing if scale is None else outgoing * scale.to(hidden)[:, None]
    size = float((hidden @ outgoing).square().mean().sqrt())
    ones = torch.ones_like(hidden[0])
    return displacement_of(hidden, outgoing, ones) / max(size, torch.finfo(hidden.dtype).tiny)


def _is_layer(module: nn.Module) -> bool:
    return is_linear(module) or is_conv(module)
