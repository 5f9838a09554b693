"""Errors against width, straight between forecasts in logarithms: the width for an error, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence


def width_within(widths: Sequence[int], errors: Sequence[float], tolerance: float) -> int:
    """Return the least width at which errors meet a tolerance; the largest one where none does.

    Parameters
    ----------
    widths : sequence of int
        Ascending.
    errors : sequence of float
        Expected at these.
    tolerance : float
        The largest error allowed.

    Examples
    --------
    >>> width_within([10, 1000], [0.1, 0.001], 0.01)
    100
    """
    first = next((i for i, error in enumerate(errors) if error <= tolerance), len(widths) - 1)
    if first == 0 or errors[first] > tolerance or errors[first] == 0:
        return widths[first]
    above, below = math.log(errors[first - 1]), math.log(errors[first])
    share = (above - math.log(tolerance)) / (above - below)
    low, high = math.log(widths[first - 1]), math.log(widths[first])
    return min(widths[first], math.ceil(math.exp(low + share * (high - low)) - 1e-9))


def error_at(widths: Sequence[int], errors: Sequence[float], width: int) -> float:
    """Return the error on the same line at a width between the first and the last.

    Towards no error at all there is no line in logarithms; there the error at the narrower width is given.

    Examples
    --------
    >>> round(error_at([10, 1000], [0.1, 0.001], 100), 9), error_at([10, 1000], [0.1, 0.0], 100)
    (0.01, 0.1)
    """
    if width in widths:
        return errors[widths.index(width)]
    after = next(i for i, known in enumerate(widths) if known > width)
    narrow, wide = errors[after - 1], errors[after]
    if not (narrow > 0 and wide > 0):
        return narrow
    share = math.log(width / widths[after - 1]) / math.log(widths[after] / widths[after - 1])
    return math.exp((1 - share) * math.log(narrow) + share * math.log(wide))
