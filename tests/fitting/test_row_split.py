import pytest
import torch

from jlab_compress.fitting.row_split import split_rows


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
