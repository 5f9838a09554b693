import math

import pytest
import torch

from jlab_compress.fitting.held_out import relative_error, split_rows


@pytest.mark.parametrize(("n", "held"), [(5, 1), (10, 2), (53, 11), (1000, 200)])
def test_a_fifth_is_held_out_and_no_row_is_on_both_sides(n, held):
    split = split_rows(n)
    assert len(split.held) == held
    assert torch.cat([split.fit, split.held]).sort().values.tolist() == list(range(n))
    assert split.fit.tolist() == sorted(split.fit.tolist())


@pytest.mark.parametrize("n", [1, 4])
def test_of_few_rows_none_can_be_held_out(n):
    split = split_rows(n)
    assert split.fit.tolist() == split.held.tolist() == list(range(n))


def test_the_seed_draws_and_the_global_generator_stays():
    state = torch.get_rng_state()
    assert torch.equal(split_rows(100, 3).held, split_rows(100, 3).held)
    assert not torch.equal(split_rows(100, 3).held, split_rows(100, 4).held)
    assert torch.equal(torch.get_rng_state(), state)


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
