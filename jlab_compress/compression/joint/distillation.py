"""Slim blocks moved together: the slim model as a whole against the states and gradients of the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from jlab_compress.compression.joint.first_step import first_step_gap
from jlab_compress.compression.joint.norm_statistics import norms_of, renew_statistics
from jlab_compress.compression.joint.refinement import (
    free_parameters,
    move_fits,
    needs_whole,
    only_free,
    running,
    spread_error,
)
from jlab_compress.compression.signals.backward import run
from jlab_compress.compression.signals.block_kernels import pairs_of
from jlab_compress.errors import in_words
from jlab_compress.execution.augmentation import augment, positions_of
from jlab_compress.execution.calls import Call
from jlab_compress.execution.progress import Progress, Step
from jlab_compress.execution.splits import portions
from jlab_compress.fitting.criteria import training_criteria
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.moving.adam import Course, move_together
from jlab_compress.inspection.block import Block

# A row of a sequence holds many positions, so fewer rows make a batch.
ROWS, SEQUENCES = 32, 16
PASSES, MOST_STEPS, MOST_WITH_KERNELS = 25, 700, 1000
IMAGE_PASSES, MOST_WITH_IMAGES = 60, 2000
POLISHED = (
    "The blocks were moved together against the original's hidden states and backward signals; errors of "
    "single blocks are from before."
)
UNJUDGED = "Whether the blocks train alike is not known, as the model cannot be differentiated: {}"
JUDGED = (
    "Blocks that were moved together are judged together. First step on a synthetic task, held-out rows: {} "
    "(SGD or Adam, the larger). Compare the trainings with validate before you rely on it."
)


def polish(
    original: nn.Module,
    slim: nn.Module,
    blocks: Sequence[Block],
    calls: Sequence[Call],
    held: Sequence[Call],
    *,
    kernels: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Course:
    """Move the neurons of all slim blocks together, in place: pass a copy.

    Fits made block by block do not know what later blocks make of their errors. Here the slim model runs
    as a whole and its hidden states behind every block's norm (its outputs, where a block has none) are
    drawn to the original's, and so are the gradients that the blocks send back, for random sums of the
    outputs: slopes say more of a function than its values at a few hundred rows (Czarnecki and others 2017).
    With `kernels` the blocks' tangent kernels are matched too, and multiplicities move with their sum kept:
    then the slim model trains alike under plain gradients as under those whose size an optimizer divides
    out. Every parameter outside of the blocks stays.

    Parameters
    ----------
    original, slim : nn.Module
        The model before, and a copy of it with slim blocks.
    blocks : sequence of Block
        Those that may move.
    calls, held : sequence of Call
        Calibration to learn from, every other time as a new exchanged view, and rows that no fit has seen,
        which judge.
    kernels : bool
        Whether the blocks should also train alike.
    seed : int
        Of the order.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Course
        The mean squared relative error on held-out rows before and after; never higher after. Cost: at
        most 700 batches (with `kernels` 1000, of images 2000) of 32 rows, or of 16 sequences, through both
        models, forwards and backwards.
    """
    draws = torch.Generator().manual_seed(seed)
    watched = list(dict.fromkeys(b.residual.norm for b in blocks if b.residual is not None))
    whole, images = any(b.residual is None for b in blocks), any(needs_whole(b) for b in blocks)
    pairs = pairs_of(original, slim, blocks)
    looked_at = [pair.block for pair in pairs]
    parts, judges = (
        [p for call in some for p in portions(call, SEQUENCES if pairs and positions_of(call) else ROWS)]
        for some in (calls, held)
    )
    mixed = [part for part in parts if augment(part, draws) is not None]
    every, learned = [*parts, *mixed, *judges], len(parts) + len(mixed)
    free = free_parameters(slim, blocks)

    def loss(number: int) -> Tensor:
        draw = draws if number < learned else torch.Generator().manual_seed(seed + number)
        call = every[number]
        if len(parts) <= number < learned:
            call = augment(call, draw) or call
        wanted = run(original, call, watched, looked_at, whole=whole, generator=draw if pairs else None)
        found = run(slim, call, watched, looked_at, whole=whole, gradients=torch.is_grad_enabled())
        errors = [spread_error(a, b) for a, b in zip(found.states, wanted.states, strict=True)]
        for pair in pairs:
            errors += pair.errors(found, wanted, draw, kernels=kernels)
        return torch.stack(errors).sum()

    with only_free(slim, free):
        numbers = range(len(every))
        course = move_together(
            free,
            loss,
            numbers[:learned],
            numbers[learned:],
            logs=[pair.logs for pair in pairs] if kernels else (),
            steps=steps_for(learned, pairs=bool(pairs), kernels=kernels, images=images),
            seed=seed,
            progress=progress,
        )
    for pair in pairs if kernels else ():
        pair.recount()
    if course.helped:
        renew_statistics(slim, norms_of(blocks), calls)
    return course


def steps_for(batches: int, *, pairs: bool, kernels: bool, images: bool) -> int | None:
    """Return how many steps blocks are moved together, None for as many as `move_together` takes.

    More where nothing else moves them: with backward signals to match, and channels, which are cheap to run.
    """
    if pairs:
        return min(PASSES * batches, MOST_WITH_KERNELS if kernels else MOST_STEPS)
    return min(IMAGE_PASSES * batches, MOST_WITH_IMAGES) if images else None


def polish_fits(
    original: nn.Module,
    slim: nn.Module,
    blocks: list[Block],
    fits: dict[str, Fit],
    calls: tuple[list[Call], list[Call]],
    *,
    kernels: bool,
    seed: int,
    progress: Progress,
) -> tuple[str, ...]:
    """Move the inexact blocks of `slim` together by `polish`, in place; return the note on it.

    Neurons of one block move only in a residual stream or if the block `needs_whole`; elsewhere its own fit
    has done all. `calls` are those that the fits saw and those that they did not, which judge. Entries of
    `fits` that moved no longer name kept neurons.
    """
    inexact = [block for block in blocks if fits[block.name].function_error > 0]
    if inexact:
        ran = running(slim, calls[0][0])
        inexact = [block for block in inexact if block.norm is None or block.norm in ran]
    done = [b for b in inexact if (b.residual is None or b.activation_only) and not needs_whole(b)]
    if not inexact or len(inexact) == len(done) == 1 or not calls[1]:
        return ()

    def move(moved: nn.Module, step: Step) -> Course:
        return polish(original, moved, inexact, *calls, kernels=kernels, seed=seed, progress=step)

    return move_fits(slim, inexact, fits, move, POLISHED, progress)


def judge(
    original: nn.Module,
    slim: nn.Module,
    fits: dict[str, Fit],
    calls: list[Call],
    held: list[Call],
    *,
    seed: int,
) -> tuple[str, ...]:
    """Say of all fits at once, in place, whether they train alike; return the note on it."""
    try:
        step = first_step_gap(original, slim, calls, held, seed=seed)
    except RuntimeError as error:
        return (UNJUDGED.format(in_words(error)),)
    if step is None:
        return ()
    criteria = training_criteria(training_gap=step)
    fits |= {name: replace(fit, criteria=criteria) for name, fit in fits.items()}
    return (JUDGED.format(", ".join(map(str, criteria))),)
