import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlab_compress.core.thinning import thin


def problem(m, n, seed):
    """Weighted rows with the constant function first, and one penalty per object."""
    rng = np.random.default_rng(seed)
    counts = rng.uniform(0.5, 2, m)
    rows = np.hstack([np.ones((m, 1)), rng.uniform(-1, 1, (m, n - 1))]) * counts[:, None]
    return rows, np.diag(counts)


def penalty(ratios, penalties):
    return float(np.square((ratios - 1) @ penalties).sum())


def cheapest_without(rows, penalties, dropped):
    """The best ratios with some objects at zero, by Lagrange multipliers; None if one is negative."""
    m, n = rows.shape
    held = np.zeros((m, len(dropped)))
    held[dropped, range(len(dropped))] = 1.0
    constraints = np.hstack([rows, held])
    wanted = np.concatenate([rows.sum(0), np.zeros(len(dropped))])
    square = penalties @ penalties.T
    system = np.block(
        [[2 * square, constraints], [constraints.T, np.zeros((n + len(dropped), n + len(dropped)))]]
    )
    found = np.linalg.lstsq(system, np.concatenate([2 * square @ np.ones(m), wanted]), rcond=None)[0][:m]
    return found if found.min() > -1e-9 else None


def test_four_equal_objects_become_two_that_count_twice():
    assert thin(np.ones((4, 1)), np.eye(4), 2).round(9).tolist() == [2.0, 2.0, 0.0, 0.0]


def test_nothing_is_dropped_where_there_is_nothing_to_drop():
    rows, penalties = problem(6, 3, 0)
    assert thin(rows, penalties, 6).tolist() == [1.0] * 6
    assert thin(rows[:3], penalties[:3], 1).tolist() == [1.0] * 3


@settings(max_examples=60, deadline=None)
@given(m=st.integers(5, 80), n=st.integers(1, 4), share=st.floats(0.1, 0.9), seed=st.integers(0, 2**32 - 1))
def test_sums_are_kept_by_at_most_so_many_objects(m, n, share, seed):
    rows, penalties = problem(m, n, seed)
    size = max(1, int(share * m))
    ratios = thin(rows, penalties, size)
    assert np.count_nonzero(ratios) <= max(size, n)
    assert ratios.min() >= 0
    assert rows.T @ ratios == pytest.approx(rows.sum(0), abs=1e-11 * np.abs(rows).sum())


@pytest.mark.parametrize("seed", range(6))
def test_one_removal_is_the_cheapest_that_leaves_all_positive(seed):
    rows, penalties = problem(12, 3, seed)
    mine = thin(rows, penalties, 11)
    tried = [cheapest_without(rows, penalties, [i]) for i in range(12)]
    allowed = [t for t in tried if t is not None and (np.sort(t * rows[:, 0])[1] > 0.02 * rows[:, 0].mean())]
    best = min(allowed, key=lambda one: penalty(one, penalties))
    assert mine == pytest.approx(best, abs=1e-8)
    worst = max(allowed, key=lambda one: penalty(one, penalties))
    assert mine != pytest.approx(worst, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_greedy_removal_is_within_reach_of_the_best_subset(seed):
    rows, penalties = problem(9, 2, seed)
    mine = penalty(thin(rows, penalties, 5), penalties)
    tried = [
        cheapest_without(rows, penalties, list(dropped)) for dropped in itertools.combinations(range(9), 4)
    ]
    best = min(penalty(one, penalties) for one in tried if one is not None)
    assert best <= mine * (1 + 1e-9)
    assert mine <= 1.6 * best


def test_the_object_with_the_least_penalty_goes_first():
    penalties = np.diag([10.0, 10.0, 1.0, 10.0])
    assert thin(np.ones((4, 1)), penalties, 3).tolist()[2] == 0.0
    assert thin(np.ones((4, 1)), penalties[::-1, ::-1].copy(), 3).tolist()[1] == 0.0
