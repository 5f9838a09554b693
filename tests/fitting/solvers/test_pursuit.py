import itertools

import pytest
import torch

from jlab_compress.fitting.solvers.gram import FeatureGram, HeldGram
from jlab_compress.fitting.solvers.least_squares import least_squares
from jlab_compress.fitting.solvers.pursuit import greedy_columns, greedy_groups, pursue
from tests.fitting.problems import draw


def columns_of(groups, each):
    return [g * each + i for g in groups for i in range(each)]


def best_error(features, targets, columns):
    solution = torch.linalg.lstsq(features[:, columns], targets).solution
    return float((targets - features[:, columns] @ solution).norm())


def slow_greedy(features, targets, size, each=1):
    """Try every group that is left, each by a least-squares solve of its own."""
    chosen: list[int] = []
    for _ in range(size):
        left = [g for g in range(features.shape[1] // each) if g not in chosen]
        chosen.append(min(left, key=lambda g: best_error(features, targets, columns_of([*chosen, g], each))))
    return chosen


@pytest.mark.parametrize(("rows", "n"), [(60, 14), (20, 50)])
def test_columns_are_those_of_the_slow_search(rows, n):
    features, targets = draw(rows, n), draw(rows, 3, seed=1)
    found = greedy_columns(features, targets, 8).tolist()
    assert found == slow_greedy(features, targets, 8)
    assert found != slow_greedy(features, targets.roll(1, 0), 8)


@pytest.mark.parametrize("each", [2, 3])
def test_groups_are_those_of_the_slow_search(each):
    features, targets = draw(80, 8 * each), draw(80, 5, seed=1)
    found = greedy_groups(features, targets, 5, each).tolist()
    assert found == slow_greedy(features, targets, 5, each)
    assert found != slow_greedy(features, targets.roll(1, 0), 5, each)


def test_groups_of_one_are_columns():
    features, targets = draw(60, 12), draw(60, 3, seed=1)
    assert torch.equal(greedy_groups(features, targets, 6, 1), greedy_columns(features, targets, 6))


def test_of_orthogonal_columns_those_with_the_largest_products_are_taken():
    """Here greedy is exact."""
    basis, _ = torch.linalg.qr(draw(40, 10))
    scales = torch.tensor([3.0, -1.0, 0.5, 9.0, 2.0, -7.0, 0.1, 4.0, -5.0, 6.0]).double()
    assert greedy_columns(basis, basis @ scales[:, None], 5).tolist() == [3, 5, 9, 8, 7]
    errors = {
        c: best_error(basis, basis @ scales[:, None], list(c)) for c in itertools.combinations(range(10), 3)
    }
    assert sorted(min(errors, key=errors.get)) == [3, 5, 9]


def test_columns_that_span_the_targets_are_found():
    features = draw(60, 20)
    targets = features[:, [3, 11, 17]] @ draw(3, 4, seed=1)
    assert sorted(greedy_columns(features, targets, 3).tolist()) == [3, 11, 17]


def test_a_duplicate_column_is_not_chosen_while_others_help():
    features = torch.cat([draw(30, 5)] * 2, dim=1)
    assert sorted((greedy_columns(features, draw(30, 3, seed=1), 5) % 5).tolist()) == [0, 1, 2, 3, 4]


def test_greedy_is_within_reach_of_the_best_subset():
    features, targets = draw(30, 8), draw(30, 1, seed=5)
    best = min(best_error(features, targets, list(c)) for c in itertools.combinations(range(8), 3))
    mine = best_error(features, targets, greedy_columns(features, targets, 3).tolist())
    assert best * (1 - 1e-9) <= mine <= 1.1 * best


@pytest.mark.parametrize("each", [1, 2])
def test_factor_and_coordinates_hold_the_solution_for_every_number_of_groups(each):
    features, targets = draw(40, 6 * each), draw(40, 2, seed=1)
    found = pursue(HeldGram(features.T @ features), features.T @ targets, 4, each=each)
    for k in (1, 2, 4):
        columns = columns_of(found.order[:k].tolist(), each)
        square = found.factor[: k * each][:, columns]
        torch.testing.assert_close(square, square.triu(), rtol=0, atol=1e-12)
        solution = torch.linalg.solve_triangular(square, found.reached[: k * each], upper=True)
        expected, _ = least_squares(features[:, columns], targets, intercept=False)
        torch.testing.assert_close(solution, expected, rtol=1e-5, atol=1e-6)


def test_a_gram_matrix_that_is_not_held_gives_the_same():
    features, targets = draw(30, 25), draw(30, 2, seed=1)
    held = pursue(HeldGram(features.T @ features), features.T @ targets, 6)
    lazy = pursue(FeatureGram(features), features.T @ targets, 6)
    assert torch.equal(held.order, lazy.order)
    torch.testing.assert_close(held.factor, lazy.factor)


def test_all_columns_can_be_chosen_even_if_they_depend():
    features = draw(30, 3) @ draw(3, 9, seed=1)
    assert sorted(greedy_columns(features, draw(30, 1, seed=2), 9).tolist()) == list(range(9))
    assert sorted(greedy_groups(features, draw(30, 1, seed=2), 3, 3).tolist()) == [0, 1, 2]
