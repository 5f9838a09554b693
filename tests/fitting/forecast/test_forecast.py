import dataclasses

import pytest

from jlab_compress.fitting.aims.activation_only import UnitRows, fit_units_dynamics, fit_units_function
from jlab_compress.fitting.forecast.forecast import Forecast, predict_unit_errors
from tests.fitting.problems import EACH, draw, unit_kernels, units

LAYER, ROWS = units(8), UnitRows(draw(150, 8 * EACH), unit_kernels(8, 8))


def test_the_forecast_is_what_the_fits_reach():
    found = predict_unit_errors(LAYER, ROWS, [2, 5, 8])
    assert found.widths == (2, 5, 8)
    assert found.function_errors[0] > found.function_errors[1] > found.function_errors[2] == 0.0
    assert found.function_errors[1] == fit_units_function(LAYER, ROWS, 5).function_error
    assert found.kernel_errors[1] == fit_units_dynamics(LAYER, ROWS, 5).kernel_error
    assert found.kernel_errors[1] > found.kernel_errors[2] == 0.0


def test_without_kernels_there_are_no_kernel_errors():
    bare = dataclasses.replace(ROWS, kernels=())
    found = predict_unit_errors(LAYER, bare, [2, 5])
    assert found.kernel_errors == (0.0, 0.0)
    assert found.function_errors == predict_unit_errors(LAYER, ROWS, [2, 5]).function_errors


def test_the_seed_draws_the_held_out_rows():
    one, same, other = (predict_unit_errors(LAYER, ROWS, [3], seed=s) for s in (1, 1, 2))
    assert one == same
    assert one.function_errors != pytest.approx(other.function_errors)


def test_there_is_one_error_of_each_kind_per_width():
    assert Forecast((1, 2), (0.5, 0.1), (0.9, 0.4)).widths == (1, 2)
    with pytest.raises(ValueError, match="must be equally many; got 2, 1 and 2"):
        Forecast((1, 2), (0.5,), (0.9, 0.4))
