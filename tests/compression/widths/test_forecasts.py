import pytest
import torch
from torch import nn

from jlab_compress import Aim, prepare
from jlab_compress.compression.fits.aims import AIMS
from jlab_compress.compression.fits.forecasts import forecast_function
from jlab_compress.compression.fits.site import Site
from jlab_compress.compression.fits.starts import subset
from jlab_compress.compression.widths.forecasts import forecaster
from jlab_compress.execution.calls import Call
from tests.models import mlp, rows, seeded
from tests.quick import FAST, X

NET = mlp(6, 40, 3, activation=nn.Tanh)


def forecast_of(prepared, aim, block, widths, **how):
    how = {"shares_stream": False, "kernel": False, "seed": 0, "effort": FAST, **how}
    return forecaster(prepared, aim, prepared.calls, **how)(block, widths)


def test_an_aim_without_a_forecast_has_that_of_fits_for_the_function():
    prepared = prepare(NET, X)
    block = prepared.blocks[0]
    found = forecast_of(prepared, Aim("mine", subset), block, [4, 8])
    place = Site(prepared.original, prepared.original, block, prepared.calls, effort=FAST)
    expected = forecast_function(place, [4, 8], kernel=False)
    assert found.function_errors == expected.function_errors
    assert forecast_of(prepared, AIMS["dynamics"], block, [4, 8]).function_errors != expected.function_errors


def test_heads_are_forecast_by_their_fits_under_every_aim():
    layer = seeded(nn.TransformerEncoderLayer, 12, 6, 16, 0.0, batch_first=True).double()
    prepared = prepare(layer, rows(40, 4, 12))
    block = prepared.blocks.named("self_attn")
    own, function = (
        forecast_of(prepared, aim, block, [2, 4]) for aim in (Aim("mine", subset), AIMS["function"])
    )
    assert own == function
    assert own.function_errors[0] > own.function_errors[1] > 0


def test_an_error_names_the_block():
    prepared = prepare(NET, X).on([Call((torch.full_like(X[:9], torch.inf),))], seed=0)
    with pytest.raises(ValueError, match=r"^block 0: calibration batch 0: it reaches 0 with NaN or infinite"):
        forecast_of(prepared, AIMS["function"], prepared.blocks[0], [4])
