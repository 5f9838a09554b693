"""The slim layer that computes and trains like the wide one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.fitting.aims.baselines import (
    evaluated,
    greedy_refit,
    kmeans_merge,
    nnls_outputs,
    random_subset,
)
from jlab_compress.fitting.aims.short_training import compare_trainings, short_training
from jlab_compress.fitting.criteria import EXACT, training_criteria
from jlab_compress.fitting.displacement import is_untrained, layer_displacement
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.effort import NORMAL, Effort, OnStep, step_counter
from jlab_compress.fitting.fit import Fit, check_fit
from jlab_compress.fitting.held_out import Split, split_rows
from jlab_compress.fitting.kernels.actions import kernel_error
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.nodes import error_scales, move_nodes, teacher_batches
from jlab_compress.fitting.solvers.kmeans import cluster_neurons, merge_clusters

LEAST_STEPS_SHARE = 0.2
FEW_PARAMETERS, MANY_PARAMETERS = 800, 100_000
NODE_RATE = 0.025
MOVED = "moved nodes"
PLAIN_FITS = (kmeans_merge, nnls_outputs, greedy_refit, random_subset)


def fit_dynamics(
    layer: Layer,
    inputs: Tensor,
    size: int,
    *,
    displacement: float | None = None,
    seed: int = 0,
    effort: Effort = NORMAL,
    progress: OnStep | None = None,
) -> Fit:
    """Fit `size` weighted neurons to the layer's outputs and to its tangent kernel.

    Several candidates are fitted (nodes that moved, merged clusters, weighted subsets, refits) and
    trained for a short while on synthetic targets beside the wide layer; the one that stays closest
    on held-out rows is kept.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows; at least six per kept neuron serve best.
    size : int
        Width s to keep; fewer come back where the layer has fewer distinct neurons.
    displacement : float, optional
        How far the layer's outputs are expected to move in training: 1 for logits or standardised
        targets. Where None, see `layer_displacement`.
    seed : int
        Seed of private generators: same seed, same bits.
    effort : Effort
        Steps and minibatches.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Fit
        Neurons with multiplicities, to be trained with gradients divided by them, and the criteria by
        which they train like the layer: the gap of the short training and the kernel's error.

    Raises
    ------
    ValueError
        If the size or the inputs cannot be used.
    """
    check_fit(layer, inputs, size)
    distinct, first = merge_duplicates(layer)
    if distinct.width <= size:
        exact = evaluated(distinct, layer, inputs, "exact duplicates", indices=first, seed=seed)
        return replace(exact, kernel_error=0.0, criteria=EXACT)
    start = fit_start(layer, inputs, size, displacement=displacement, seed=seed)
    return move_start(
        layer,
        inputs,
        size,
        start,
        displacement=displacement,
        seed=seed,
        effort=effort,
        progress=progress,
    )


def fit_start(
    layer: Layer, inputs: Tensor, size: int, *, displacement: float | None = None, seed: int = 0
) -> Fit:
    """Choose the weighted subset of at most `size` neurons from which they move.

    For a trained layer its multiplicities reproduce the outputs. The neurons of an untrained layer are random
    draws, and a random subset of them, all with one multiplicity, represents them without bias. Parameters
    and errors are those of `fit_dynamics`.
    """
    check_fit(layer, inputs, size)
    case = _case(merge_duplicates(layer)[0], inputs, displacement, seed)
    subset = random_subset if case.untrained else nnls_outputs
    return replace(subset(case.layer, case.inputs, size, seed=seed), indices=None)


def move_start(
    layer: Layer,
    inputs: Tensor,
    size: int,
    start: Fit,
    *,
    displacement: float | None = None,
    seed: int = 0,
    effort: Effort = NORMAL,
    progress: OnStep | None = None,
) -> Fit:
    """Move the neurons of a start from `fit_start`, and take what trains most like the wide layer.

    Parameters and what is returned are those of `fit_dynamics`.
    """
    distinct, first = merge_duplicates(layer)
    case = _case(distinct, inputs, displacement, seed)
    starts = _starts(case, start.layer, size, seed)
    moved = _moved_from(starts, case, node_steps(distinct, size, effort), seed, effort, progress)
    plain = [method(distinct, inputs, size, seed=seed) for method in PLAIN_FITS]
    held = inputs[case.split.held]
    known = [
        replace(fit, kernel_error=kernel_error(fit.layer, distinct, held, seed=seed))
        for fit in (*moved, *plain)
    ]
    best, gap = _closest_in_training(case, _unbeaten(known), seed)
    kept = None if best.indices is None else first[best.indices]
    criteria = training_criteria(training_gap=gap, kernel_error=best.kernel_error or 0.0)
    note = f"short training on synthetic targets, held-out rows: {', '.join(map(str, criteria))}"
    return replace(best, indices=kept, criteria=criteria, notes=(*best.notes, note))


@dataclass(frozen=True)
class _Case:
    """A layer without duplicates in float32, its rows and how far training will move its outputs."""

    layer: Layer
    inputs: Tensor
    split: Split
    displacement: float
    untrained: bool


def _case(layer: Layer, inputs: Tensor, displacement: float | None, seed: int) -> _Case:
    wide, rows, split = layer.to(torch.float32), inputs.float(), split_rows(len(inputs), seed)
    seen = rows[split.fit]
    expected = layer_displacement(wide, seen) if displacement is None else displacement
    return _Case(wide, rows, split, expected, is_untrained(wide, seen, expected))


def _moved_from(
    starts: Sequence[Layer], case: _Case, steps: int, seed: int, effort: Effort, progress: OnStep | None
) -> list[Fit]:
    """Return what moving nodes makes of each start; multiplicities that are all equal stay as they are."""
    seen = case.inputs[case.split.fit]
    batches = teacher_batches(
        case.layer, seen, smooth=case.untrained, seed=seed, minibatches=effort.node_batches
    )
    scales = error_scales(batches, case.displacement)
    count = step_counter(progress, len(starts) * steps)
    fits = []
    for start in starts:
        counts = start.multiplicities
        equal = bool((counts == counts[0]).all())
        slim = move_nodes(
            start, batches, scales, steps=steps, rate=NODE_RATE, fixed_counts=equal, progress=count
        )
        fits.append(evaluated(slim, case.layer, case.inputs, MOVED, seed=seed))
    return fits


def node_steps(layer: Layer, size: int, effort: Effort = NORMAL) -> int:
    """Return how many steps nodes move: fewer where few numbers are free, or where a step is expensive."""
    free = size * (sum(w.shape[1] + 1 for w in layer.incoming) + layer.outgoing.shape[1])
    share = math.sqrt(min(1.0, free / FEW_PARAMETERS, MANY_PARAMETERS / free))
    return round(effort.node_steps * max(share, LEAST_STEPS_SHARE))


def _starts(case: _Case, subset: Layer, size: int, seed: int) -> tuple[Layer, ...]:
    """Return the layers from which nodes move: merged clusters and a weighted subset, or the subset alone.

    Multiplicities are made equal where the activation allows it (as ReLU does); the subset then starts near
    enough to a trained layer that clusters are not needed.
    """
    equal = case.layer.homogeneous
    if equal and not case.untrained:
        return (subset.with_equal_multiplicities(),)
    merged = merge_clusters(case.layer, cluster_neurons(case.layer, size, seed))
    return merged.with_equal_multiplicities() if equal else merged, subset


def _unbeaten(fits: list[Fit]) -> list[Fit]:
    """Leave out plain fits that moved nodes beat both in outputs and in the tangent kernel."""

    def beats(one: Fit, other: Fit) -> bool:
        kernels = (one.kernel_error or 0.0, other.kernel_error or 0.0)
        return one.method == MOVED and one.function_error < other.function_error and kernels[0] < kernels[1]

    return [f for f in fits if f.method == MOVED or not any(beats(one, f) for one in fits)]


def _closest_in_training(case: _Case, fits: list[Fit], seed: int) -> tuple[Fit, float]:
    """Return the fit whose short training stays closest to the wide layer's, and its training gap."""
    task = short_training(case.layer, case.inputs, case.split, displacement=case.displacement, seed=seed)
    gaps = compare_trainings(case.layer, [fit.layer.to(torch.float32) for fit in fits], task)
    best = min(range(len(fits)), key=lambda i: gaps[i].output_gap + gaps[i].training_gap)
    return fits[best], gaps[best].training_gap
