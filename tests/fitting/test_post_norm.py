import pytest
import torch
from torch.nn.functional import layer_norm

from jlab_compress.fitting.post_norm import PostNormMap, importance_weighted
from tests.fitting.problems import draw

STREAM = draw(10, 3, seed=1)
SCALE = torch.tensor([1.0, 2.0, 5.0]).double()


def norm(values):
    return layer_norm(values, (3,)) * SCALE


def test_outputs_are_added_to_the_stream_of_their_rows_and_normalised():
    rows, outputs = torch.tensor([4, 2]), draw(2, 3)
    assert torch.equal(PostNormMap(STREAM, norm)(outputs, rows), norm(outputs + STREAM[rows]))
    assert torch.equal(PostNormMap(STREAM)(outputs, rows), outputs + STREAM[rows])
    assert PostNormMap()(outputs, rows) is outputs


def test_the_map_of_some_rows_numbers_them_anew():
    some, outputs = torch.tensor([7, 3, 5]), draw(3, 3)
    few = PostNormMap(STREAM, norm).at(some)
    assert torch.equal(few(outputs, torch.arange(3)), PostNormMap(STREAM, norm)(outputs, some))
    assert PostNormMap(None, norm).at(some).stream is None


def test_importance_is_the_diagonal_of_the_squared_jacobian():
    outputs, rows = draw(10, 3, seed=2), torch.arange(10)
    found = PostNormMap(STREAM, norm).importance(outputs, rows, n_probes=4000)
    for i in range(10):
        jacobian = torch.autograd.functional.jacobian(lambda o, i=i: norm(o + STREAM[i]), outputs[i])
        torch.testing.assert_close(found[i], jacobian.square().sum(0), rtol=0.15, atol=1e-3)
    assert not torch.allclose(found, found.mean().expand_as(found), rtol=0.5)


def test_without_a_norm_all_outputs_count_alike_and_no_draw_is_made():
    state = torch.get_rng_state()
    assert bool((PostNormMap(STREAM).importance(STREAM, torch.arange(10)) == 1).all())
    PostNormMap(STREAM, norm).importance(STREAM, torch.arange(10))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("biased", [True, False])
def test_the_weighted_squared_error_becomes_a_plain_one(biased):
    """Of any weights V and the best bias, where importance is a product of row and column weights."""
    values, wanted, weights = draw(40, 4), draw(40, 3, seed=1), draw(4, 3, seed=3)
    row_weights, column_weights = draw(40, seed=2).abs() + 0.1, SCALE
    importance = row_weights[:, None] * column_weights
    residual = values @ weights - wanted
    if biased:
        residual = residual - row_weights @ residual / row_weights.sum()
    expected = float((importance * residual.square()).sum() / row_weights.mean() / column_weights.mean())

    def plain(biased):
        columns, goals = importance_weighted(values, wanted, importance, biased)
        return float((columns @ (weights * (SCALE / SCALE.mean()).sqrt()) - goals).square().sum())

    assert plain(biased) == pytest.approx(expected)
    assert plain(not biased) != pytest.approx(expected, rel=1e-3)
