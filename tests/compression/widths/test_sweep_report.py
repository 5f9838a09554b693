import pytest

from jlab_compress.compression.widths.sweep_report import report_forecasts
from jlab_compress.fitting.forecast.forecast import Forecast
from jlab_compress.inspection.block import Block, Blocks

UP = Block("up", "mlp", (), 40, 10, 400, None, macs=360)
HEADS = Block("heads", "attention", (), 6, 8, 48, None, noun="heads")
BLOCKS = Blocks((UP, HEADS))


def report(*, kernel=True, **forecasts):
    return report_forecasts(BLOCKS, forecasts, kernel=kernel)


def test_every_width_has_a_row_with_what_it_costs():
    found = report(up=Forecast((10, 20), (0.2, 0.1), (0.3, 0.2)), heads=Forecast((3,), (0.1,), (0.1,)))
    rows = [dict(zip(found.tables[0].columns, row, strict=True)) for row in found.tables[0].rows]
    assert rows[0] == {
        "block": "up",
        "width": 10,
        "fraction": 0.25,
        "parameters": 100,
        "macs": 90,
        "function_error": 0.2,
        "kernel_error": 0.3,
    }
    assert [row["width"] for row in rows] == [10, 20, 3]
    assert rows[2]["macs"] is None
    assert found.warnings == ()


@pytest.mark.parametrize(("kernel", "count"), [(True, 2), (False, 1)])
def test_the_widest_width_that_is_too_small_is_warned_about(kernel, count):
    found = report(kernel=kernel, up=Forecast((4, 8, 16), (0.5, 0.4, 0.2), (0.9, 0.6, 0.51)))
    assert len(found.warnings) == count
    assert found.warnings[0].startswith("block up: at 8 of 40 neurons a function error of 0.4 is expected")
    assert not kernel or found.warnings[1].startswith(
        "block up: at 16 of 40 neurons a tangent kernel error of 0.51"
    )
    assert found.summary.endswith("outputs and tangent kernel." if kernel else "judge by the outputs.")


def test_heads_are_called_heads():
    (warning,) = report(heads=Forecast((2,), (0.5,), (0.1,))).warnings
    assert "at 2 of 6 heads" in warning
    assert warning.endswith("keep more heads or leave it out")
