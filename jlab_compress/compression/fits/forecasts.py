"""What errors the fits of a block are expected to have, by the aim that they are for."""

from __future__ import annotations

from collections.abc import Sequence

from jlab_compress.compression.fits.site import Site
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.fitting.forecast.predict import predict_dynamics, predict_function


def forecast_function(site: Site, widths: Sequence[int], *, kernel: bool = True) -> Forecast:
    """Return the errors that fits for the function are expected to have, behind the residual stream's norm.

    Parameters
    ----------
    site : Site
        The block in the original model.
    widths : sequence of int
        Of which the errors are wanted.
    kernel : bool
        Whether errors of the tangent kernel are wanted, for which there is a second trial fit; else NaN.
    """
    return predict_function(
        site.layer, site.real_rows, widths, kernel=kernel, seed=site.seed, effort=site.effort
    )


def forecast_dynamics(site: Site, widths: Sequence[int], *, kernel: bool = True) -> Forecast:
    """Return the errors that fits for the dynamics are expected to have; parameters as `forecast_function`.

    Blocks that write into one residual stream begin with fits for the function, and so does their forecast.
    """
    if site.shares_stream:
        return forecast_function(site, widths, kernel=kernel)
    return predict_dynamics(site.layer, site.inputs, widths, seed=site.seed, effort=site.effort)
