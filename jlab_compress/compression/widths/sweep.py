"""Know before you cut: the expected error of each block against its width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from jlab_compress.compression.fits.aim import Aim
from jlab_compress.compression.fits.aims import read_aim
from jlab_compress.compression.joint.task import share_stream
from jlab_compress.compression.prepare import read_prepared
from jlab_compress.compression.prepared import Prepared
from jlab_compress.compression.widths.forecasts import forecaster
from jlab_compress.compression.widths.sweep_report import report_forecasts
from jlab_compress.compression.widths.values import (
    POLYLOG,
    block_named,
    check_round_to,
    open_blocks,
    read_width,
)
from jlab_compress.fitting.effort import Effort, EffortName, read_effort
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.inspection.block import Block, Blocks
from jlab_compress.report import Report, Reported
from jlab_compress.surroundings import shielded

FRACTIONS = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)


@dataclass(frozen=True, repr=False)
class Sweep(Reported):
    """Expected errors of blocks against width.

    Parameters
    ----------
    forecasts : mapping of str to Forecast
        By block name: widths, function errors and kernel errors.
    report : Report
        The same as a table, with what each width saves.
    """

    kind = "sweep"
    forecasts: Mapping[str, Forecast]
    report: Report


@shielded()
def sweep(
    model: nn.Module | Prepared,
    widths: Any = None,
    *,
    calibration: Any = None,
    limit: int | None = None,
    preserve: str | Aim = "dynamics",
    round_to: int = 1,
    effort: EffortName | Effort = "normal",
    seed: int = 0,
) -> Sweep:
    """Forecast the held-out error of each block against its width, without fitting or cutting anything.

    Parameters
    ----------
    model : nn.Module or Prepared
        It stays as it is.
    widths : sequence of int, float or "polylog"; mapping of str to such a sequence; or None
        Widths to look at, for every block that is not locked or per block name. None, and a sequence of
        block names, mean 1/2, 1/4 ... 1/32 of the present width and "polylog".
    calibration, limit, preserve, round_to, effort, seed
        As in `compress`. Errors are those that fits for the aim are expected to have; those of the tangent
        kernel are shown for every aim and count for "dynamics".

    Returns
    -------
    Sweep
        Per block and width the expected function error and tangent kernel error.

    Raises
    ------
    TypeError, ValueError, UnsupportedBlockError
        As `compress`.

    Notes
    -----
    Per block one pass over the calibration, greedy passes over Gram matrices and a trial fit of a few nodes;
    see `predict_errors`. Blocks are looked at one by one in the original model; errors of several slim blocks
    add up.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    >>> sweep(net, [4, 16], calibration=torch.randn(60, 4)).forecasts["0"].widths
    (4, 16)
    """
    aim, budgets, multiple = read_aim(preserve), read_effort(effort), check_round_to(round_to)
    prepared = read_prepared(model, calibration, seed=seed, limit=limit)
    wanted = read_grids(widths, prepared.blocks, multiple)
    shared = share_stream(prepared.blocks.named(name) for name in wanted)
    forecast = forecaster(
        prepared, aim, prepared.calls, shares_stream=shared, kernel=True, seed=seed, effort=budgets
    )
    forecasts = {name: forecast(prepared.blocks.named(name), sizes) for name, sizes in wanted.items()}
    return Sweep(forecasts, report_forecasts(prepared.blocks, forecasts, kernel=aim.matches_training))


def read_grids(widths: Any, blocks: Blocks, round_to: int) -> dict[str, list[int]]:
    """Return the widths to look at for each block, ascending."""
    names = {block.name for block in blocks}
    if isinstance(widths, Sequence) and not isinstance(widths, str) and widths:
        widths = {str(name): None for name in widths} if set(map(str, widths)) <= names else widths
    if not isinstance(widths, Mapping):
        widths = dict.fromkeys((block.name for block in open_blocks(blocks)), widths)
    return {name: _read_grid(value, block_named(name, blocks), round_to) for name, value in widths.items()}


def _read_grid(value: Any, block: Block, round_to: int) -> list[int]:
    if value is None:
        value = [*FRACTIONS, POLYLOG]
    each = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return sorted({read_width(one, block, round_to=round_to) for one in each})
