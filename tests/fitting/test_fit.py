import pytest
import torch

from jlab_compress.fitting.fit import check_fit
from tests.fitting.problems import dense, draw

X = draw(20, 5)


@pytest.mark.parametrize("size", [1, 40])
def test_widths_up_to_the_present_one_pass(size):
    check_fit(dense(40), X, size)


@pytest.mark.parametrize(
    ("inputs", "size", "message"),
    [
        (X, 0, "size must be between 1 and the layer's width 40; got 0"),
        (X, 41, "size must be between 1 and the layer's width 40; got 41"),
        (X[:, :4], 8, r"inputs must be calibration rows of shape \(q, 5\) with q > 0; got \(20, 4\)"),
        (X[:0], 8, r"shape \(q, 5\) with q > 0; got \(0, 5\)"),
        (X[0], 8, r"shape \(q, 5\) with q > 0; got \(5,\)"),
        (torch.full((3, 5), torch.nan), 8, "inputs must be finite; found NaN or infinity"),
    ],
)
def test_what_no_fit_can_use_is_refused(inputs, size, message):
    with pytest.raises(ValueError, match=message):
        check_fit(dense(40), inputs, size)
