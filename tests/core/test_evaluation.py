import pytest
import torch

from jlab_compress.core.cloud import Cloud
from jlab_compress.core.evaluation import RandomFunctionTest


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


POINTS = normal(20_000, 3)
ONES = torch.ones(20_000).double()


def test_the_cloud_itself_has_no_error_in_any_order():
    test, order = RandomFunctionTest(POINTS, ONES, seed=0), torch.randperm(20_000)
    assert test.error(Cloud(POINTS, ONES)) == 0.0
    assert test.error(Cloud(POINTS[order], ONES)) < 1e-12
    assert test.error(Cloud(POINTS, 3 * ONES)) < 1e-12


@pytest.mark.parametrize("size", [50, 200, 1000])
def test_random_subsets_are_off_by_about_one_over_their_root(size):
    """The functions have a variance of about a quarter: sigmoids next to none, cosines a half."""
    test, parts = RandomFunctionTest(POINTS, ONES, seed=0), POINTS.split(size)[:20]
    squares = [test.error(Cloud(part, torch.ones(len(part)).double())) ** 2 for part in parts]
    assert 0.3 < (size * sum(squares) / 20) ** 0.5 < 0.7


def test_an_offset_and_a_scale_of_the_whole_cloud_change_nothing():
    moved, subset = 5 + 100 * POINTS, slice(0, 300)
    plain = RandomFunctionTest(POINTS, ONES, seed=2).error(Cloud(POINTS[subset], ONES[subset]))
    other = RandomFunctionTest(moved, ONES, seed=2).error(Cloud(moved[subset], ONES[subset]))
    assert other == pytest.approx(plain, rel=1e-9)
    assert RandomFunctionTest(POINTS, ONES, seed=2).error(Cloud(moved[subset], ONES[subset])) > 2 * plain


def test_the_seed_draws_the_functions_and_the_global_generator_stays():
    state, subset = torch.get_rng_state(), Cloud(POINTS[:300], ONES[:300])
    one, same, other = (RandomFunctionTest(POINTS, ONES, seed=s).error(subset) for s in (1, 1, 2))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), state)
