import math

from torch import nn

from jlab_compress import prepare
from jlab_compress.compression.fits.forecasts import forecast_dynamics, forecast_function
from jlab_compress.compression.fits.site import Site
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.forecast.predict import predict_dynamics, predict_function
from tests.models import mlp
from tests.quick import FAST, X

NET = mlp(6, 40, 3, activation=nn.Tanh)
PREPARED = prepare(NET, X)
HOW = {"seed": 3, "effort": FAST}


def site(**more):
    return Site(NET, NET, PREPARED.blocks[0], PREPARED.calls, **HOW, **more)


def test_forecasts_are_those_of_the_fits_of_an_aim():
    place = site()
    assert forecast_function(place, (4, 8)) == predict_function(place.layer, FitRows(X), [4, 8], **HOW)
    assert forecast_dynamics(place, (4, 8)) == predict_dynamics(place.layer, X, [4, 8], **HOW)
    assert forecast_dynamics(place, (4, 8)) != forecast_function(place, (4, 8))


def test_errors_of_the_kernel_are_left_out_on_request():
    assert all(math.isnan(error) for error in forecast_function(site(), (4, 8), kernel=False).kernel_errors)
    assert not any(math.isnan(error) for error in forecast_function(site(), (4, 8)).kernel_errors)


def test_blocks_that_share_a_stream_begin_with_fits_for_the_function():
    shared = site(shares_stream=True)
    assert forecast_dynamics(shared, (4, 8)) == forecast_function(shared, (4, 8))
