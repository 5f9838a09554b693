"""Expected errors at several widths."""

from __future__ import annotations

from dataclasses import dataclass


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
        Expected relative error of the tangent kernel's action; NaN where it was not asked for.

    Raises
    ------
    ValueError
        If there is not one error of each kind per width.
    """

    widths: tuple[int, ...]
    function_errors: tuple[float, ...]
    kernel_errors: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = len(self.widths), len(self.function_errors), len(self.kernel_errors)
        if len(set(counts)) != 1:
            raise ValueError(
                "Forecast: widths, function_errors and kernel_errors must be equally many; got "
                f"{counts[0]}, {counts[1]} and {counts[2]}"
            )
