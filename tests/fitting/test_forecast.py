import math

import pytest
import torch

from jlab_compress.fitting.forecast import PowerLaw, predict_errors
from jlab_compress.fitting.function import fit_function
from jlab_compress.fitting.moments import fit_moments
from tests.fitting.problems import dense, draw

X = draw(200, 5, seed=9)


def test_function_errors_are_within_a_factor_of_two_and_fall_with_width():
    layer = dense(40)
    widths = (4, 10, 20, 40)
    forecast = predict_errors(layer, X, widths)
    assert forecast.widths == widths
    assert list(forecast.function_errors) == sorted(forecast.function_errors, reverse=True)
    assert list(forecast.kernel_errors) == sorted(forecast.kernel_errors, reverse=True)
    assert (forecast.function_errors[-1], forecast.kernel_errors[-1]) == (0.0, 0.0)
    measured = fit_function(layer, X, 10).function_error
    assert 0.5 < forecast.function_errors[1] / measured < 2.2


def test_a_power_law_goes_through_its_points():
    law = PowerLaw((8, 32), (0.4, 0.2))
    assert (law(8), law(32), law(128)) == pytest.approx((0.4, 0.2, 0.1))


def test_widths_out_of_range_are_refused():
    with pytest.raises(ValueError, match="size must be between 1 and the layer's width 40"):
        predict_errors(dense(40), X, (10, 41))


def test_moments_of_parameters_are_kept_and_random_ones_are_not():
    layer = dense(300, n_in=2, n_out=1, activation=torch.tanh)
    fit = fit_moments(layer, 60, inputs=draw(50, 2))
    points = torch.cat([layer.incoming[0], layer.biases[0][:, None], layer.outgoing], dim=1)
    slim = fit.layer
    kept = torch.cat([slim.incoming[0], slim.biases[0][:, None], slim.outgoing], dim=1)
    c = slim.multiplicities
    assert torch.allclose(c @ kept, points.sum(dim=0), atol=1e-9)
    assert torch.allclose(c.sum(), torch.tensor(300.0).double())
    assert not torch.allclose(torch.full_like(c, 5.0) @ points[:60][: len(c)], points.sum(dim=0), atol=1e-3)
    assert math.isfinite(fit.function_error)


def test_moments_refuse_a_dimension_that_is_too_high():
    with pytest.raises(ValueError, match="neurons with 9 parameters, which takes N = 10"):
        fit_moments(dense(40), 9)
    with pytest.raises(ValueError, match="size must be between"):
        fit_moments(dense(40), 41)
