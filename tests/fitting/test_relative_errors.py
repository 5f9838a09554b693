import math

import torch

from jlab_compress.fitting.relative_errors import relative_error


def test_known_errors():
    assert relative_error(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 4.0])) == 0.2
    assert relative_error(torch.ones(4), torch.ones(4)) == 0.0
    assert relative_error(torch.zeros(4), torch.ones(4)) == 1.0


def test_the_scale_of_both_does_not_matter():
    one, other = torch.rand(9), torch.rand(9)
    assert math.isclose(relative_error(8 * one, 8 * other), relative_error(one, other), rel_tol=1e-6)
    assert relative_error(8 * one, other) > 2


def test_what_is_not_finite_is_infinitely_wrong_and_nothing_is_right_for_nothing():
    assert relative_error(torch.tensor([torch.nan]), torch.ones(1)) == math.inf
    assert relative_error(torch.tensor([torch.inf]), torch.ones(1)) == math.inf
    assert relative_error(torch.ones(2), torch.zeros(2)) == math.inf
    assert relative_error(torch.zeros(2), torch.zeros(2)) == 0.0
