"""The slim layer that computes and trains like the wide one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from jlab_compress.fitting.baselines import greedy_refit, judged, kmeans_merge, nnls_outputs, random_subset
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.kernel import kernel_actions
from jlab_compress.fitting.layer import Fit, Layer
from jlab_compress.fitting.moved_nodes import STEPS, ask, move_nodes
from jlab_compress.fitting.rows import check_fit, relative_error, split_rows
from jlab_compress.fitting.simulation import compare, make_course, train_on

Progress = Callable[[int, int], None]

FOLLOWS_BELOW = 0.25


def fit_dynamics(
    layer: Layer,
    inputs: Tensor,
    size: int,
    *,
    movement: float | None = None,
    seed: int = 0,
    steps: int = STEPS,
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
        targets, decisive for a network at initialisation. The outputs' own rms where None.
    seed : int
        Seed of private generators: same seed, same bits.
    steps : int
        Adam steps shared by the moved-node fits.
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
    fits = candidates(distinct, inputs, size, movement=movement, seed=seed, steps=steps, progress=progress)
    return closest_in_training(distinct, inputs, fits, movement=movement, seed=seed)


def candidates(
    layer: Layer,
    inputs: Tensor,
    size: int,
    *,
    movement: float | None,
    seed: int,
    steps: int,
    progress: Progress | None,
) -> list[Fit]:
    """Fit every candidate for the slim layer; the moved ones start from clusters and from a subset."""
    plain = [
        method(layer, inputs, size, seed=seed)
        for method in (kmeans_merge, nnls_outputs, greedy_refit, random_subset)
    ]
    rows = inputs[split_rows(len(inputs), seed).fit].float()
    answers = ask(layer.to(torch.float32), rows, seed=seed)
    starts, done = plain[:2], 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(starts) * steps_each)

    steps_each = max(1, steps // len(starts))
    moved = [
        move_nodes(
            start.layer.to(torch.float32), answers, movement=movement, steps=steps_each, progress=count
        )
        for start in starts
    ]
    return [*(judged(m, layer, inputs, "moved nodes", seed=seed) for m in moved), *plain]


def closest_in_training(
    layer: Layer, inputs: Tensor, fits: list[Fit], *, movement: float | None, seed: int
) -> Fit:
    """Return the candidate whose short training stays closest to the wide layer's, with the verdict."""
    split = split_rows(len(inputs), seed)
    wide, rows = layer.to(torch.float32), inputs.float()
    course = make_course(wide, rows, split, movement=movement, seed=seed)
    after = train_on(wide, course)
    outcomes = [compare(wide, after, fit.layer.to(torch.float32), course) for fit in fits]
    best = min(range(len(fits)), key=lambda i: outcomes[i].output_gap + outcomes[i].training_gap)
    error = kernel_error(fits[best].layer, layer, inputs[split.held], seed=seed)
    follows = outcomes[best].training_gap < FOLLOWS_BELOW
    note = f"short training on made-up targets: training gap {outcomes[best].training_gap:.3f}"
    return replace(fits[best], kernel_error=error, follows=follows, notes=(*fits[best].notes, note))


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
    _, *mine = kernel_actions(slim.to(x.dtype), x, residuals.to(x))
    _, *theirs = kernel_actions(layer.to(x.dtype), x, residuals.to(x))
    errors = [relative_error(a, b) for a, b in zip(mine, theirs, strict=True)]
    return float((sum(e**2 for e in errors) / len(errors)) ** 0.5)
