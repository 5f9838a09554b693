import math

import pytest
import torch

from jlab_compress.fitting.aims.dynamics import fit_dynamics
from jlab_compress.fitting.aims.function import fit_function
from jlab_compress.fitting.aims.moments import fit_moments
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.forecast.predict import predict_dynamics, predict_function
from tests.fitting.problems import clustered, dense, draw, tensors

X = draw(200, 5, seed=9)


def test_function_errors_are_within_a_factor_of_two_and_fall_with_width():
    layer = dense(40)
    widths = (4, 10, 20, 40)
    forecast = predict_function(layer, FitRows(X), widths)
    assert forecast.widths == widths
    assert list(forecast.function_errors) == sorted(forecast.function_errors, reverse=True)
    assert list(forecast.kernel_errors) == sorted(forecast.kernel_errors, reverse=True)
    assert (forecast.function_errors[-1], forecast.kernel_errors[-1]) == (0.0, 0.0)
    measured = fit_function(layer, FitRows(X), 10).function_error
    assert 0.5 < forecast.function_errors[1] / measured < 2.2


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, torch.nn.functional.gelu])
def test_errors_of_fits_for_the_dynamics_are_within_a_factor_of_three(activation):
    layer = dense(60, activation=activation)
    found, fit = predict_dynamics(layer, X, (12,)), fit_dynamics(layer, X, 12)
    for predicted, measured in (
        (found.function_errors[0], fit.function_error),
        (found.kernel_errors[0], fit.kernel_error),
    ):
        assert 1 / 3 < predicted / measured < 3


def test_exact_copies_cost_nothing_down_to_the_number_of_distinct_neurons():
    found = predict_dynamics(clustered(groups=6, copies=8), X, (2, 6, 20))
    assert found.kernel_errors[0] > 0.05
    assert found.kernel_errors[1:] == found.function_errors[1:] == (0.0, 0.0)


def test_the_layer_and_the_random_states_stay():
    layer, state = dense(40), torch.get_rng_state()
    before = [t.clone() for t in tensors(layer)]
    first, second = (predict_dynamics(layer, X, (5, 10), seed=1) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(layer), strict=True))


def test_widths_out_of_range_are_refused():
    with pytest.raises(ValueError, match="size must be between 1 and the layer's width 40"):
        predict_dynamics(dense(40), X, (10, 41))


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
