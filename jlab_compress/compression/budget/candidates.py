"""Plans of one cost, tried out cheaply on the whole model before one of them is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import nn

from jlab_compress.compression.budget.cost_model import CostModel
from jlab_compress.compression.fits.aims import BASELINES
from jlab_compress.compression.pipeline import Settings, narrow
from jlab_compress.compression.prepared import Prepared
from jlab_compress.execution.calls import Call
from jlab_compress.execution.closeness import function_gap
from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.outputs import outputs_on
from jlab_compress.execution.snapshot import Snapshot

# On too few rows uneven widths look better than they are; differences below three percent are chance.
MOST_CALLS = 24
CLEARLY = 0.97
HALVINGS = 40


def best_tried(
    prepared: Prepared,
    widths: Mapping[str, int],
    cost: CostModel,
    *,
    share: float,
    round_to: int,
    seed: int,
) -> dict[str, int]:
    """Return the best of three plans under one budget: the given widths, uniform ones, and those between.

    Each is tried with greedy selection and refit, block after block on most batches; what counts is the
    function gap of the whole model on the other batches, or on held-out rows. Forecasts take the errors of
    blocks to add up, which they do not quite; so allocated widths are taken only where they are better by 3 %
    at least.

    Parameters
    ----------
    prepared : Prepared
        Three quarters of its batches, at most 24, choose and refit.
    widths : mapping of str to int
        Allocated.
    cost : CostModel
        Of the widths.
    share : float
        The budget.
    round_to : int
        As in `allocate_widths`.
    seed : int
        Of the held-out rows.

    Returns
    -------
    dict of str to int
        Uniform widths where all three are about as good. Cost: three narrowings by greedy selection.
    """
    uniform = scaled_to(cost, cost.present, share, round_to)
    middle = {name: math.sqrt(uniform[name] * width) for name, width in widths.items()}
    plans = [dict(widths), uniform, scaled_to(cost, middle, share, round_to)]
    if uniform == plans[0]:
        return uniform
    calls = prepared.calls
    count = min(MOST_CALLS, len(calls) - len(calls) // 4)
    few = [calls[len(calls) * i // count] for i in range(count)]
    others = [call for call in calls if not any(call is one for one in few)]
    part, scratch = prepared.on(few, seed=seed), copy_model(prepared.original)
    gaps = [tried_gap(part, scratch, plan, others, seed=seed) for plan in plans]
    return plans[clearly_best(gaps, usual=1)]


def clearly_best(gaps: Sequence[float], *, usual: int) -> int:
    """Return the place of the least gap, or the usual one where none is less by 3 % at least.

    Examples
    --------
    >>> clearly_best([0.98, 1.0, 0.99], usual=1), clearly_best([0.9, 1.0, 0.99], usual=1)
    (1, 0)
    """
    best = min(range(len(gaps)), key=gaps.__getitem__)
    return best if gaps[best] < CLEARLY * gaps[usual] else usual


def scaled_to(cost: CostModel, shape: Mapping[str, float], share: float, round_to: int) -> dict[str, int]:
    """Return the widest widths in proportion to a shape that cost at most a share.

    Examples
    --------
    >>> cost = CostModel(0.0, ((1.0, ("a",)), (1.0, ("b",))), {"a": 8, "b": 16})
    >>> scaled_to(cost, {"a": 8, "b": 16}, 0.5, 1)
    {'a': 4, 'b': 8}
    """

    def at(factor: float) -> dict[str, int]:
        sizes = {name: round_to * math.floor(factor * size / round_to) for name, size in shape.items()}
        return {name: min(cost.present[name], max(round_to, size)) for name, size in sizes.items()}

    low, high = 0.0, max(1.0 + cost.present[name] / size for name, size in shape.items())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(at(middle)) <= share else (low, middle)
    return at(high) if cost(at(high)) <= share else at(low)


def tried_gap(
    prepared: Prepared, scratch: nn.Module, widths: Mapping[str, int], others: list[Call], *, seed: int
) -> float:
    """Return the function gap of the whole model after greedy selection and refit.

    Parameters
    ----------
    prepared : Prepared
        What is fitted to.
    scratch : nn.Module
        A copy of its model; it ends as it was.
    widths : mapping of str to int
        To try.
    others : list of Call
        What the gap is measured on; where there are none, on held-out rows.
    seed : int
        Of the draws.
    """
    before = Snapshot.of(scratch)
    try:
        made = narrow(prepared, scratch, widths, BASELINES["greedy"], Settings(seed))
        if not others:
            return made.evaluation.function_gap
        return function_gap(outputs_on(prepared.original, others), outputs_on(scratch, others))
    finally:
        before.put_back()
