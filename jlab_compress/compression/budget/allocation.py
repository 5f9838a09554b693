"""Share one budget out over the blocks of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from torch import nn

from jlab_compress.compression.budget.candidates import best_tried
from jlab_compress.compression.budget.cost_model import CostModel, Kind, read_cost_model
from jlab_compress.compression.budget.sensitivity import sensitivity
from jlab_compress.compression.fits.aims import AIMS
from jlab_compress.compression.prepare import read_prepared
from jlab_compress.compression.prepared import Prepared
from jlab_compress.compression.widths.forecasts import forecaster
from jlab_compress.compression.widths.request import Forecaster
from jlab_compress.compression.widths.values import block_named, check_round_to, open_blocks, rounded_up
from jlab_compress.errors import UnsupportedBlockError
from jlab_compress.execution.splits import first_rows
from jlab_compress.fitting.effort import Effort, EffortName, read_effort
from jlab_compress.inspection.block import Block, Blocks
from jlab_compress.surroundings import random_states_kept, shielded

STEPS = 24
NARROWEST = 1 / 48
LOOK_ROWS = 32

Curves = Mapping[str, Mapping[int, float]]


@shielded()
@random_states_kept()
def allocate_widths(
    model: nn.Module | Prepared,
    *,
    calibration: Any = None,
    limit: int | None = None,
    parameters: float | None = None,
    macs: float | None = None,
    latency: float | None = None,
    round_to: int = 1,
    blocks: Sequence[str] | None = None,
    effort: EffortName | Effort = "normal",
    seed: int = 0,
) -> dict[str, int]:
    """Return widths per block under one budget for the whole model, to pass on to `compress`.

    Every block has a forecast of its error against its width, and a measured share in the error of the
    model's outputs. Widths shrink step by step where the least error is bought per cost saved, until the
    budget is met; blocks of equal worth end with equal widths. Then these widths, uniform ones of the same
    cost and those halfway are tried by greedy selection on a part of the calibration; the best are returned.

    Parameters
    ----------
    model : nn.Module or Prepared
        It stays as it is.
    calibration : Tensor, tuple, mapping or iterable of these
        As in `compress`.
    limit : int
        As in `compress`.
    parameters, macs, latency : float
        Exactly one: the share of the whole model's present parameters, multiply-adds or milliseconds
        that may remain, between 0 and 1. Milliseconds are measured here, on the first calibration batch,
        and taken to fall in proportion to the widths: true for large batches, too hopeful for tiny ones.
    round_to : int
        Widths are multiples of this many neurons, or the present width.
    blocks : sequence of str, optional
        Names of the blocks that may shrink; by default those that one width for all would mean, without
        activation-only ones such as attention heads.
    effort : {"quick", "normal", "thorough"} or Effort
        Of the trial fits behind the forecasts.
    seed : int
        Same seed, same widths (but for `latency`, which is measured).

    Returns
    -------
    dict of str to int
        A width for every block that may shrink.

    Raises
    ------
    TypeError, ValueError, UnsupportedBlockError
        If an argument cannot be used, or the budget is below what even the narrowest blocks cost.

    Notes
    -----
    Errors of blocks are taken to add up as squares. Cost: one forecast per block, and for each block two
    runs on 32 rows; then up to three narrowings by greedy selection. The step with the least loss per saving
    is optimal where curves are convex (Fox 1966).

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 2))
    >>> widths = allocate_widths(net, calibration=torch.randn(80, 4), parameters=0.4)
    >>> sorted(widths), 4 * widths["0"] + (1 + widths["0"]) * (1 + widths["2"]) < 0.4 * 1002
    (['0', '2'], True)
    """
    check_round_to(round_to)
    kind, share = _budget({"parameters": parameters, "macs": macs, "latency": latency})
    budgets = read_effort(effort)
    prepared = read_prepared(model, calibration, seed=seed, limit=limit)
    chosen = _chosen(blocks, prepared.blocks)
    cost = read_cost_model(prepared, chosen, kind)
    rows, aim = prepared.calls, AIMS["function"]
    forecast = forecaster(prepared, aim, rows, shares_stream=True, kernel=False, seed=seed, effort=budgets)
    curves = {b.name: error_curve(prepared, b, forecast, round_to=round_to, seed=seed) for b in chosen}
    widths = shrink_to(cost, curves, share, kind, round_to)
    return best_tried(prepared, widths, cost, share=share, round_to=round_to, seed=seed)


def _budget(given: Mapping[str, Any]) -> tuple[Kind, float]:
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise ValueError(f"{', '.join(given)}: give exactly one budget; got {len(named)}")
    ((name, value),) = named.items()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a share of the present cost such as 0.5, got {value!r}")
    if not 0 < value < 1:
        raise ValueError(f"{name}: expected a share of the present cost between 0 and 1, got {value}")
    return next(kind for kind in get_args(Kind) if kind == name), float(value)


def _chosen(names: Sequence[str] | None, blocks: Blocks) -> list[Block]:
    if names is None:
        return [block for block in open_blocks(blocks) if not block.activation_only]
    if isinstance(names, str) or not names:
        raise ValueError(f"blocks: expected a list of block names, got {names!r}")
    chosen = [block_named(name, blocks) for name in names]
    for block in chosen:
        if block.activation_only:
            raise UnsupportedBlockError(
                f"block {block.name}: it is activation-only (heads, channels with layers between), for which "
                "no width is allocated; leave it out of blocks"
            )
    return chosen


def error_curve(
    prepared: Prepared, block: Block, forecast: Forecaster, *, round_to: int, seed: int
) -> dict[int, float]:
    """Return the expected squared error of the model's outputs at some widths of one block."""
    low = max(1, round(NARROWEST * block.width))
    ratio = block.width / low
    sizes = sorted({rounded_up(round(low * ratio ** (i / STEPS)), block, round_to) for i in range(STEPS + 1)})
    errors = forecast(block, sizes).function_errors
    reach = sensitivity(prepared.original, block, [first_rows(prepared.calls[0], LOOK_ROWS)], seed=seed)
    return {s: (reach * error) ** 2 for s, error in zip(sizes, errors, strict=True)}


def shrink_to(cost: CostModel, curves: Curves, share: float, kind: str, round_to: int) -> dict[str, int]:
    """Shrink where the least error is bought per cost saved, until a share of the cost is left.

    Examples
    --------
    >>> cost = CostModel(0.0, ((1.0, ("a",)), (1.0, ("b",))), {"a": 8, "b": 8})
    >>> curves = {"a": {2: 9.0, 4: 4.0, 8: 0.0}, "b": {2: 0.9, 4: 0.4, 8: 0.0}}
    >>> shrink_to(cost, curves, 0.65, "macs", 1)
    {'a': 8, 'b': 2}
    """
    widths = dict(cost.present)
    least = cost({name: min(curve) for name, curve in curves.items()})
    if least > share:
        raise ValueError(
            f"{kind}: expected a share of at least {least:.3f}, got {share}; so much of the cost remains "
            "with these blocks at their narrowest, so allow more or name more blocks"
        )
    while cost(widths) > share:
        name, width = min(_steps(cost, curves, widths), key=lambda step: step[0])[1:]
        last, widths[name] = (name, widths[name]), width
    return _refilled(cost, widths, last, share, round_to)


def _steps(cost: CostModel, curves: Curves, widths: Mapping[str, int]) -> list[tuple[float, str, int]]:
    now = cost(widths)
    found = []
    for name, curve in curves.items():
        for width in (w for w in curve if w < widths[name]):
            saved = now - cost({**widths, name: width})
            loss = curve[width] - curve.get(widths[name], 0.0)
            found.append((loss / saved if saved > 0 else math.inf, name, width))
    return found


def _refilled(
    cost: CostModel, widths: dict[str, int], last: tuple[str, int], share: float, round_to: int
) -> dict[str, int]:
    """Widen the block that shrank last again, as far as the budget allows."""
    name, before = last
    for width in range(before - before % round_to, widths[name], -round_to):
        if cost({**widths, name: width}) <= share:
            return {**widths, name: width}
    return widths
