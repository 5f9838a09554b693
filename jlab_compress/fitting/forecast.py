"""What a width will cost, before any surgery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.clustering import cluster_neurons, merge_clusters
from jlab_compress.fitting.dynamics import kernel_error
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moved_nodes import ask, expected_movement, move_nodes, normalisers
from jlab_compress.fitting.rows import Split, check_fit, relative_error, split_rows
from jlab_compress.fitting.selection import greedy_columns, least_squares

GAIN_OF_MOVING = 0.7
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


def predict_errors(layer: Layer, inputs: Tensor, widths: Sequence[int], *, seed: int = 0) -> Forecast:
    """Forecast function and kernel error against width without fitting any of the widths.

    One greedy pass over the activations' Gram matrix gives the refit error on held-out rows at every
    width, times the measured gain of moving the nodes. The kernel error follows a power law through
    two quick fits of 8 and 24 nodes.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows.
    widths : sequence of int
        Widths to forecast, each between 1 and n.
    seed : int
        Seed of private generators.

    Returns
    -------
    Forecast
        Within about a factor of two of what the fits then reach. Cost: one pass O(q n^2), a refit per
        width, and about a second for the kernel.

    Raises
    ------
    ValueError
        If a width or the inputs cannot be used.
    """
    for width in widths:
        check_fit(layer, inputs, width)
    split = split_rows(len(inputs), seed)
    function_errors = refit_errors(layer.to(torch.float64), inputs.double(), split, widths)
    law = kernel_law(layer, inputs, split, seed)
    kernel_errors = [0.0 if s == layer.width else min(1.0, law(s)) for s in widths]
    return Forecast(tuple(widths), tuple(function_errors), tuple(kernel_errors))


def refit_errors(layer: Layer, inputs: Tensor, split: Split, widths: Sequence[int]) -> list[float]:
    """Return the expected held-out function error at each width, from one greedy choice of columns."""
    hidden, outputs = layer.hidden(inputs), layer(inputs)
    h, f = hidden[split.fit], outputs[split.fit]
    largest = max((s for s in widths if s < layer.width), default=1)
    share = float(layer.biased)
    order = greedy_columns(h - share * h.mean(dim=0), f - share * f.mean(dim=0), largest)
    errors = []
    for s in widths:
        if s == layer.width:
            errors.append(0.0)
            continue
        outgoing, bias = least_squares(h[:, order[:s]], f, intercept=layer.biased)
        refitted = hidden[split.held][:, order[:s]] @ outgoing + bias
        errors.append(GAIN_OF_MOVING * relative_error(refitted, outputs[split.held]))
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


def kernel_law(layer: Layer, inputs: Tensor, split: Split, seed: int) -> PowerLaw:
    """Fit two small sets of moved nodes and draw the power law of their held-out kernel errors."""
    wide = layer.to(torch.float32)
    answers = ask(wide, inputs[split.fit].float(), seed=seed, minibatches=TRIAL_BATCHES)
    scales = normalisers(answers, expected_movement(wide, inputs[split.fit].float()))
    widths = [min(s, layer.width) for s in TRIAL_WIDTHS]
    errors = []
    for s in widths:
        start = merge_clusters(wide, cluster_neurons(wide, s, seed))
        slim = move_nodes(start, answers, scales, steps=TRIAL_STEPS, rate=0.05, signed_share=0.0)
        errors.append(kernel_error(slim, wide, inputs[split.held].float(), seed=seed))
    return PowerLaw(widths, errors)
