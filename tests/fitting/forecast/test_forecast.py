import pytest

from jlab_compress.fitting.forecast.forecast import Forecast


def test_there_is_one_error_of_each_kind_per_width():
    assert Forecast((1, 2), (0.5, 0.1), (0.9, 0.4)).widths == (1, 2)
    with pytest.raises(ValueError, match="must be equally many; got 2, 1 and 2"):
        Forecast((1, 2), (0.5,), (0.9, 0.4))
