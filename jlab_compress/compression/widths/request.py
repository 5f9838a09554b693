"""What widths a caller asks for: read once, and resolved once the blocks of a model are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jlab_compress.compression.widths.tolerance import error_at, width_within
from jlab_compress.compression.widths.values import (
    POLYLOG,
    block_named,
    check_round_to,
    open_blocks,
    read_width,
    read_widths,
    rounded_up,
)
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.inspection.block import Block, Blocks

GRID = 12
Forecaster = Callable[[Block, Sequence[int]], Forecast]


@dataclass(frozen=True)
class Resolved:
    """A number of units for each block that is to be compressed.

    Parameters
    ----------
    widths : mapping of str to int
        By block name.
    notes : tuple of str
        What the report says on them: expected errors, and which blocks were left out.
    """

    widths: Mapping[str, int]
    notes: tuple[str, ...] = ()


class WidthRequest(Protocol):
    """What a caller asks for, before it is known which blocks a model has."""

    def resolve(self, blocks: Blocks, forecast: Forecaster) -> Resolved:
        """Return the width of each block to compress.

        Parameters
        ----------
        blocks : Blocks
            Those of the model.
        forecast : callable
            From (Block, widths) to the errors that are expected there; asked once for a block at most.

        Raises
        ------
        TypeError, ValueError
            If a width cannot be that of its block, or a block is unknown; see `read_width`.
        UnsupportedBlockError
            If a named block is locked, or none is open.
        """


@dataclass(frozen=True)
class NamedWidths:
    """A value for each of some blocks, by name."""

    values: Mapping[str, Any]
    round_to: int = 1

    def resolve(self, blocks: Blocks, forecast: Forecaster) -> Resolved:
        """Return what the values mean."""
        if not self.values:
            name = next((block.name for block in blocks.unlocked), "block")
            raise ValueError(f"widths: names no block; pass for example {{{name!r}: 0.5}}")
        pairs = [(block_named(name, blocks), value) for name, value in self.values.items()]
        return Resolved({b.name: read_width(value, b, round_to=self.round_to) for b, value in pairs})


@dataclass(frozen=True)
class SameWidths:
    """One value for every block that is neither locked nor opt-in."""

    value: Any
    round_to: int = 1

    def resolve(self, blocks: Blocks, forecast: Forecaster) -> Resolved:
        """Return what the value means, with the expected errors where it is a rule."""
        widths = read_widths(self.value, blocks, round_to=self.round_to)
        expected = tuple[str, ...]()
        if isinstance(self.value, str) and self.value == POLYLOG:
            each = [(block, widths[block.name]) for block in open_blocks(blocks)]
            expected = tuple(expectation(b, width, forecast(b, [width])) for b, width in each)
        return Resolved(widths, (*expected, *blocks.left_out))


@dataclass(frozen=True)
class Within:
    """The smallest widths at which the expected held-out errors are within a tolerance.

    Errors are forecast at some widths and taken to lie on straight lines between them, in logarithms.

    Parameters
    ----------
    tolerance : float
        Relative error.
    kernel : bool
        Whether the tangent kernel's error must meet it too.
    """

    tolerance: float
    kernel: bool
    round_to: int = 1

    def resolve(self, blocks: Blocks, forecast: Forecaster) -> Resolved:
        """Return the widths and what is expected at them; present ones where no smaller one will do."""
        widths, expected = {}, []
        for block in open_blocks(blocks):
            grid = sorted({max(1, round(block.width ** (i / GRID))) for i in range(1, GRID + 1)})
            found = forecast(block, grid)
            parts = [found.function_errors, *([found.kernel_errors] if self.kernel else [])]
            worst = [max(errors) for errors in zip(*parts, strict=True)]
            width = rounded_up(width_within(grid, worst, self.tolerance), block, self.round_to)
            widths[block.name] = width
            expected.append(expectation(block, width, found))
        return Resolved(widths, (*expected, *blocks.left_out))


def expectation(block: Block, width: int, found: Forecast) -> str:
    """Return one sentence on the errors expected at a width, without that of the kernel where it is NaN."""
    function = error_at(found.widths, found.function_errors, width)
    kernel = error_at(found.widths, found.kernel_errors, width)
    words = f"block {block.name}: at {width} of {block.width} {block.noun} the forecast was a function error"
    also = "" if math.isnan(kernel) else f" and a tangent kernel error of {kernel:.2g}"
    return f"{words} of {function:.2g}{also}."


def read_request(widths: Any, tolerance: Any, *, kernel: bool, round_to: Any) -> WidthRequest:
    """Return what a caller asks for by widths, or by a tolerance in their place.

    Parameters
    ----------
    widths : int, float, "polylog", mapping of str to these, or None
        For every block, or by block name.
    tolerance : float or None
        See `Within`.
    kernel : bool
        Whether a tolerance is one of the tangent kernel too.
    round_to : int
        Of what widths are multiples; see `read_width`.

    Raises
    ------
    TypeError, ValueError
        If not exactly one of the first two is given, or a number cannot be used.
    """
    multiple = check_round_to(round_to)
    if (widths is None) == (tolerance is None):
        raise ValueError("widths, tolerance: give exactly one of them; a tolerance finds the widths itself")
    if tolerance is not None:
        return Within(_checked(tolerance), kernel, multiple)
    return given_widths(widths, round_to=multiple)


def given_widths(widths: Any, *, round_to: int = 1) -> WidthRequest:
    """Return what a caller asks for by widths alone: one value for every block, or one for each name."""
    return NamedWidths(widths, round_to) if isinstance(widths, Mapping) else SameWidths(widths, round_to)


def _checked(tolerance: Any) -> float:
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise TypeError(f"tolerance: expected a relative error such as 0.05, got {tolerance!r}")
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance: expected a positive relative error such as 0.05, got {tolerance}")
    return float(tolerance)
