"""What a width will cost, before any surgery."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jlab_compress.fitting.aims.function import fit_function
from jlab_compress.fitting.displacement import is_untrained, layer_displacement
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.effort import NORMAL, Effort
from jlab_compress.fitting.fit import check_fit
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.fitting.forecast.subset_curve import subset_curve
from jlab_compress.fitting.held_out import Split, relative_error, split_rows
from jlab_compress.fitting.kernels.actions import kernel_error
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.nodes import error_scales, move_nodes, teacher_batches
from jlab_compress.fitting.post_norm import PostNormMap
from jlab_compress.fitting.solvers.kmeans import cluster_neurons, merge_clusters
from jlab_compress.fitting.solvers.least_squares import LEAST_SQUARES_RIDGE
from jlab_compress.fitting.solvers.pursuit import greedy_columns

TRIAL_WIDTH, FUNCTION_TRIAL_WIDTH = 32, 16
TRIAL_RATE = 0.05
CURVE_ROWS, TRIAL_ROWS, ERROR_ROWS = 256, 2048, 512


def predict_function(
    layer: Layer,
    rows: FitRows,
    widths: Sequence[int],
    *,
    kernel: bool = True,
    seed: int = 0,
    effort: Effort = NORMAL,
) -> Forecast:
    """Forecast the function error of `fit_function` against width, with a trial fit of 16 neurons only.

    One greedy pass over the activations gives the refit error on held-out rows at every width, and the trial
    fit what moving neurons gains; the gain fades to nothing at the whole width, in proportion to log s.

    Parameters
    ----------
    layer : Layer
        n neurons.
    rows : FitRows
        Calibration rows; errors are those of the layer's own outputs, behind the norm.
    widths : sequence of int
        Widths to forecast, each between 1 and n.
    kernel : bool
        Whether kernel errors are wanted: those of `predict_dynamics`; they are NaN otherwise.
    seed : int
        Seed of private generators.
    effort : Effort
        Of the trial fits.

    Returns
    -------
    Forecast
        Within a factor of two of what the fits then reach in nearly all cases of `benchmarks/forecasts.py`.
        Cost: O(q n^2) for all widths, and about a second for the trial fit.

    Raises
    ------
    ValueError
        If a width or the inputs cannot be used.
    """
    for width in widths:
        check_fit(layer, rows.inputs, width)
    kernels = (math.nan,) * len(widths)
    if kernel:
        kernels = predict_dynamics(layer, rows.inputs, widths, seed=seed, effort=effort).kernel_errors
    wide, x, post_norm = layer.to(torch.float64), rows.inputs.double(), rows.post_norm
    trial = min(FUNCTION_TRIAL_WIDTH, max(1, layer.width // 2))
    *refits, there = _refit_errors(wide, x, split_rows(len(x), seed), [*widths, trial], post_norm)
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:TRIAL_ROWS]
    few = FitRows(x[some], post_norm=post_norm.at(some))
    reached = fit_function(wide, few, trial, seed=seed, effort=effort).function_error
    n, gain = layer.width, min(1.0, reached / max(there, 1e-12))
    fading = [min(1.0, math.log(n / s) / max(1e-12, math.log(n / trial))) for s in widths]
    function = tuple(error * gain**share for error, share in zip(refits, fading, strict=True))
    return Forecast(tuple(widths), function, kernels)


def _refit_errors(
    layer: Layer, inputs: Tensor, split: Split, widths: Sequence[int], post_norm: PostNormMap
) -> list[float]:
    """Return the expected held-out function error at each width, from one greedy choice of columns.

    With h = Q L' on the chosen columns, in their order, the first s columns of Q are those of the best s:
    one triangular factor holds the least-squares refits of all widths.
    """
    hidden, outputs = layer.hidden(inputs), layer(inputs)
    h, f = hidden[split.fit], outputs[split.fit]
    centre, level = h.mean(dim=0), f.mean(dim=0)
    order = greedy_columns(h - centre, f - level, max((s for s in widths if s < layer.width), default=1))
    chosen = (hidden - centre)[:, order]
    gram = chosen[split.fit].T @ chosen[split.fit]
    tiny = torch.finfo(gram.dtype).tiny
    gram.diagonal().add_(LEAST_SQUARES_RIDGE * gram.diagonal().mean().clamp_min(tiny))
    factor = torch.linalg.cholesky(gram)
    basis = torch.linalg.solve_triangular(factor, chosen.T, upper=False)
    parts = basis[:, split.fit] @ (f - level)
    wanted = post_norm(outputs[split.held], split.held)
    errors = []
    for s in widths:
        refitted = basis[:s, split.held].T @ parts[:s] + level
        error = relative_error(post_norm(refitted, split.held), wanted)
        errors.append(0.0 if s == layer.width else error)
    return errors


def predict_dynamics(
    layer: Layer, inputs: Tensor, widths: Sequence[int], *, seed: int = 0, effort: Effort = NORMAL
) -> Forecast:
    """Forecast both errors of `fit_dynamics` against width, with a trial fit of 32 neurons only.

    They are the errors of the best weighted subsets, times the ratio of the trial fit's errors to these.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows.
    widths, seed, effort
        As in `predict_function`.

    Returns
    -------
    Forecast
        Within a factor of two as in `predict_function`. Cost: O(16 * 256 n^2) for all widths, and one or two
        seconds for the trial fit.

    Raises
    ------
    ValueError
        If a width or the inputs cannot be used.
    """
    for width in widths:
        check_fit(layer, inputs, width)
    split = split_rows(len(inputs), seed)
    wide, x = merge_duplicates(layer)[0].to(torch.float64), inputs.double()
    generator = torch.Generator().manual_seed(seed)
    fit, held = (x[part[torch.randperm(len(part), generator=generator)]] for part in (split.fit, split.held))
    trial = min(TRIAL_WIDTH, max(1, wide.width // 2))
    narrow = sorted({s for s in (*widths, trial) if s < wide.width})
    displacement = layer_displacement(wide, fit[:CURVE_ROWS])
    curve = subset_curve(
        wide, fit[:CURVE_ROWS], held[:CURVE_ROWS], max(narrow, default=1), displacement=displacement
    )
    least = dict(zip(narrow, curve.errors(narrow), strict=True))
    reached = _trial_errors(wide, fit, held[:ERROR_ROWS], trial, seed, effort)
    at_trial = least.get(trial, (1.0, 1.0))
    function, kernels = (
        _falling([(reached[part] / max(at_trial[part], 1e-12)) * least[s][part] for s in narrow])
        for part in (0, 1)
    )
    by_width = {s: errors for s, *errors in zip(narrow, function, kernels, strict=True)}
    pairs = [by_width.get(s, [0.0, 0.0]) for s in widths]
    return Forecast(tuple(widths), tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))


def _falling(values: list[float]) -> list[float]:
    """Return the least value so far at each place, so that errors never rise with the width.

    Examples
    --------
    >>> _falling([3.0, 1.0, 2.0])
    [3.0, 1.0, 1.0]
    """
    return [min(values[: i + 1]) for i in range(len(values))]


def _trial_errors(
    layer: Layer, fit: Tensor, held: Tensor, size: int, seed: int, effort: Effort
) -> tuple[float, float]:
    """Return the held-out errors of outputs and kernel that a few moved nodes reach."""
    wide, rows = layer.to(torch.float32), fit.float()
    displacement = layer_displacement(wide, rows)
    smooth = is_untrained(wide, rows, displacement)
    batches = teacher_batches(wide, rows, smooth=smooth, seed=seed, minibatches=effort.trial_batches)
    scales = error_scales(batches, displacement)
    start = merge_clusters(wide, cluster_neurons(wide, size, seed))
    equal = wide.homogeneous
    start = start.with_equal_multiplicities() if equal else start
    steps = effort.trial_steps
    slim = move_nodes(start, batches, scales, steps=steps, rate=TRIAL_RATE, fixed_counts=equal)
    slim = slim.to(held.dtype)
    return relative_error(slim(held), layer(held)), kernel_error(slim, layer, held, seed=seed)
