import pytest
import torch

from jlab_compress.core.features import basis_features, chunk_rows, table_features
from jlab_compress.core.polynomials import fit_basis


def uniform(*shape, seed=0):
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


@pytest.fixture(scope="module", params=["small", "several chunks"])
def points(request):
    return uniform(50 if request.param == "small" else 2 * chunk_rows(10) + 77, 2)


def test_features_built_in_pieces_have_the_moments_of_the_whole_table(points):
    basis, counts = fit_basis(points, 3), uniform(len(points), seed=1).abs()
    features = basis_features(basis, points)
    assert (features.rows, features.functions) == (len(points), 10)
    torch.testing.assert_close(features.moments(counts), basis.evaluate(points).T @ counts)
    assert not torch.allclose(features.moments(counts), basis.evaluate(points).T @ counts.flip(0))


@pytest.mark.parametrize("groups", [1, 7, 24])
def test_sums_over_groups_are_those_of_consecutive_rows(points, groups):
    basis, counts = fit_basis(points, 3), uniform(len(points), seed=1).abs()
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(2))[: len(points) - 3]
    weights = counts[chosen]
    sums, size = basis_features(basis, points).group_sums(chosen, weights, groups)
    table = basis.evaluate(points)[chosen] * weights[:, None]
    expected = torch.stack([part.sum(0) for part in torch.split(table, size)])
    torch.testing.assert_close(sums, expected)
    assert len(sums) <= groups


def test_only_chosen_functions_are_built():
    points = uniform(40, 2)
    basis, chosen = fit_basis(points, 3), torch.tensor([0, 4, 9])
    features = basis_features(basis, points, chosen)
    rows = torch.tensor([3, 1])
    assert torch.equal(features.columns(rows), basis.evaluate(points[rows]).T[chosen])
    assert features.functions == 3


def test_a_held_table_comes_after_the_constant_function():
    table = uniform(5, 2).float()
    features = table_features(table)
    assert features.functions == 3
    columns = features.columns(slice(1, 4))
    assert columns.dtype == torch.float64
    assert columns[0].tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(columns[1:].float(), table[1:4].T)
