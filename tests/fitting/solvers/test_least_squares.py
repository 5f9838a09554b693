import itertools

import pytest
import torch

from jlab_compress.fitting.solvers.least_squares import least_squares
from jlab_compress.fitting.solvers.pursuit import greedy_columns


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_columns_that_span_the_targets_are_found():
    h = draw(60, 20)
    targets = h[:, [3, 11, 17]] @ draw(3, 4, seed=1)
    assert sorted(greedy_columns(h, targets, 3).tolist()) == [3, 11, 17]


@pytest.mark.parametrize("n_rows", [15, 200])
def test_the_first_choice_is_the_best_single_column(n_rows):
    h, targets = draw(n_rows, 40), draw(n_rows, 2, seed=2)
    errors = [
        (targets - h[:, [j]] @ torch.linalg.lstsq(h[:, [j]], targets).solution).norm() for j in range(40)
    ]
    assert greedy_columns(h, targets, 1).item() == int(torch.stack(errors).argmin())


def test_a_duplicate_column_is_not_chosen_while_others_help():
    h = draw(30, 5)
    h = torch.cat([h, h], dim=1)
    chosen = greedy_columns(h, draw(30, 3, seed=1), 5) % 5
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4]


def test_greedy_is_within_reach_of_the_best_subset():
    h, targets = draw(30, 8), draw(30, 1, seed=5)

    def error(columns):
        solution, _ = least_squares(h[:, list(columns)], targets, intercept=False)
        return (targets - h[:, list(columns)] @ solution).norm()

    best = min(error(c) for c in itertools.combinations(range(8), 3))
    assert error(greedy_columns(h, targets, 3).tolist()) <= 1.1 * best


def test_least_squares_agrees_with_lstsq_and_weights_mean_repetition():
    h, targets = draw(50, 6), draw(50, 2, seed=1)
    ones = torch.ones(50, 1, dtype=torch.float64)
    exact = torch.linalg.lstsq(torch.cat([h, ones], 1), targets).solution
    solution, bias = least_squares(h, targets, intercept=True)
    assert torch.allclose(torch.cat([solution, bias[None]]), exact, rtol=1e-6, atol=1e-8)
    repeats = torch.arange(50) % 3 + 1
    repeated = least_squares(
        h.repeat_interleave(repeats, 0), targets.repeat_interleave(repeats, 0), intercept=True
    )
    weighted = least_squares(h, targets, intercept=True, weights=repeats.double())
    assert torch.allclose(repeated[0], weighted[0], rtol=1e-9)
    assert not torch.allclose(solution, weighted[0], rtol=1e-3)
