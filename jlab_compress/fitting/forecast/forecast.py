"""Expected errors at several widths; of activation-only blocks those of the fits themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jlab_compress.fitting.aims.activation_only import UnitRows, fit_units_dynamics, fit_units_function
from jlab_compress.fitting.layer import Layer


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


def predict_unit_errors(layer: Layer, rows: UnitRows, widths: Sequence[int], *, seed: int = 0) -> Forecast:
    """Return the held-out errors of the fits at each number of units, 0 for all of them.

    Units are few, so every fit is simply made.

    Parameters
    ----------
    layer : Layer
        n units.
    rows : UnitRows
        Calibration; kernel errors are 0 where it has no kernels.
    widths : sequence of int
        Numbers of units to keep, each between 1 and n.
    seed : int
        Of the splits.
    """
    function, kernel = [], []
    for width in widths:
        whole = width == layer.width
        function.append(0.0 if whole else fit_units_function(layer, rows, width, seed=seed).function_error)
        fit = None if whole or not rows.kernels else fit_units_dynamics(layer, rows, width, seed=seed)
        kernel.append(0.0 if fit is None or fit.kernel_error is None else fit.kernel_error)
    return Forecast(tuple(widths), tuple(function), tuple(kernel))
