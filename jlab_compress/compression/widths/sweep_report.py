"""Forecasts of several blocks as a report, with a warning where a width is too small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jlab_compress.fitting.criteria import FUNCTION_ERROR_LIMIT, KERNEL_ERROR_LIMIT
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.inspection.block import Block, Blocks
from jlab_compress.report import Chart, Report, Scalar, Table

COLUMNS = ("block", "width", "fraction", "parameters", "macs", "function_error", "kernel_error")


def report_forecasts(blocks: Blocks, forecasts: Mapping[str, Forecast], *, kernel: bool) -> Report:
    """Return the report of a sweep.

    Parameters
    ----------
    blocks : Blocks
        Those of the model.
    forecasts : mapping of str to Forecast
        By block name.
    kernel : bool
        Whether errors of the tangent kernel count, so that large ones are warned about.
    """
    rows = [row for name, found in forecasts.items() for row in _rows(blocks.named(name), found)]
    chart = Chart("width", ("function_error",), by="block", log=True)
    looked = "outputs and tangent kernel" if kernel else "outputs"
    return Report(
        "Sweep",
        f"Expected held-out errors at several widths; judge by the {looked}.",
        tables=(Table("Expected error against width", COLUMNS, tuple(rows), chart),),
        warnings=tuple(
            words
            for name, found in forecasts.items()
            for words in _warnings(blocks.named(name), found, kernel=kernel)
        ),
        notes=(
            "Forecast without a fit at these widths, each block alone: mostly within a factor of two of what "
            "a fit reaches.",
        ),
    )


def _rows(block: Block, found: Forecast) -> list[tuple[Scalar, ...]]:
    rows: list[tuple[Scalar, ...]] = []
    for width, *errors in zip(found.widths, found.function_errors, found.kernel_errors, strict=True):
        macs = None if block.macs is None else block.macs * width // block.width
        rows.append((block.name, width, width / block.width, block.dimension * width, macs, *errors))
    return rows


def _warnings(block: Block, found: Forecast, *, kernel: bool) -> list[str]:
    """Say from which width on a block is not compressible, and from which on it will not train alike."""
    warnings = []
    widest = _widest_above(FUNCTION_ERROR_LIMIT, found.widths, found.function_errors)
    if widest is not None:
        warnings.append(
            f"block {block.name}: at {widest[0]} of {block.width} {block.noun} a function error of "
            f"{widest[1]:.2g} is expected, so it is not compressible to that width; keep more {block.noun} "
            "or leave it out"
        )
    widest = _widest_above(KERNEL_ERROR_LIMIT, found.widths, found.kernel_errors)
    if kernel and widest is not None:
        warnings.append(
            f"block {block.name}: at {widest[0]} of {block.width} {block.noun} a tangent kernel error of "
            f"{widest[1]:.2g} is expected, so it will not train like the original; keep more {block.noun}"
        )
    return warnings


def _widest_above(limit: float, widths: Sequence[int], errors: Sequence[float]) -> tuple[int, float] | None:
    return max(((s, e) for s, e in zip(widths, errors, strict=True) if e > limit), default=None)
