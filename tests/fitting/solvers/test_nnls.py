import pytest
import torch
from scipy.optimize import nnls

from jlab_compress.fitting.solvers.gram import OutputGram
from jlab_compress.fitting.solvers.nnls import select_nonnegative, solve_nonnegative
from tests.fitting.problems import draw


def test_the_gram_solve_agrees_with_the_one_on_columns():
    columns, target = draw(50, 12), draw(50, seed=3)
    c, _ = nnls(columns.numpy(), target.numpy())
    ours = solve_nonnegative(columns.T @ columns, columns.T @ target)
    assert ours.numpy() == pytest.approx(c, abs=1e-6)
    assert (ours == 0).any()


def test_gram_columns_are_inner_products_of_outputs():
    hidden, outgoing = draw(30, 8), draw(8, 3, seed=1)
    outputs = (hidden[:, :, None] * outgoing).permute(1, 0, 2).flatten(1)
    gram = OutputGram(hidden, outgoing)
    assert torch.allclose(gram.columns(torch.arange(8)), outputs @ outputs.T)
    assert torch.allclose(gram.diagonal(), (outputs @ outputs.T).diagonal())


def test_a_sparse_positive_combination_is_found_and_a_negative_one_is_not():
    hidden, outgoing = draw(80, 20), draw(20, 2, seed=1)
    gram = OutputGram(hidden, outgoing)
    for sign in (1.0, -1.0):
        counts = torch.zeros(20).double()
        counts[[2, 9, 15]] = torch.tensor([1.0, sign * 3.0, 2.0]).double()
        indices, found = select_nonnegative(gram, gram.products((hidden * counts) @ outgoing), 6)
        assert (found > 0).all()
        recovered = torch.zeros(20).double().index_put((indices,), found)
        assert torch.allclose(recovered, counts, atol=1e-4) == (sign > 0)
