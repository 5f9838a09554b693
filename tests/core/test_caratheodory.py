import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jlab_compress.core.caratheodory import eliminate, null_basis, reduce_rank


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def sums_differ(rows, ratios):
    """The largest difference of the sums over the sum of absolute values."""
    scale = np.abs(rows).sum(0)
    return float((np.abs(rows.T @ ratios - rows.sum(0)) / np.where(scale > 0, scale, 1)).max())


def test_four_equal_objects_become_one_that_counts_four_times():
    ratios = eliminate(np.ones((4, 1)))
    assert np.count_nonzero(ratios) == 1
    assert ratios.max() == pytest.approx(4, rel=1e-14)


def test_as_many_objects_as_functions_stay_as_they_are():
    assert eliminate(normal(5, 5)).tolist() == [1.0] * 5


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 5).flatmap(
        lambda n: st.integers(n, 90).flatmap(lambda m: arrays(float, (m, n), elements=st.floats(-1, 1)))
    )
)
def test_sums_are_kept_by_at_most_as_many_objects_as_functions(rows):
    ratios = eliminate(rows)
    assert np.count_nonzero(ratios) <= rows.shape[1]
    assert ratios.min() >= 0
    if np.linalg.matrix_rank(rows) == rows.shape[1]:
        assert sums_differ(rows, ratios) < 1e-11


def test_many_blocks_keep_the_sums_to_rounding():
    rows = normal(1500, 40)
    ratios = eliminate(rows)
    assert np.count_nonzero(ratios) == 40
    assert sums_differ(rows, ratios) < 1e-13
    changed = ratios * np.linspace(1, 1.01, 1500)
    assert sums_differ(rows, changed) > 1e-4


@pytest.mark.parametrize(("m", "n"), [(9, 4), (200, 30)])
def test_the_null_basis_is_orthonormal_and_annihilates_the_rows(m, n):
    rows = normal(m, n)
    basis = null_basis(rows).numpy()
    assert basis.shape == (m, m - n)
    assert np.allclose(basis.T @ basis, np.eye(m - n), atol=1e-13)
    assert np.abs(basis.T @ rows).max() < 1e-12
    assert np.abs(basis.T @ normal(m, n, seed=1)).max() > 0.1


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_dependent_functions_are_counted_by_their_rank(rank):
    rows = normal(50, rank) @ normal(rank, 6, seed=1)
    ratios, found = reduce_rank(rows)
    assert found == rank
    assert np.count_nonzero(ratios) <= rank
    assert ratios.min() >= 0
    assert sums_differ(rows, ratios) < 1e-12


def test_the_scale_of_a_function_does_not_change_its_rank():
    rows = normal(50, 4) * 10.0 ** np.array([-9, 0, 3, 9])
    assert reduce_rank(rows)[1] == 4
    assert reduce_rank(rows * [1, 1, 1, 0])[1] == 3


def test_fewer_objects_than_functions_are_reduced_only_where_they_depend():
    independent = normal(4, 9)
    assert reduce_rank(independent)[0].tolist() == [1.0] * 4
    twice = np.repeat(independent, 2, axis=0)
    ratios, rank = reduce_rank(twice)
    assert rank == 4
    assert ratios.reshape(4, 2).sum(1) == pytest.approx([2.0] * 4)
