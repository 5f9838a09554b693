"""What a width will cost, before any surgery."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.aims.dynamics import equal_counts, is_homogeneous, is_untrained, kernel_error
from jlab_compress.fitting.aims.function import fit_function
from jlab_compress.fitting.duplicates import merge_duplicates
from jlab_compress.fitting.effort import NORMAL, Effort
from jlab_compress.fitting.forecast.subset_curve import ROWS, Spectrum
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.nodes import ask, expected_movement, move_nodes, normalisers
from jlab_compress.fitting.moving.readout import Readout
from jlab_compress.fitting.row_split import Split, check_fit, relative_error, split_rows
from jlab_compress.fitting.solvers.kmeans import cluster_neurons, merge_clusters
from jlab_compress.fitting.solvers.least_squares import RIDGE, greedy_columns

TRIAL_WIDTH, FUNCTION_TRIAL_WIDTH = 32, 16
TRIAL_RATE = 0.05
TRIAL_ROWS, JUDGED_ROWS = 2048, 512

Pair = tuple[float, float]


@dataclass(frozen=True)
class Forecast:
    """Expected errors on held-out rows at several widths.

    Parameters
    ----------
    widths : tuple of int
        Widths s, as they were asked for.
    function_errors : tuple of float
        Expected ||f_slim - f|| / ||f||.
    kernel_errors : tuple of float
        Expected relative error of the tangent kernel's action; what training will suffer.
    """

    widths: tuple[int, ...]
    function_errors: tuple[float, ...]
    kernel_errors: tuple[float, ...]


def predict_errors(
    layer: Layer,
    inputs: Tensor,
    widths: Sequence[int],
    *,
    stream: Tensor | None = None,
    readout: Callable[[Tensor], Tensor] | None = None,
    kernel: bool = True,
    dynamics: bool = False,
    seed: int = 0,
    effort: Effort = NORMAL,
) -> Forecast:
    """Forecast function and kernel error against width, with trial fits of a few nodes only.

    The spectrum gives the shape of the curve, a trial fit its level. For the function: one greedy pass over
    the activations gives the refit error on held-out rows at every width, and a fit of 16 nodes what moving
    them gains; the gain fades to nothing at the whole width, in proportion to log s. For the dynamics: the
    best counted subsets of all sizes give outputs and tangent kernel at every width, and a fit of 32 nodes
    how far fits are from these.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows.
    widths : sequence of int
        Widths to forecast, each between 1 and n.
    stream, readout
        As in `fit_function`: function errors are then those behind the readout.
    kernel : bool
        Whether kernel errors are wanted; they are NaN otherwise.
    dynamics : bool
        Whether function errors are to be those of `fit_dynamics` instead of `fit_function`.
    seed : int
        Seed of private generators.
    effort : Effort
        Of the trial fits.

    Returns
    -------
    Forecast
        Within a factor of two of what the fits then reach in nearly all cases of `benchmarks/forecasts.py`.
        Cost: O((q + 16 * 256) n^2) for all widths, and one or two seconds for the trial fits.

    Raises
    ------
    ValueError
        If a width or the inputs cannot be used.
    """
    for width in widths:
        check_fit(layer, inputs, width)
    split, unknown = split_rows(len(inputs), seed), (math.nan,) * len(widths)
    function, kernels = unknown, unknown
    if kernel or dynamics:
        function, kernels = dynamics_errors(layer, inputs, split, widths, seed, effort)
    if not dynamics:
        behind = Readout(stream, readout)
        function = function_errors(layer, inputs, split, widths, behind, seed, effort)
    return Forecast(tuple(widths), function, kernels)


def function_errors(
    layer: Layer,
    inputs: Tensor,
    split: Split,
    widths: Sequence[int],
    readout: Readout,
    seed: int,
    effort: Effort = NORMAL,
) -> tuple[float, ...]:
    """Return the expected errors of `fit_function`: those of refits, times what moving the nodes gains."""
    wide, x = layer.to(torch.float64), inputs.double()
    n, trial = layer.width, min(FUNCTION_TRIAL_WIDTH, max(1, layer.width // 2))
    *refits, there = refit_errors(wide, x, split, [*widths, trial], readout)
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:TRIAL_ROWS]
    stream = None if readout.stream is None else readout.stream[rows]
    reached = fit_function(
        wide, x[rows], trial, stream=stream, readout=readout.transform, seed=seed, effort=effort
    )
    gain = min(1.0, reached.function_error / max(there, 1e-12))
    fading = [min(1.0, math.log(n / s) / max(1e-12, math.log(n / trial))) for s in widths]
    return tuple(error * gain**share for error, share in zip(refits, fading, strict=True))


def refit_errors(
    layer: Layer, inputs: Tensor, split: Split, widths: Sequence[int], readout: Readout
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
    gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny))
    factor = torch.linalg.cholesky(gram)
    basis = torch.linalg.solve_triangular(factor, chosen.T, upper=False)
    parts = basis[:, split.fit] @ (f - level)
    wanted = readout(outputs[split.held], split.held)
    errors = []
    for s in widths:
        refitted = basis[:s, split.held].T @ parts[:s] + level
        error = relative_error(readout(refitted, split.held), wanted)
        errors.append(0.0 if s == layer.width else error)
    return errors


def dynamics_errors(
    layer: Layer,
    inputs: Tensor,
    split: Split,
    widths: Sequence[int],
    seed: int,
    effort: Effort = NORMAL,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the expected errors of outputs and kernel of `fit_dynamics`.

    They are those of the best counted subsets, times the ratio of a trial fit's errors to these.
    """
    wide, x = merge_duplicates(layer).to(torch.float64), inputs.double()
    generator = torch.Generator().manual_seed(seed)
    fit, held = (x[part[torch.randperm(len(part), generator=generator)]] for part in (split.fit, split.held))
    trial = min(TRIAL_WIDTH, max(1, wide.width // 2))
    narrow = sorted({s for s in (*widths, trial) if s < wide.width})
    movement = expected_movement(wide, fit[:ROWS])
    spectrum = Spectrum(wide, fit[:ROWS], held[:ROWS], max(narrow, default=1), movement=movement)
    least = dict(zip(narrow, spectrum.errors(narrow), strict=True))
    reached = trial_errors(wide, fit, held[:JUDGED_ROWS], trial, seed, effort)
    ratios = [
        mine / max(best, 1e-12) for mine, best in zip(reached, least.get(trial, (1.0, 1.0)), strict=True)
    ]
    curves = []
    for part in (0, 1):
        lowest, curve = math.inf, dict[int, float]()
        for s in narrow:
            lowest = curve[s] = min(lowest, ratios[part] * least[s][part])
        curves.append(tuple(curve.get(s, 0.0) for s in widths))
    return curves[0], curves[1]


def trial_errors(
    layer: Layer, fit: Tensor, held: Tensor, size: int, seed: int, effort: Effort = NORMAL
) -> Pair:
    """Return the held-out errors of outputs and kernel that a few moved nodes reach."""
    wide, rows = layer.to(torch.float32), fit.float()
    movement = expected_movement(wide, rows)
    smooth = is_untrained(wide, rows, movement)
    answers = ask(wide, rows, smooth=smooth, seed=seed, minibatches=effort.trial_batches)
    scales = normalisers(answers, movement)
    start = merge_clusters(wide, cluster_neurons(wide, size, seed))
    equal = is_homogeneous(wide)
    start = equal_counts(start) if equal else start
    steps = effort.trial_steps
    slim = move_nodes(start, answers, scales, steps=steps, rate=TRIAL_RATE, fixed_counts=equal).to(held.dtype)
    return relative_error(slim(held), layer(held)), kernel_error(slim, layer, held, seed=seed)
