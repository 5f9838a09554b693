"""The slim layer that computes and trains like the wide one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.fitting.baselines import greedy_refit, judged, kmeans_merge, nnls_outputs, random_subset
from jlab_compress.fitting.clustering import cluster_neurons, merge_clusters
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.kernel import kernel_actions
from jlab_compress.fitting.layer import Fit, Layer
from jlab_compress.fitting.moved_nodes import Answers, ask, expected_movement, move_nodes, normalisers
from jlab_compress.fitting.rows import Progress, Split, check_fit, counter, relative_error, split_rows
from jlab_compress.fitting.simulation import compare, make_course

FOLLOWS_BELOW = 0.25
STEPS = (1000, 700, 300)
MOVED = "moved nodes"
PLAIN = (kmeans_merge, nnls_outputs, greedy_refit, random_subset)


def fit_dynamics(
    layer: Layer,
    inputs: Tensor,
    size: int,
    *,
    movement: float | None = None,
    seed: int = 0,
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
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Fit
        Neurons with multiplicities, to be trained with gradients divided by them; `follows` is the
        forecast from the short training.

    Raises
    ------
    ValueError
        If the size or the inputs cannot be used.
    """
    check_fit(layer, inputs, size)
    distinct = merge_duplicates(layer)
    if distinct.width <= size:
        exact = judged(distinct, layer, inputs, "exact duplicates", seed=seed)
        return replace(exact, kernel_error=0.0, follows=True)
    case = Case.make(distinct, inputs, movement, seed)
    count = counter(progress, 2 * STEPS[0] + STEPS[2])
    moved = [fit(case, size, count) for fit in moving_fits(case)]
    plain = [method(distinct, inputs, size, seed=seed) for method in PLAIN]
    best, follows, note = closest_in_training(case, [*moved, *plain])
    error = kernel_error(best.layer, distinct, inputs[case.split.held], seed=seed)
    judgement = replace(best, kernel_error=error, follows=follows, notes=(*best.notes, note))
    if best.method != MOVED:
        return judgement
    layer_dtype = layer.outgoing.dtype
    return replace(judgement, layer=polish(case, best.layer, count).to(layer_dtype))


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
    seed : int
        Seed of private generators.
    """

    layer: Layer
    inputs: Tensor
    split: Split
    movement: float
    seed: int

    @staticmethod
    def make(layer: Layer, inputs: Tensor, movement: float | None, seed: int) -> Case:
        """Convert to float32 and estimate the movement unless it is given."""
        wide, rows, split = layer.to(torch.float32), inputs.float(), split_rows(len(inputs), seed)
        expected = expected_movement(wide, rows[split.fit]) if movement is None else movement
        return Case(wide, rows, split, expected, seed)

    def questions(self, rows: Tensor) -> tuple[list[Answers], list[Tensor]]:
        """Ask the wide layer on these rows; return its answers and what errors are divided by."""
        answers = ask(self.layer, self.inputs[rows], seed=self.seed)
        return answers, normalisers(answers, self.movement)

    def judged(self, slim: Layer) -> Fit:
        """Return moved nodes with their function error on the held-out rows."""
        return judged(slim, self.layer, self.inputs, MOVED, seed=self.seed)


def moving_fits(case: Case) -> tuple[Callable[[Case, int, Callable[[], None]], Fit], ...]:
    """Choose two starts: at initialisation neurons are draws, and a draw of them is the fairest start."""
    outputs = case.layer(case.inputs[case.split.fit])
    untrained = case.movement > float(outputs.square().mean().sqrt())
    return (near_clusters, near_draw) if untrained else (near_clusters, far_from_subset)


def near_clusters(case: Case, size: int, count: Callable[[], None]) -> Fit:
    """Move merged clusters, match a sign-like step too, stay near the start: for training with Adam."""
    merged = merge_clusters(case.layer, cluster_neurons(case.layer, size, case.seed))
    return move_a_little(case, equal_counts(merged) if is_homogeneous(case.layer) else merged, count)


def near_draw(case: Case, size: int, count: Callable[[], None]) -> Fit:
    """Move a random subset in which all neurons count the same, and stay near it."""
    return move_a_little(case, random_subset(case.layer, case.inputs, size, seed=case.seed).layer, count)


def move_a_little(case: Case, start: Layer, count: Callable[[], None]) -> Fit:
    """Move nodes at a low rate, sign-like steps included; equal counts stay as they are."""
    answers, scales = case.questions(case.split.fit)
    equal = bool((start.multiplicities == start.multiplicities[0]).all())
    return case.judged(
        move_nodes(start, answers, scales, steps=STEPS[0], rate=0.025, fixed_counts=equal, progress=count)
    )


def far_from_subset(case: Case, size: int, count: Callable[[], None]) -> Fit:
    """Move a counted subset freely: for gradient descent."""
    start = nnls_outputs(case.layer, case.inputs, size, seed=case.seed).layer
    answers, scales = case.questions(case.split.fit)
    return case.judged(
        move_nodes(start, answers, scales, steps=STEPS[1], rate=0.05, signed_share=0.0, progress=count)
    )


def polish(case: Case, layer: Layer, count: Callable[[], None]) -> Layer:
    """Move the nodes a little more, now on all rows, with their multiplicities as they are."""
    answers, scales = case.questions(torch.arange(len(case.inputs)))
    return move_nodes(layer, answers, scales, steps=STEPS[2], rate=0.02, fixed_counts=True, progress=count)


def closest_in_training(case: Case, fits: list[Fit]) -> tuple[Fit, bool, str]:
    """Return the fit whose short training stays closest to the wide layer's, with the forecast and a note."""
    course = make_course(case.layer, case.inputs, case.split, movement=case.movement, seed=case.seed)
    outcomes = compare(case.layer, [fit.layer.to(torch.float32) for fit in fits], course)
    best = min(range(len(fits)), key=lambda i: outcomes[i].output_gap + outcomes[i].training_gap)
    gap = outcomes[best].training_gap
    note = f"short training on made-up targets, held-out rows: training gap {gap:.3f}"
    return fits[best], gap < FOLLOWS_BELOW, note


def is_homogeneous(layer: Layer) -> bool:
    """Tell whether act(t z) = t act(z) for t > 0, as for ReLU: then counts can be made equal."""
    z = torch.linspace(-3, 3, 61, dtype=layer.outgoing.dtype)[:, None]
    parts = [z] * len(layer.incoming)
    return len(parts) == 1 and torch.allclose(layer.activation(2 * z), 2 * layer.activation(z), atol=1e-6)


def equal_counts(layer: Layer) -> Layer:
    """Return the same function, and the same gradient descent, with all multiplicities equal.

    For positively homogeneous activations (w, b, v, c) and (w/t, b/t, v/t, c t^2) are the same neuron.
    """
    c = layer.multiplicities
    root = (c / c.mean()).sqrt()
    return replace(
        layer,
        incoming=tuple(w * root[:, None] for w in layer.incoming),
        biases=tuple(None if b is None else b * root for b in layer.biases),
        outgoing=layer.outgoing * root[:, None],
        multiplicities=torch.full_like(c, float(c.mean())),
    )


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
