"""The slim layer that computes most like the wide one, for models that are not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jlab_compress.fitting.effort import NORMAL, Effort, OnStep, step_counter
from jlab_compress.fitting.fit import Fit, check_fit
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.held_out import relative_error, split_rows
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.output_adam import move_by_adam
from jlab_compress.fitting.moving.variable_projection import mixed_rows, move_by_projection
from jlab_compress.fitting.post_norm import importance_weighted
from jlab_compress.fitting.solvers.least_squares import least_squares
from jlab_compress.fitting.solvers.pursuit import greedy_columns

FEWEST_EVALUATIONS = 20
FIRST_SHARE, LAST_SHARE = 0.6, 0.4
REFITTED = "errors are from before a last fit on all calibration rows"


def fit_function(
    layer: Layer,
    rows: FitRows,
    size: int,
    *,
    seed: int = 0,
    effort: Effort = NORMAL,
    progress: OnStep | None = None,
) -> Fit:
    """Fit `size` neurons to the layer's outputs; their training is not looked at.

    Neurons are chosen greedily and refitted, then all of them move: small layers by variable
    projection, large ones and those that a norm follows by Adam. Moved nodes are kept only
    where they are better on held-out rows.

    Parameters
    ----------
    layer : Layer
        n neurons.
    rows : FitRows
        Calibration rows, as the slim network will see them, and what outputs should be there.
    size : int
        Width s to keep.
    seed : int
        Seed of private generators: same seed, same bits.
    effort : Effort
        Evaluations, steps and mixed rows.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Fit
        Never worse on the held-out rows than greedy selection with refit. With a norm behind the layer the
        function error is that behind the norm.

    Raises
    ------
    ValueError
        If the size or the rows cannot be used.
    """
    start = fit_subset(layer, rows, size, seed=seed)
    return move_subset(layer, rows, start, seed=seed, effort=effort, progress=progress)


def move_subset(
    layer: Layer,
    rows: FitRows,
    start: Fit,
    *,
    seed: int = 0,
    effort: Effort = NORMAL,
    progress: OnStep | None = None,
) -> Fit:
    """Move the neurons that `fit_subset` chose on the same rows with the same seed, as `fit_function` does.

    Returns
    -------
    Fit
        The start itself where moving does not lower the error on held-out rows.
    """
    assert start.indices is not None
    subset = _fitted(layer, rows.completed(layer), start.indices, seed)
    if subset.error == 0:
        return start
    moves = _plan_moves(layer, rows, len(start.indices), effort, seed)
    count = step_counter(progress, moves.steps)
    moved = _move(subset.layer, subset.rows, subset.seen, moves, FIRST_SHARE, count)
    error = _held_out_error(moved, subset.rows, subset.held)
    if error < subset.error:
        final = _move(moved, subset.rows, subset.real, moves, LAST_SHARE, count)
        return Fit(final.to(layer.outgoing.dtype), None, "moved nodes", error, notes=(REFITTED,))
    return start


def fit_subset(layer: Layer, rows: FitRows, size: int, *, seed: int = 0) -> Fit:
    """Choose `size` neurons greedily and refit what they write; nothing moves.

    Parameters, errors and the meaning of the function error are those of `fit_function`.

    Returns
    -------
    Fit
        Untouched incoming weights, every neuron counted once.
    """
    check_fit(layer, rows.inputs, size)
    full = rows.completed(layer)
    indices = _chosen(layer.to(torch.float64), full, split_rows(full.n_real, seed).fit, size)
    subset = _fitted(layer, full, indices, seed)
    final = _refit(subset.layer, full, subset.real).to(layer.outgoing.dtype)
    return Fit(final, indices, "greedy + refit", subset.error, notes=(REFITTED,))


def fit_weighted_subset(layer: Layer, rows: FitRows, size: int, *, seed: int = 0) -> Fit:
    """Choose and refit `size` neurons as `fit_subset` does, each counted n / s times.

    The start for blocks that are refined jointly. In a residual stream the errors of slim layers add up, and
    a single layer's tangent kernel says little of how the slim network trains; so neurons are only chosen
    here, and move later, those of all blocks together. v_j becomes v_j s / n, which leaves the function
    as it is and gives each neuron the step of the n / s copies that it stands for.

    Returns
    -------
    Fit
        Without criteria: whether it trains alike depends on all blocks together.
    """
    made = fit_subset(layer, rows, size, seed=seed)
    return replace(made, layer=with_shared_mass(made.layer, layer))


def with_shared_mass(slim: Layer, layer: Layer) -> Layer:
    """Return `slim` with equal multiplicities that add up to those of `layer`, and the same function."""
    count = float(layer.multiplicities.sum() / slim.width)
    outgoing = slim.outgoing * (slim.multiplicities / count)[:, None]
    return replace(slim, outgoing=outgoing, multiplicities=torch.full_like(slim.multiplicities, count))


@dataclass(frozen=True)
class _Subset:
    """Neurons chosen and refitted on some rows, and all rows with their targets in float64.

    `seen`, `held` and `real` are the indices of the rows to fit on, of held-out rows, and of both.
    """

    layer: Layer
    error: float
    rows: FitRows
    seen: Tensor
    held: Tensor

    @property
    def real(self) -> Tensor:
        return torch.arange(self.rows.n_real)


def _fitted(layer: Layer, rows: FitRows, indices: Tensor, seed: int) -> _Subset:
    split = split_rows(rows.n_real, seed)
    slim = _refit(layer.to(torch.float64).select(indices), rows, split.fit)
    return _Subset(slim, _held_out_error(slim, rows, split.held), rows, split.fit, split.held)


def _wanted(rows: FitRows) -> Tensor:
    assert rows.targets is not None
    return rows.targets


def _held_out_error(slim: Layer, rows: FitRows, held: Tensor) -> float:
    """Return the relative error behind the norm."""
    outputs, wanted = slim(rows.inputs[held]), _wanted(rows)[held]
    return relative_error(rows.post_norm(outputs, held), rows.post_norm(wanted, held))


def _chosen(layer: Layer, rows: FitRows, at: Tensor, size: int) -> Tensor:
    """Choose neurons greedily, where each row and each output counts as much as the norm lets it."""
    hidden, wanted = layer.hidden(rows.inputs[at]), _wanted(rows)[at]
    columns, goals = importance_weighted(hidden, wanted, rows.post_norm.importance(wanted, at), layer.biased)
    return greedy_columns(columns, goals, size).sort().values


def _refit(layer: Layer, rows: FitRows, at: Tensor) -> Layer:
    """Refit the outgoing weights and the bias of `layer`, each row weighted as the norm does."""
    wanted = _wanted(rows)[at]
    weights = rows.post_norm.importance(wanted, at).mean(dim=1)
    hidden = layer.hidden(rows.inputs[at])
    return layer.with_outgoing(*least_squares(hidden, wanted, intercept=layer.biased, weights=weights))


@dataclass(frozen=True)
class _Moves:
    """How chosen neurons move.

    Parameters
    ----------
    steps : int
        Evaluations of the projected loss, or steps of Adam.
    projected : bool
        Variable projection instead of Adam.
    teacher : Layer or None
        The wide layer in float64, which answers at mixed rows too; None where targets are known at
        calibration rows only.
    n_mixed : int
        Rows between calibration rows that variable projection fits too.
    seed : int
        Of mixed rows and minibatches.
    """

    steps: int
    projected: bool
    teacher: Layer | None
    n_mixed: int
    seed: int


def _plan_moves(layer: Layer, rows: FitRows, size: int, effort: Effort, seed: int) -> _Moves:
    """Choose variable projection where it is affordable; it depends on shapes alone, never on the clock."""
    teacher = layer.to(torch.float64) if rows.targets is None else None
    n_mixed = 0 if teacher is None else effort.mixed_rows
    n_in, n_out = layer.incoming[0].shape[1], layer.outgoing.shape[1]
    per_row = size * (2 * size + 6 * n_in * len(layer.incoming) + 4 * n_out)
    affordable = int(effort.projection_flops / (per_row * (len(rows.inputs) + n_mixed)))
    evaluations = min(effort.projection_evaluations, affordable)
    projected = rows.post_norm.norm is None and affordable >= FEWEST_EVALUATIONS
    return _Moves(evaluations if projected else effort.output_steps, projected, teacher, n_mixed, seed)


def _move(
    start: Layer, rows: FitRows, at: Tensor, moves: _Moves, share: float, count: Callable[[], None]
) -> Layer:
    """Move the neurons of `start` on the rows `at` and the synthetic ones, with this share of all steps."""
    at = torch.cat([at, torch.arange(rows.n_real, len(rows.inputs))])
    x, wanted, steps = rows.inputs[at], _wanted(rows)[at], int(share * moves.steps)
    if not moves.projected:
        behind = rows.post_norm.at(at)
        goal = rows.post_norm(wanted, at).float()
        inputs = x.float()
        moved = move_by_adam(
            start.to(torch.float32), inputs, goal, behind, steps=steps, seed=moves.seed, progress=count
        )
        return moved.to(torch.float64)
    if moves.teacher is not None:
        mixed = mixed_rows(x, moves.n_mixed, moves.seed)
        x, wanted = torch.cat([x, mixed]), torch.cat([wanted, moves.teacher(mixed)])
    moved = move_by_projection(start, x, wanted, steps=steps, progress=count)
    return _refit(moved, rows, at)
