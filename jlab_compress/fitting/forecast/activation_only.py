"""Expected errors of activation-only blocks: those of the fits themselves, as units are few."""

from __future__ import annotations

from collections.abc import Sequence

from jlab_compress.fitting.aims.activation_only import UnitRows, fit_units_dynamics, fit_units_function
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.fitting.layer import Layer


def predict_unit_errors(layer: Layer, rows: UnitRows, widths: Sequence[int], *, seed: int = 0) -> Forecast:
    """Return the held-out errors of the fits at each number of units, 0 for all of them.

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
