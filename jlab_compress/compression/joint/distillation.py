"""Joint distillation: the slim model is trained to the original's hidden states and gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from jlab_compress.compression.joint.refinement import Objective, refine_fits
from jlab_compress.compression.joint.task import DISTILLATION, Outcome, Refinement, needs_whole
from jlab_compress.compression.signals.augmentation import augment, positions_of
from jlab_compress.compression.signals.backward import read_signals
from jlab_compress.compression.signals.block_kernels import block_errors, pair_blocks
from jlab_compress.execution.calls import Call
from jlab_compress.execution.splits import portions
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.kernels.row_kernels import spread_error

NOTE = (
    "Joint distillation: all blocks were refined against the original's hidden states and back-propagated "
    "gradients; errors of single blocks are from before."
)
# A row of a sequence holds many positions, so fewer rows make a batch.
ROWS, SEQUENCES = 32, 16


def distill(task: Refinement, fits: Mapping[str, Fit], *, kernels: bool = False) -> Outcome:
    """Refine the blocks of a task by `distillation`, and say so in their fits.

    Exact blocks do not move. A single block outside a residual stream gains nothing, as its own fit has
    matched its outputs already; unless it `needs_whole`, it does not move either.

    Parameters
    ----------
    task : Refinement
        Its slim model changes in place.
    fits : mapping of str to Fit
        Of all blocks, by name.
    kernels : bool
        As in `distillation`.
    """
    inexact = [b for b in task.blocks if fits[b.name].function_error > 0]
    inexact = [b for b in inexact if b.norm is None or b.norm in task.running]
    done = [b for b in inexact if (b.residual is None or b.activation_only) and not needs_whole(b)]
    if not inexact or len(inexact) == len(done) == 1 or not task.held:
        return Outcome(fits)
    objective_of = partial(distillation, kernels=kernels)
    return refine_fits(task, inexact, fits, objective_of, method=DISTILLATION, note=NOTE)


def distillation(task: Refinement, *, kernels: bool = False) -> Objective:
    """Return the objective of joint distillation.

    Fits made block by block do not know what later blocks make of their errors. Here the slim model runs as
    a whole. Its hidden states behind every block's norm (its outputs, where a block has none) are drawn to
    the original's, and so are the gradients that the blocks back-propagate, for random sums of the outputs:
    slopes say more of a function than its values at a few hundred rows (Czarnecki and others 2017). Every
    other time a batch is synthetic, see `augment`.

    Parameters
    ----------
    task : Refinement
        All its blocks move.
    kernels : bool
        Whether the blocks' tangent kernels are matched too, and multiplicities move with their sum kept. Then
        the slim model trains alike under plain gradients as well as under optimizers that divide gradients
        by their size.

    Returns
    -------
    Objective
        The sum of squared relative errors of a batch. Cost: at most 700 batches (with `kernels` 1000, of
        images 2000, at normal effort) of 32 rows, or of 16 sequences, through both models, forwards and
        backwards.
    """
    draws = torch.Generator().manual_seed(task.seed)
    watched = list(dict.fromkeys(b.residual.norm for b in task.blocks if b.residual is not None))
    whole, images = any(b.residual is None for b in task.blocks), any(needs_whole(b) for b in task.blocks)
    pairs = pair_blocks(task.original, task.slim, task.blocks)
    observed = [pair.block for pair in pairs]
    parts, judges = (_batches(calls, short=bool(pairs)) for calls in (task.fit, task.held))
    mixed = [part for part in parts if augment(part, draws) is not None]
    every, learned = [*parts, *mixed, *judges], len(parts) + len(mixed)

    def loss(number: int) -> Tensor:
        draw = draws if number < learned else torch.Generator().manual_seed(task.seed + number)
        call = every[number]
        if len(parts) <= number < learned:
            call = augment(call, draw) or call
        teacher = draw if pairs else None
        wanted = read_signals(task.original, call, watched, observed, whole=whole, generator=teacher)
        graph = torch.is_grad_enabled()
        found = read_signals(task.slim, call, watched, observed, whole=whole, gradients=graph)
        errors = [spread_error(a, b) for a, b in zip(found.states, wanted.states, strict=True)]
        for pair in pairs:
            errors += block_errors(task.slim, pair, found, wanted, draw, kernels=kernels)
        return torch.stack(errors).sum()

    steps = steps_for(learned, task.effort, gradients=bool(pairs), kernels=kernels, images=images)
    return Objective(loss, learned, len(judges), steps, tuple(pairs) if kernels else ())


def _batches(calls: Sequence[Call], *, short: bool) -> list[Call]:
    return [p for call in calls for p in portions(call, SEQUENCES if short and positions_of(call) else ROWS)]


def steps_for(batches: int, effort: Effort, *, gradients: bool, kernels: bool, images: bool) -> int:
    """Return how many steps are taken: more where gradients are matched, and for images, which are cheap."""
    if gradients:
        most = effort.kernel_steps if kernels else effort.gradient_steps
        return min(effort.gradient_passes * batches, most)
    if images:
        return min(effort.image_passes * batches, effort.image_steps)
    return min(effort.state_passes * batches, effort.state_steps)
