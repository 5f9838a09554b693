"""Joint refinement: parameters of all slim blocks move at once until one loss of the whole model falls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from jlab_compress.compression.joint.norm_statistics import norms_of, renew_statistics
from jlab_compress.compression.joint.task import Outcome, Refinement, layers_of
from jlab_compress.compression.signals.block_kernels import BlockPair, write_multiplicities
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.progress import follow
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.moving.adam import OptimizationResult, minimize
from jlab_compress.inspection.block import Block

FAILED = "The blocks could not be refined jointly, as the model cannot be differentiated: {}"


@dataclass(frozen=True)
class Objective:
    """A loss over numbered batches, and how long to descend.

    Parameters
    ----------
    loss : callable
        From the number of a batch to a scalar that depends on the parameters of the slim blocks.
    learned, judged : int
        The first `learned` batches are learnt from; the next `judged` ones decide whether it helped.
    steps : int
        Adam steps.
    pairs : tuple of BlockPair
        Blocks whose multiplicities move too.
    """

    loss: Callable[[int], Tensor]
    learned: int
    judged: int
    steps: int
    pairs: tuple[BlockPair, ...] = ()


def refine_fits(
    task: Refinement,
    blocks: Sequence[Block],
    fits: Mapping[str, Fit],
    objective_of: Callable[[Refinement], Objective],
    *,
    method: str,
    note: str,
) -> Outcome:
    """Refine some slim blocks of a task jointly and say so in the fits.

    Parameters
    ----------
    task : Refinement
        Its slim model changes in place, unless the loss does not fall or the model cannot be differentiated.
    blocks : sequence of Block
        Those of its blocks that are refined.
    fits : mapping of str to Fit
        Of all blocks of the model, by name.
    objective_of : callable
        Gives the loss.
    method : str
        What the fits of refined blocks are called; they no longer name kept units. That of another block
        whose units are made by a layer that a refined one reads with is called so too, as that layer moved;
        which of the original's units they are has not changed.
    note : str
        Said in the report where it helped.
    """
    try:
        part = task.of(blocks)
        result = refine(part, objective_of(part))
    except RuntimeError as error:
        raise_lack_of_memory(error)
        return Outcome(fits, (FAILED.format(in_words(error)),))
    if not result.helped:
        return Outcome(fits)
    moved = set(layers_of(blocks))
    touched = [b.name for b in task.blocks if moved.intersection(unit.module for unit in b.making_axes)]
    refined = {name: replace(fits[name], method=method) for name in touched}
    refined |= {b.name: replace(refined[b.name], indices=None) for b in blocks}
    return Outcome({**fits, **refined}, (note,))


def refine(task: Refinement, objective: Objective) -> OptimizationResult:
    """Lower an objective by moving the parameters of the slim blocks in place; all others stay.

    Only the layers that make, normalise and read the neurons move, and the multiplicities of the objective's
    pairs. Batch norms get the statistics of the neurons as they are then.

    Returns
    -------
    OptimizationResult
        The mean loss on held-out batches before and after; where it has not fallen nothing has changed.

    Raises
    ------
    RuntimeError
        If the model cannot be differentiated; nothing has changed then.
    """
    free = free_parameters(task.slim, task.blocks)
    numbers = range(objective.learned + objective.judged)
    with (
        follow(task.progress, "joint refinement") as step,
        only_free(task.original, ()),
        only_free(task.slim, free),
        put_back_on_error(free),
    ):
        result = minimize(
            free,
            objective.loss,
            numbers[: objective.learned],
            numbers[objective.learned :],
            logs=[pair.logs for pair in objective.pairs],
            steps=objective.steps,
            seed=task.seed,
            progress=step,
        )
    if result.helped:
        for pair in objective.pairs:
            write_multiplicities(task.slim, pair)
        renew_statistics(task.slim, norms_of(task.blocks), task.fit)
    return result


def free_parameters(slim: nn.Module, blocks: Sequence[Block]) -> list[nn.Parameter]:
    """Return the parameters of the layers that make, normalise and read the neurons of blocks, each once."""
    names = layers_of(blocks)
    found = [p for name in names for p in slim.get_submodule(name).parameters(recurse=False)]
    return list(dict.fromkeys(found))


@contextmanager
def only_free(model: nn.Module, free: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let only some parameters require gradients; afterwards all are as before, those without gradients."""
    flags = {p: p.requires_grad for p in model.parameters()}
    try:
        for p in flags:
            p.requires_grad_(False)
        for p in free:
            p.requires_grad_(True)
        yield
    finally:
        for p, flag in flags.items():
            p.requires_grad_(flag)
        for p in free:
            p.grad = None


@contextmanager
def put_back_on_error(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Give tensors their present values back if an error ends the block."""
    before = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
        raise
