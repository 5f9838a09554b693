"""The slim layer that computes and trains like the wide one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.fitting.aims.baselines import (
    greedy_refit,
    judged,
    kmeans_merge,
    nnls_outputs,
    random_subset,
)
from jlab_compress.fitting.aims.rehearsal import compare, make_course
from jlab_compress.fitting.criteria import EXACT, training_criteria
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.effort import NORMAL, Effort
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.kernels.actions import kernel_actions
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.nodes import Answers, ask, expected_movement, move_nodes, normalisers
from jlab_compress.fitting.row_split import Progress, Split, check_fit, counter, relative_error, split_rows
from jlab_compress.fitting.solvers.kmeans import cluster_neurons, merge_clusters

LEAST_SHARE = 0.2
FEW, MANY = 800, 100_000
RATE = 0.025
MOVED = "moved nodes"
PLAIN = (kmeans_merge, nnls_outputs, greedy_refit, random_subset)


def fit_dynamics(
    layer: Layer,
    inputs: Tensor,
    size: int,
    *,
    movement: float | None = None,
    seed: int = 0,
    effort: Effort = NORMAL,
    progress: Progress | None = None,
) -> Fit:
    """Fit `size` weighted neurons to the layer's outputs and to its tangent kernel.

    Several candidates are fitted (nodes that moved, merged clusters, counted subsets, refits) and
    trained for a short while on made-up targets beside the wide layer; the one that stays closest
    on held-out rows is kept.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows; at least six per kept neuron serve best.
    size : int
        Width s to keep; fewer come back where the layer has fewer distinct neurons.
    movement : float, optional
        How far the layer's outputs are expected to move in training: 1 for logits or standardised
        targets. Where None it is judged from how far the outputs are from random sums.
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
    distinct = merge_duplicates(layer)
    if distinct.width <= size:
        exact = judged(distinct, layer, inputs, "exact duplicates", seed=seed)
        return replace(exact, kernel_error=0.0, criteria=EXACT)
    case = Case.make(distinct, inputs, movement, seed, effort)
    starts, steps = starts_for(case, size), steps_for(distinct, size, effort)
    count = counter(progress, len(starts) * steps)
    moved = [case.moved(start, steps, count) for start in starts]
    plain = [method(distinct, inputs, size, seed=seed) for method in PLAIN]
    held = inputs[case.split.held]
    known = [
        replace(fit, kernel_error=kernel_error(fit.layer, distinct, held, seed=seed))
        for fit in (*moved, *plain)
    ]
    best, gap = closest_in_training(case, unbeaten(known))
    error = best.kernel_error or 0.0
    criteria = training_criteria(training_gap=gap, kernel_error=error)
    note = f"short training on synthetic targets, held-out rows: {', '.join(map(str, criteria))}"
    return replace(best, criteria=criteria, notes=(*best.notes, note))


def steps_for(layer: Layer, size: int, effort: Effort = NORMAL) -> int:
    """Return how many steps nodes are moved: fewer where few numbers are free, or where a step is dear."""
    free = size * (sum(w.shape[1] + 1 for w in layer.incoming) + layer.outgoing.shape[1])
    share = math.sqrt(min(1.0, free / FEW, MANY / free))
    return round(effort.node_steps * max(share, LEAST_SHARE))


@dataclass(frozen=True)
class Case:
    """One layer to be fitted: what the fits see, and what they are judged on.

    Parameters
    ----------
    layer : Layer
        The wide layer in float32, without duplicates.
    inputs : Tensor (q, n_in)
        All calibration rows.
    split : Split
        Rows to fit on and rows to judge on.
    movement : float
        How far the outputs are expected to move.
    untrained : bool
        Whether the outputs still mean little against how far they will move.
    answers, scales : list
        What the wide layer answers on the rows to fit on, and what errors are divided by.
    seed : int
        Seed of private generators.
    """

    layer: Layer
    inputs: Tensor
    split: Split
    movement: float
    untrained: bool
    answers: list[Answers]
    scales: list[Tensor]
    seed: int

    @staticmethod
    def make(
        layer: Layer, inputs: Tensor, movement: float | None, seed: int, effort: Effort = NORMAL
    ) -> Case:
        """Convert to float32, estimate the movement unless it is given, and ask the wide layer once."""
        wide, rows, split = layer.to(torch.float32), inputs.float(), split_rows(len(inputs), seed)
        seen = rows[split.fit]
        expected = expected_movement(wide, seen) if movement is None else movement
        untrained = is_untrained(wide, seen, expected)
        answers = ask(wide, seen, smooth=untrained, seed=seed, minibatches=effort.node_batches)
        return Case(wide, rows, split, expected, untrained, answers, normalisers(answers, expected), seed)

    def moved(self, start: Layer, steps: int, count: Callable[[], None]) -> Fit:
        """Move nodes from a start; multiplicities that are all equal stay as they are."""
        counts = start.multiplicities
        equal = bool((counts == counts[0]).all())
        slim = move_nodes(
            start, self.answers, self.scales, steps=steps, rate=RATE, fixed_counts=equal, progress=count
        )
        return judged(slim, self.layer, self.inputs, MOVED, seed=self.seed)


def is_untrained(layer: Layer, inputs: Tensor, movement: float) -> bool:
    """Tell whether the outputs still mean little against how far they will move."""
    return movement > float(layer(inputs).square().mean().sqrt())


def starts_for(case: Case, size: int) -> tuple[Layer, ...]:
    """Return the starts for moving nodes: merged clusters, and a subset of neurons.

    The subset's counts reproduce the outputs of a trained layer; at initialisation neurons are draws, and
    a draw of them is fairest. Where the activation lets counts be made equal they are, and then the
    subset alone serves a trained layer.
    """
    subset = random_subset if case.untrained else nnls_outputs
    chosen = subset(case.layer, case.inputs, size, seed=case.seed).layer
    equal = is_homogeneous(case.layer)
    if equal and not case.untrained:
        return (equal_counts(chosen),)
    merged = merge_clusters(case.layer, cluster_neurons(case.layer, size, case.seed))
    return equal_counts(merged) if equal else merged, chosen


def unbeaten(fits: list[Fit]) -> list[Fit]:
    """Leave out plain fits that moved nodes beat both in outputs and in the tangent kernel."""

    def beats(one: Fit, other: Fit) -> bool:
        kernels = (one.kernel_error or 0.0, other.kernel_error or 0.0)
        return one.method == MOVED and one.function_error < other.function_error and kernels[0] < kernels[1]

    return [f for f in fits if f.method == MOVED or not any(beats(one, f) for one in fits)]


def closest_in_training(case: Case, fits: list[Fit]) -> tuple[Fit, float]:
    """Return the fit whose short training stays closest to the wide layer's, and its training gap."""
    course = make_course(case.layer, case.inputs, case.split, movement=case.movement, seed=case.seed)
    outcomes = compare(case.layer, [fit.layer.to(torch.float32) for fit in fits], course)
    best = min(range(len(fits)), key=lambda i: outcomes[i].output_gap + outcomes[i].training_gap)
    return fits[best], outcomes[best].training_gap


def is_homogeneous(layer: Layer) -> bool:
    """Tell whether act(t z) = t act(z) for t > 0, as for ReLU: then counts can be made equal."""
    z = torch.linspace(-3, 3, 61, dtype=layer.outgoing.dtype)[:, None]
    parts = [z] * len(layer.incoming)
    return len(parts) == 1 and torch.allclose(layer.activation(2 * z), 2 * layer.activation(z), atol=1e-6)


def equal_counts(layer: Layer) -> Layer:
    """Return the same function, and the same gradient descent, with all multiplicities equal."""
    c = layer.multiplicities
    return layer.regauged(torch.full_like(c, float(c.mean())))


def kernel_error(slim: Layer, layer: Layer, inputs: Tensor, *, seed: int = 0, n_probes: int = 4) -> float:
    """Return the relative error of the tangent kernel's action on fresh white probes.

    Parameters
    ----------
    slim, layer : Layer
        The layer to judge and the wide one.
    inputs : Tensor (q, n_in)
        Held-out rows.
    seed : int
        Seed of a private generator.
    n_probes : int
        Number P of probes.

    Returns
    -------
    float
        Root mean square of the relative errors of the two parts of the kernel.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    x = inputs.double()
    residuals = torch.randn(n_probes, len(x), layer.outgoing.shape[1], generator=generator, dtype=x.dtype)
    mine = kernel_actions(slim.to(x.dtype), x, residuals.to(x))
    theirs = kernel_actions(layer.to(x.dtype), x, residuals.to(x))
    errors = [relative_error(a, b) for a, b in zip(mine, theirs, strict=True)]
    return float((sum(e**2 for e in errors) / len(errors)) ** 0.5)
