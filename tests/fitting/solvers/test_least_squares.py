import torch

from jlab_compress.fitting.solvers.least_squares import least_squares
from tests.fitting.problems import draw


def test_the_solution_is_that_of_lstsq():
    features, targets = draw(50, 6), draw(50, 2, seed=1)
    with_one = torch.cat([features, torch.ones(50, 1).double()], 1)
    exact = torch.linalg.lstsq(with_one, targets).solution
    solution, bias = least_squares(features, targets, intercept=True)
    torch.testing.assert_close(torch.cat([solution, bias[None]]), exact, rtol=1e-6, atol=1e-8)
    through_zero, none = least_squares(features, targets, intercept=False)
    torch.testing.assert_close(
        through_zero, torch.linalg.lstsq(features, targets).solution, rtol=1e-6, atol=1e-8
    )
    assert not bool(none.any())
    assert not torch.allclose(through_zero, solution, rtol=1e-3)


def test_weights_mean_repetition():
    features, targets, repeats = draw(50, 6), draw(50, 2, seed=1), torch.arange(50) % 3 + 1
    repeated = least_squares(
        features.repeat_interleave(repeats, 0), targets.repeat_interleave(repeats, 0), intercept=True
    )
    weighted = least_squares(features, targets, intercept=True, weights=repeats.double())
    torch.testing.assert_close(repeated, weighted, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(least_squares(features, targets, intercept=True)[0], weighted[0], rtol=1e-3)


def test_dependent_columns_share_the_work():
    column, targets = draw(30, 1), draw(30, 1, seed=1)
    alone, _ = least_squares(column, targets, intercept=False)
    twice, _ = least_squares(torch.cat([column, column], 1), targets, intercept=False)
    torch.testing.assert_close(twice, torch.cat([alone, alone]) / 2, rtol=1e-5, atol=1e-8)


def test_a_larger_ridge_gives_smaller_weights():
    features, targets = draw(30, 4), draw(30, 1, seed=1)
    sizes = [
        float(least_squares(features, targets, intercept=True, ridge=ridge)[0].norm())
        for ridge in (1e-8, 0.1, 10.0)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.2 * sizes[0]


def test_columns_of_zeros_get_no_weight():
    solution, bias = least_squares(torch.zeros(5, 2).double(), torch.ones(5, 1).double(), intercept=True)
    assert solution.tolist() == [[0.0], [0.0]]
    assert bias.tolist() == [1.0]
