import functools
import math

import pytest
import torch
from torch.nn.functional import layer_norm

from jlab_compress.fitting.aims.dynamics import fit_dynamics
from jlab_compress.fitting.aims.function import fit_function
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.forecast import predict
from jlab_compress.fitting.post_norm import PostNormMap
from tests.fitting.problems import clustered, dense, draw, same_bits, tensors

X = draw(200, 5, seed=9)
ROWS = FitRows(X)
FEW = Effort(
    trial_steps=60,
    trial_batches=6,
    projection_evaluations=40,
    mixed_rows=300,
    node_steps=300,
    node_batches=20,
)
predict_dynamics = functools.partial(predict.predict_dynamics, effort=FEW)
predict_function = functools.partial(predict.predict_function, effort=FEW)


def test_function_errors_are_within_a_factor_of_two_and_fall_with_width():
    layer, widths = dense(40), (4, 10, 20, 40)
    forecast = predict_function(layer, ROWS, widths)
    assert forecast.widths == widths
    assert list(forecast.function_errors) == sorted(forecast.function_errors, reverse=True)
    assert list(forecast.kernel_errors) == sorted(forecast.kernel_errors, reverse=True)
    assert (forecast.function_errors[-1], forecast.kernel_errors[-1]) == (0.0, 0.0)
    measured = fit_function(layer, ROWS, 10, effort=FEW).function_error
    assert 0.5 < forecast.function_errors[1] / measured < 2.2


def test_kernel_errors_are_those_of_the_dynamics_or_not_asked_for():
    layer = dense(40)
    with_them = predict_function(layer, ROWS, (5, 10))
    assert with_them.kernel_errors == predict_dynamics(layer, X, (5, 10)).kernel_errors
    without = predict_function(layer, ROWS, (5, 10), kernel=False)
    assert all(map(math.isnan, without.kernel_errors))
    assert without.function_errors == with_them.function_errors


def test_function_errors_are_those_behind_the_norm():
    layer, stream = dense(40), 20 * draw(200, 3, seed=4)
    behind = FitRows(X, post_norm=PostNormMap(stream, lambda values: layer_norm(values, (3,))))
    plain = predict_function(layer, ROWS, (10,), kernel=False).function_errors[0]
    damped = predict_function(layer, behind, (10,), kernel=False).function_errors[0]
    assert damped < 0.5 * plain
    assert 0.4 < damped / fit_function(layer, behind, 10, effort=FEW).function_error < 2.5


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, torch.nn.functional.gelu])
def test_errors_of_fits_for_the_dynamics_are_within_a_factor_of_three(activation):
    layer = dense(60, activation=activation)
    found, fit = predict_dynamics(layer, X, (12,)), fit_dynamics(layer, X, 12, effort=FEW)
    for predicted, measured in (
        (found.function_errors[0], fit.function_error),
        (found.kernel_errors[0], fit.kernel_error),
    ):
        assert 1 / 3 < predicted / measured < 3


def test_exact_copies_cost_nothing_down_to_the_number_of_distinct_neurons():
    found = predict_dynamics(clustered(groups=6, copies=8), X, (2, 6, 20))
    assert found.kernel_errors[0] > 0.05
    assert found.kernel_errors[1:] == found.function_errors[1:] == (0.0, 0.0)


def test_widths_come_back_in_the_order_they_were_asked_for():
    rising, falling = (predict_dynamics(dense(40), X, widths) for widths in ((5, 20), (20, 5)))
    assert falling.widths == (20, 5)
    assert falling.kernel_errors == rising.kernel_errors[::-1]


@pytest.mark.parametrize(("forecast", "rows"), [(predict_dynamics, X), (predict_function, ROWS)])
def test_the_layer_and_the_random_states_stay(forecast, rows):
    layer, state = dense(40), torch.get_rng_state()
    before = [t.clone() for t in tensors(layer)]
    first, second = (forecast(layer, rows, (5, 10), seed=1) for _ in range(2))
    assert first == second
    assert first != forecast(layer, rows, (5, 10), seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert same_bits(layer, dense(40))
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(layer), strict=True))


@pytest.mark.parametrize(("forecast", "rows"), [(predict_dynamics, X), (predict_function, ROWS)])
def test_widths_out_of_range_are_refused(forecast, rows):
    with pytest.raises(ValueError, match="size must be between 1 and the layer's width 40"):
        forecast(dense(40), rows, (10, 41))
