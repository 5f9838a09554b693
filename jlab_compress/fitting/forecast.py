"""What a width will cost, before any surgery."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.clustering import cluster_neurons, merge_clusters
from jlab_compress.fitting.dynamics import kernel_error
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moved_nodes import ask, expected_movement, move_nodes, normalisers
from jlab_compress.fitting.rows import Split, check_fit, relative_error, split_rows
from jlab_compress.fitting.selection import RIDGE, greedy_columns
from jlab_compress.fitting.stream import Readout

GAIN_OF_MOVING = 0.7
GAIN_BEHIND_READOUT = 0.9
GAIN_OF_LONGER_FITS = 0.85
TRIAL_WIDTHS = (8, 24)
TRIAL_STEPS = 200
TRIAL_BATCHES = 25


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
) -> Forecast:
    """Forecast function and kernel error against width without fitting any of the widths.

    One greedy pass over the activations' Gram matrix gives the refit error on held-out rows at every
    width, times the measured gain of moving the nodes. The kernel error follows a power law through
    two quick fits of 8 and 24 nodes; so does the function error of fits that share their nodes between
    outputs and kernel.

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

    Returns
    -------
    Forecast
        Mostly within a factor of two of what the fits then reach, though the kernel of wide transformer
        layers comes out several times too low (`benchmarks/forecasts.py`). Cost: one pass O(q n^2) for
        all widths, and about a second for the kernel.

    Raises
    ------
    ValueError
        If a width or the inputs cannot be used.
    """
    for width in widths:
        check_fit(layer, inputs, width)
    split = split_rows(len(inputs), seed)
    behind = Readout(stream, readout)
    function_errors = refit_errors(layer.to(torch.float64), inputs.double(), split, widths, behind)
    if not (kernel or dynamics):
        return Forecast(tuple(widths), tuple(function_errors), (math.nan,) * len(widths))
    outputs, kernels = training_laws(layer, inputs, split, seed)
    kernel_errors = [kernels.at(s, layer.width) for s in widths]
    if dynamics:
        laws = [GAIN_OF_LONGER_FITS * outputs.at(s, layer.width) for s in widths]
        function_errors = [max(pair) for pair in zip(function_errors, laws, strict=True)]
    return Forecast(tuple(widths), tuple(function_errors), tuple(kernel_errors))


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
    gain = GAIN_OF_MOVING if readout.transform is None else GAIN_BEHIND_READOUT
    errors = []
    for s in widths:
        refitted = basis[:s, split.held].T @ parts[:s] + level
        error = relative_error(readout(refitted, split.held), wanted)
        errors.append(0.0 if s == layer.width else gain * error)
    return errors


class PowerLaw:
    """error(s) = scale * s^-exponent through two measured points."""

    def __init__(self, widths: Sequence[int], errors: Sequence[float]) -> None:
        lowest = 1e-12
        first, last = (math.log(max(e, lowest)) for e in (errors[0], errors[-1]))
        span = math.log(widths[-1] / widths[0]) if widths[-1] > widths[0] else 1.0
        self.exponent = max(0.0, (first - last) / span)
        self.scale = math.exp(last) * widths[-1] ** self.exponent

    def __call__(self, width: int) -> float:
        return float(self.scale * width**-self.exponent)

    def at(self, width: int, whole: int) -> float:
        """Return the error at a width: at most 1, and none at the whole width."""
        return 0.0 if width == whole else min(1.0, self(width))


def training_laws(layer: Layer, inputs: Tensor, split: Split, seed: int) -> tuple[PowerLaw, PowerLaw]:
    """Fit two small sets of moved nodes; return the laws of their held-out function and kernel errors."""
    wide, held = layer.to(torch.float32), inputs[split.held].float()
    answers = ask(wide, inputs[split.fit].float(), seed=seed, minibatches=TRIAL_BATCHES)
    scales = normalisers(answers, expected_movement(wide, inputs[split.fit].float()))
    widths = [min(s, layer.width) for s in TRIAL_WIDTHS]
    outputs, kernels = [], []
    for s in widths:
        start = merge_clusters(wide, cluster_neurons(wide, s, seed))
        slim = move_nodes(start, answers, scales, steps=TRIAL_STEPS, rate=0.05, adaptive_share=0.0)
        outputs.append(relative_error(slim(held), wide(held)))
        kernels.append(kernel_error(slim, wide, held, seed=seed))
    return PowerLaw(widths, outputs), PowerLaw(widths, kernels)
