"""Plans of one cost, tried out cheaply on the whole model before one of them is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from jlab_compress.compression.budget.cost_model import Prices
from jlab_compress.compression.pipeline import Method, shrink
from jlab_compress.execution.calls import Call
from jlab_compress.execution.closeness import function_gap
from jlab_compress.execution.outputs import outputs_on
from jlab_compress.fitting.aims.baselines import greedy_refit
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.layer import Layer

# On too few rows uneven widths look better than they are; differences below three percent are chance.
MOST_CALLS = 24
CLEARLY = 0.97
HALVINGS = 40


def best_tried(
    model: nn.Module,
    widths: Mapping[str, int],
    prices: Prices,
    calls: Sequence[Call],
    *,
    share: float,
    round_to: int,
    seed: int,
) -> dict[str, int]:
    """Return the best of three plans under one budget: the given widths, uniform ones, and those between.

    Each is tried with greedy selection and refit, block after block on most batches, and judged by the
    function gap of the whole model on the other batches, or on rows kept apart. Forecasts take the errors of
    blocks to add up, which they do not quite; so allocated widths are taken only where they are better by 3 %
    at least.

    Parameters
    ----------
    model : nn.Module
        It stays as it is.
    widths : mapping of str to int
        Allocated.
    prices : Prices
        Of the widths.
    calls : sequence of Call
        The calibration; three quarters of its batches, at most 24, choose and refit.
    share : float
        The budget.
    round_to : int
        As in `allocate_widths`.
    seed : int
        Of the rows kept apart.

    Returns
    -------
    dict of str to int
        Uniform widths where all three are about as good. Cost: three narrowings by greedy selection.
    """
    uniform = scaled_to(prices, prices.present, share, round_to)
    middle = {name: math.sqrt(uniform[name] * width) for name, width in widths.items()}
    plans = [dict(widths), uniform, scaled_to(prices, middle, share, round_to)]
    if uniform == plans[0]:
        return uniform
    count = min(MOST_CALLS, len(calls) - len(calls) // 4)
    few = [calls[len(calls) * i // count] for i in range(count)]
    others = [call for call in calls if not any(call is one for one in few)]
    gaps = [tried_gap(model, plan, few, others, seed=seed) for plan in plans]
    best = min(range(len(plans)), key=gaps.__getitem__)
    return plans[best] if gaps[best] < CLEARLY * gaps[1] else uniform


def scaled_to(prices: Prices, shape: Mapping[str, float], share: float, round_to: int) -> dict[str, int]:
    """Return the widest widths in proportion to a shape that cost at most a share.

    Examples
    --------
    >>> prices = Prices(0.0, ((1.0, ("a",)), (1.0, ("b",))), {"a": 8, "b": 16})
    >>> scaled_to(prices, {"a": 8, "b": 16}, 0.5, 1)
    {'a': 4, 'b': 8}
    """

    def at(factor: float) -> dict[str, int]:
        sizes = {name: round_to * math.floor(factor * size / round_to) for name, size in shape.items()}
        return {name: min(prices.present[name], max(round_to, size)) for name, size in sizes.items()}

    low, high = 0.0, max(1.0 + prices.present[name] / size for name, size in shape.items())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if prices(at(middle)) <= share else (low, middle)
    return at(high) if prices(at(high)) <= share else at(low)


def tried_gap(
    model: nn.Module, widths: Mapping[str, int], calls: list[Call], others: list[Call], *, seed: int
) -> float:
    """Return the function gap of the whole model after greedy selection and refit.

    On other calls, or where there are none on rows that are kept apart.
    """

    def fit(layer: Layer, rows: Any, size: int, step: Any) -> Fit:
        return greedy_refit(layer, rows.inputs, size, seed=seed)

    slim, _, report = shrink(model, dict(widths), calibration=calls, method=Method("trial", fit), seed=seed)
    if others:
        return function_gap(outputs_on(model, others), outputs_on(slim, others))
    gap = report.facts["function_gap"]
    return float(gap) if isinstance(gap, float) else math.inf
