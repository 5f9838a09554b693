"""Know before you cut: the expected error of each block against its width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from jlab_compress.compression.fits.activation_only import forecast_heads
from jlab_compress.compression.prepared import Prepared, read_prepared
from jlab_compress.compression.signals.block_rows import gather_inputs, gather_rows
from jlab_compress.compression.widths.request import (
    block_named,
    check_round_to,
    open_blocks,
    read_width,
    read_widths,
    rounded_up,
)
from jlab_compress.execution.calls import Call
from jlab_compress.fitting.criteria import KERNEL_ERROR_LIMIT
from jlab_compress.fitting.effort import Effort, EffortName, read_effort
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.fitting.forecast.predict import predict_dynamics, predict_function
from jlab_compress.inspection.block import Block, Blocks
from jlab_compress.report import Chart, Report, Reported, Scalar, Table
from jlab_compress.slim.layers import on_cpu, read_layer

FRACTIONS = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
GRID = 12
LARGE_ERROR = 0.3


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


def sweep(
    model: nn.Module | Prepared,
    widths: Any = None,
    *,
    calibration: Any = None,
    preserve: str = "dynamics",
    round_to: int = 1,
    seed: int = 0,
    effort: EffortName | Effort = "normal",
) -> Sweep:
    """Forecast the held-out error of each block against its width, without fitting or cutting anything.

    Parameters
    ----------
    model : nn.Module or Prepared
        It stays as it is.
    widths : sequence of int, float or "polylog"; mapping of str to such a sequence; or None
        Widths to look at, for every block that is not locked or per block name. None, and a sequence of
        block names, mean 1/2, 1/4 ... 1/32 of the present width and "polylog".
    calibration, round_to, seed, effort
        As in `compress`.
    preserve : {"dynamics", "function", "moments"}
        What counts as the error in the summary: "function" looks at outputs only, "dynamics" at the
        tangent kernel too.

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
    see `predict_dynamics`. Blocks are looked at one by one in the original model; errors of several slim
    blocks add up.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    >>> sweep(net, [4, 16], calibration=torch.randn(60, 4)).forecasts["0"].widths
    (4, 16)
    """
    check_round_to(round_to)
    budgets = read_effort(effort)
    prepared = read_prepared(model, calibration, seed=seed)
    blocks, calls = prepared.blocks, list(prepared.calls)
    wanted = _wanted(widths, blocks, round_to)
    aims = preserve == "function" or streamed(blocks.named(name) for name in wanted)
    forecasts = {
        name: forecast(
            prepared.original, blocks.named(name), calls, sizes, aims=aims, seed=seed, effort=budgets
        )
        for name, sizes in wanted.items()
    }
    return Sweep(forecasts, _report(blocks, forecasts, preserve))


def forecast(
    model: nn.Module,
    block: Block,
    calls: list[Call],
    widths: Sequence[int],
    *,
    aims: bool,
    kernel: bool = True,
    seed: int,
    effort: Effort,
) -> Forecast:
    """Return the expected errors of one block at several widths; the model runs over the calls once.

    With `aims` function errors are those of fits for the function, behind the residual stream and its norm;
    otherwise of fits for the dynamics. Without `kernel` there need be no kernel errors.
    """
    if block.activation_only:
        return forecast_heads(model, block, calls, widths, seed=seed)
    layer = on_cpu(read_layer(model, block, block.activation))
    how: dict[str, Any] = {"seed": seed, "effort": effort}
    if not aims or block.residual is None or block.kind == "conv":
        inputs = gather_inputs(model, block.incoming[0], calls, seed=seed)
        if not aims:
            return predict_dynamics(layer, inputs, list(widths), **how)
        return predict_function(layer, FitRows(inputs), list(widths), kernel=kernel, **how)
    place = (block.incoming[0], block.outgoing, block.residual)
    rows = gather_rows(model, model, place, calls, moved=False, seed=seed)
    return predict_function(layer, rows, list(widths), kernel=kernel, **how)


def streamed(blocks: Iterable[Block]) -> bool:
    """Tell whether neurons, or several blocks, write into a residual stream.

    They are moved for the whole network then and judged behind the norm, unlike the heads of a single block.
    """
    writers = [block for block in blocks if block.residual is not None]
    return len(writers) > 1 or any(not block.activation_only for block in writers)


@dataclass(frozen=True)
class Within:
    """The widths that meet a tolerance, in the place of given ones.

    Parameters
    ----------
    tolerance : float
        Relative held-out error.
    kernel : bool
        Whether the tangent kernel's error must meet it too.
    """

    tolerance: float
    kernel: bool

    @classmethod
    def read(cls, tolerance: Any, *, kernel: bool) -> Within:
        """Return it, or refuse what is no positive number with a ValueError or TypeError."""
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
            raise TypeError(f"tolerance: expected a relative error such as 0.05, got {tolerance!r}")
        if not 0 < tolerance < math.inf:
            raise ValueError(f"tolerance: expected a positive relative error such as 0.05, got {tolerance}")
        return cls(float(tolerance), kernel)

    def width(
        self, model: nn.Module, block: Block, calls: list[Call], *, aims: bool, seed: int, effort: Effort
    ) -> int:
        """Return the smallest width that is expected to do; the present one if no smaller one is."""
        grid = sorted({max(1, round(block.width ** (i / GRID))) for i in range(1, GRID + 1)})
        found = forecast(model, block, calls, grid, aims=aims, kernel=self.kernel, seed=seed, effort=effort)
        pairs = zip(found.function_errors, found.kernel_errors, strict=True)
        errors = [max(f, k) if self.kernel else f for f, k in pairs]
        return interpolated_width(found.widths, errors, self.tolerance)


def wanted_widths(
    model: nn.Module,
    widths: Any,
    blocks: Blocks,
    calls: list[Call],
    *,
    round_to: int,
    seed: int,
    effort: Effort,
) -> dict[str, int]:
    """Return the width of each block to compress, for what `compress` takes or a `Within`."""
    if not isinstance(widths, Within):
        return read_widths(widths, blocks, round_to=round_to)
    aims = not widths.kernel or streamed(open_blocks(blocks))
    how: dict[str, Any] = {"aims": aims, "seed": seed, "effort": effort}
    return {
        block.name: rounded_up(widths.width(model, block, calls, **how), block, round_to)
        for block in open_blocks(blocks)
    }


def expectations(
    model: nn.Module,
    blocks: list[Block],
    calls: list[Call],
    widths: Mapping[str, int],
    *,
    aims: bool,
    seed: int,
    effort: Effort,
) -> tuple[str, ...]:
    """Return one sentence per block: what error its width is expected to have."""
    words = []
    for block in blocks:
        found = forecast(model, block, calls, [widths[block.name]], aims=aims, seed=seed, effort=effort)
        words.append(
            f"block {block.name}: at {found.widths[0]} of {block.width} {block.noun} the forecast was a "
            f"function error of {found.function_errors[0]:.2g} and a tangent kernel error of "
            f"{found.kernel_errors[0]:.2g}."
        )
    return tuple(words)


def interpolated_width(widths: Sequence[int], errors: Sequence[float], tolerance: float) -> int:
    """Return the width at which errors, straight between points in logarithms, first meet a tolerance.

    Examples
    --------
    >>> interpolated_width([10, 1000], [0.1, 0.001], 0.01)
    100
    """
    first = next((i for i, error in enumerate(errors) if error <= tolerance), len(widths) - 1)
    if first == 0 or errors[first] > tolerance or errors[first] == 0:
        return widths[first]
    above, below = math.log(errors[first - 1]), math.log(errors[first])
    share = (above - math.log(tolerance)) / (above - below)
    low, high = math.log(widths[first - 1]), math.log(widths[first])
    return min(widths[first], math.ceil(math.exp(low + share * (high - low)) - 1e-9))


def _wanted(widths: Any, blocks: Blocks, round_to: int) -> dict[str, list[int]]:
    names = {block.name for block in blocks}
    if (
        isinstance(widths, Sequence)
        and not isinstance(widths, str)
        and widths
        and set(map(str, widths)) <= names
    ):
        widths = {str(name): None for name in widths}
    if not isinstance(widths, Mapping):
        widths = dict.fromkeys((block.name for block in open_blocks(blocks)), widths)
    return {name: _sizes(value, block_named(name, blocks), round_to) for name, value in widths.items()}


def _sizes(value: Any, block: Block, round_to: int) -> list[int]:
    if value is None:
        value = [*FRACTIONS, "polylog"]
    each = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return sorted({read_width(one, block, round_to=round_to) for one in each})


def _report(blocks: Blocks, forecasts: Mapping[str, Forecast], preserve: str) -> Report:
    rows: list[tuple[Scalar, ...]] = []
    for name, found in forecasts.items():
        block = blocks.named(name)
        for width, function, kernel in zip(
            found.widths, found.function_errors, found.kernel_errors, strict=True
        ):
            macs = None if block.macs is None else block.macs * width // block.width
            rows.append((name, width, width / block.width, block.dimension * width, macs, function, kernel))
    columns = ("block", "width", "fraction", "parameters", "macs", "function_error", "kernel_error")
    chart = Chart("width", ("function_error",), by="block", log=True)
    looked = "outputs" if preserve == "function" else "outputs and tangent kernel"
    return Report(
        "Sweep",
        f"Expected held-out errors at several widths; judge by the {looked}.",
        tables=(Table("Expected error against width", columns, tuple(rows), chart),),
        warnings=tuple(
            words
            for name, found in forecasts.items()
            for words in _warnings(blocks.named(name), found, preserve)
        ),
        notes=(
            "Forecast without a fit at these widths, each block alone: mostly within a factor of two of what "
            "a fit reaches.",
        ),
    )


def _warnings(block: Block, found: Forecast, preserve: str) -> list[str]:
    """Say from which width on a block is not compressible, and from which on it will not train alike."""
    warnings = []
    widest = _widest_above(LARGE_ERROR, found.widths, found.function_errors)
    if widest is not None:
        warnings.append(
            f"block {block.name}: at {widest[0]} of {block.width} {block.noun} a function error of "
            f"{widest[1]:.2g} is expected, so it is not compressible to that width; keep more {block.noun} "
            "or leave it out"
        )
    widest = _widest_above(KERNEL_ERROR_LIMIT, found.widths, found.kernel_errors)
    if preserve == "dynamics" and widest is not None:
        warnings.append(
            f"block {block.name}: at {widest[0]} of {block.width} {block.noun} a tangent kernel error of "
            f"{widest[1]:.2g} is expected, so it will not train like the original; keep more "
            f"{block.noun}"
        )
    return warnings


def _widest_above(limit: float, widths: Sequence[int], errors: Sequence[float]) -> tuple[int, float] | None:
    return max(((s, e) for s, e in zip(widths, errors, strict=True) if e > limit), default=None)
