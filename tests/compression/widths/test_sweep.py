import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress import Aim, Effort, UnsupportedBlockError, compress
from jlab_compress.compression.fits.starts import subset
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.report import Chart
from tests.models import TwoBranches, mlp, rows, seeded

X = rows(300, 4)
sweep = partial(jlab_compress.sweep, effort=Effort(trial_steps=5))
NET = mlp(4, 40, 20, 2, activation=nn.Tanh)


def test_every_open_block_has_errors_that_fall_with_the_width():
    before = copy.deepcopy(NET.state_dict())
    result = sweep(NET, [2, 0.25, 20], calibration=X)
    assert set(result.forecasts) == {"0", "2"}
    assert result.forecasts["0"].widths == (2, 10, 20)
    for found in result.forecasts.values():
        assert list(found.function_errors) == sorted(found.function_errors, reverse=True)
    assert all(torch.equal(v, NET.state_dict()[k]) for k, v in before.items())
    assert "Expected error against width" in repr(result)
    (table,) = result.report.tables
    assert table.chart == Chart("width", ("function_error",), by="block", log=True)
    assert "<table" in result._repr_html_()


def test_the_forecast_is_near_what_the_fit_reaches():
    found = sweep(NET, {"0": [10]}, calibration=X, preserve="function").forecasts["0"]
    fitted = compress(NET, {"0": 10}, calibration=X, preserve="function", progress=False)
    error = fitted.report.tables[0].rows[0][fitted.report.tables[0].columns.index("function_error")]
    assert error / 3 < found.function_errors[0] < error * 3


def test_a_width_that_cannot_work_is_warned_about_and_a_wide_one_is_not():
    narrow, wide = (sweep(NET, {"0": [s]}, calibration=X, preserve="function") for s in (1, 39))
    words = "block 0: at 1 of 40 neurons a function error of"
    assert any(w.startswith(words) and "not compressible" in w for w in narrow.report.warnings)
    assert wide.report.warnings == ()


def test_a_width_that_will_not_train_alike_is_warned_about_under_dynamics_only():
    words = "will not train like the original; keep more neurons"
    for preserve, width, expected in (("dynamics", 1, True), ("dynamics", 39, False), ("function", 1, False)):
        warnings = sweep(NET, {"0": [width]}, calibration=X, preserve=preserve).report.warnings
        assert any(words in w for w in warnings) == expected


def test_fits_for_the_dynamics_are_expected_to_give_up_some_of_the_outputs():
    function, dynamics = (
        sweep(NET, {"0": [20]}, calibration=X, preserve=p).forecasts["0"] for p in ("function", "dynamics")
    )
    assert dynamics.function_errors[0] > 2 * function.function_errors[0]
    assert dynamics.kernel_errors == function.kernel_errors


def test_errors_in_a_residual_stream_are_those_behind_its_norm():
    layer = seeded(nn.TransformerEncoderLayer, 8, 2, 32, batch_first=True).double()
    with torch.no_grad():
        layer.linear2.weight.mul_(0.01)
    x = rows(40, 5, 8)
    (found,) = sweep(layer, [8], calibration=x, preserve="function").forecasts.values()
    (both,) = sweep(layer, [8], calibration=x, preserve="dynamics").forecasts.values()
    bare = nn.Sequential(layer.linear1, nn.ReLU(), layer.linear2)
    (alone,) = sweep(bare, [8], calibration=x.reshape(-1, 8), preserve="function").forecasts.values()
    assert found.function_errors[0] < 0.1 * alone.function_errors[0]
    assert both.function_errors == found.function_errors


def test_widths_default_to_halvings_and_polylog_for_all_or_named_blocks():
    assert sweep(NET, calibration=X).forecasts["2"].widths == (1, 2, 5, 10, 18)
    assert set(sweep(NET, ["2"], calibration=X).forecasts) == {"2"}
    assert sweep(NET, {"2": [3], "0": None}, calibration=X).forecasts["2"].widths == (3,)


def test_errors_are_those_of_the_aim_that_is_asked_for():
    seen = []

    def forecast(site, widths, *, kernel=True):
        seen.append((site.block.name, list(widths), kernel, site.effort.trial_steps))
        return Forecast(tuple(widths), (0.9,) * len(widths), (0.9,) * len(widths))

    aim = Aim("mine", subset, forecast=forecast)
    found = sweep(NET, {"2": [3, 5]}, calibration=X, preserve=aim)
    assert seen == [("2", [3, 5], True, 5)]
    assert found.forecasts["2"].function_errors == (0.9, 0.9)
    assert len(found.report.warnings) == 1
    trains = replace(aim, matches_training=True)
    assert len(sweep(NET, {"2": [3]}, calibration=X, preserve=trains).report.warnings) == 2


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="block 2 has 20 neurons, so expected 1 to 20, got 30"):
        sweep(NET, [30], calibration=X)
    with pytest.raises(ValueError, match="there is no block '7'"):
        sweep(NET, {"7": [3]}, calibration=X)
    with pytest.raises(TypeError, match="got 'wide'"):
        sweep(NET, ["wide"], calibration=X)
    with pytest.raises(ValueError, match="preserve: expected one of"):
        sweep(NET, [3], calibration=X, preserve="outputs")
    with pytest.raises(UnsupportedBlockError, match="no block can be compressed"):
        sweep(seeded(TwoBranches, "flip").double(), [3], calibration=rows(20, 5))
