import itertools

import pytest
import torch
from scipy.optimize import nnls

from jlab_compress.fitting.solvers.gram import HeldGram, OutputGram
from jlab_compress.fitting.solvers.nnls import select_nonnegative, solve_nonnegative
from tests.fitting.problems import draw


def test_the_gram_solve_agrees_with_the_one_on_columns():
    columns, target = draw(50, 12), draw(50, seed=3)
    c, _ = nnls(columns.numpy(), target.numpy())
    ours = solve_nonnegative(columns.T @ columns, columns.T @ target)
    assert ours.numpy() == pytest.approx(c, abs=1e-6)
    assert bool((ours == 0).any())
    assert torch.linalg.lstsq(columns, target[:, None]).solution[:, 0].numpy() != pytest.approx(c, abs=1e-2)


def test_a_sparse_positive_combination_is_found_and_a_negative_one_is_not():
    hidden, outgoing = draw(80, 20), draw(20, 2, seed=1)
    gram = OutputGram(hidden, outgoing)
    for sign in (1.0, -1.0):
        counts = torch.zeros(20).double()
        counts[[2, 9, 15]] = torch.tensor([1.0, sign * 3.0, 2.0]).double()
        indices, found = select_nonnegative(gram, gram.products((hidden * counts) @ outgoing), 6)
        assert bool((found > 0).all())
        assert indices.tolist() == sorted(indices.tolist())
        recovered = torch.zeros(20).double().index_put((indices,), found)
        assert torch.allclose(recovered, counts, atol=1e-4) == (sign > 0)


def test_with_room_for_all_it_is_the_full_solution():
    columns, target = draw(40, 10), draw(40, seed=2)
    c, _ = nnls(columns.numpy(), target.numpy())
    gram = HeldGram(columns.T @ columns)
    indices, counts = select_nonnegative(gram, columns.T @ target, 10)
    recovered = torch.zeros(10).double().index_put((indices,), counts)
    assert recovered.numpy() == pytest.approx(c, abs=1e-6)


@pytest.mark.parametrize("size", [2, 3])
def test_the_choice_is_within_reach_of_the_best_one(size):
    columns, target = draw(40, 8).abs(), draw(40, seed=2) + 3
    indices, counts = select_nonnegative(HeldGram(columns.T @ columns), columns.T @ target, size)
    assert len(indices) <= size
    best = min(
        nnls(columns[:, list(c)].numpy(), target.numpy())[1] for c in itertools.combinations(range(8), size)
    )
    assert best <= float((columns[:, indices] @ counts - target).norm()) + 1e-6 <= 1.2 * best


def test_where_no_column_helps_none_is_chosen():
    columns = draw(40, 8).abs()
    indices, counts = select_nonnegative(
        HeldGram(columns.T @ columns), -(columns.T @ torch.ones(40).double()), 4
    )
    assert len(indices) == len(counts) == 0
