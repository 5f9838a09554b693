"""Expected errors of a prepared model's blocks against width, by an aim."""

from __future__ import annotations

from collections.abc import Sequence

from jlab_compress.compression.fits.activation_only import forecast_units
from jlab_compress.compression.fits.aim import Aim
from jlab_compress.compression.fits.forecasts import forecast_function
from jlab_compress.compression.fits.site import Site, naming
from jlab_compress.compression.prepared import Prepared
from jlab_compress.compression.widths.request import Forecaster
from jlab_compress.execution.calls import Call
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.inspection.block import Block


def forecaster(
    prepared: Prepared,
    aim: Aim,
    calls: tuple[Call, ...],
    *,
    shares_stream: bool,
    kernel: bool,
    seed: int,
    effort: Effort,
) -> Forecaster:
    """Return a function from (Block, widths) to the errors that an aim's fits are expected to have there.

    Parameters
    ----------
    prepared : Prepared
        The model.
    aim : Aim
        Of the fits.
    calls : tuple of Call
        Calibration to fit trials to, and to measure them on.
    shares_stream : bool
        Whether the blocks that may be compressed share a residual stream; see `share_stream`.
    kernel : bool
        Whether errors of the tangent kernel are wanted where they take a trial fit of their own.
    seed : int
        Of all draws.
    effort : Effort
        Budgets of the trials.
    """
    model = prepared.original

    def forecast(block: Block, widths: Sequence[int]) -> Forecast:
        site = Site(model, model, block, calls, shares_stream=shares_stream, seed=seed, effort=effort)
        with naming(block):
            if block.activation_only:
                return forecast_units(site, widths)
            return (aim.forecast or forecast_function)(site, widths, kernel=kernel)

    return forecast
