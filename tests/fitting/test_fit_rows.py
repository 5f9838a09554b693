import pytest
import torch
from torch.nn.functional import layer_norm

from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.post_norm import PostNormMap
from tests.fitting.problems import dense, draw


def norm(values):
    return layer_norm(values, (3,))


def test_the_layer_s_own_outputs_are_the_targets_where_there_are_none():
    layer, x = dense(20, dtype=torch.float32), draw(30, 5, dtype=torch.float32)
    full = FitRows(x).completed(layer)
    assert full.inputs.dtype == full.targets.dtype == torch.float64
    assert torch.equal(full.targets, layer.to(torch.float64)(x.double()))
    given = FitRows(x, torch.zeros(30, 3)).completed(layer)
    assert not bool(given.targets.any())


def test_synthetic_rows_come_last_and_are_counted():
    real = FitRows(draw(6, 5), draw(6, 3, seed=1), PostNormMap(draw(6, 3, seed=2), norm))
    made = FitRows(draw(4, 5, seed=3), draw(4, 3, seed=4), PostNormMap(draw(4, 3, seed=5), norm))
    both = real.joined(made)
    assert (len(both.inputs), both.synthetic, both.n_real) == (10, 4, 6)
    for whole, first, last in (
        (both.inputs, real.inputs, made.inputs),
        (both.targets, real.targets, made.targets),
        (both.post_norm.stream, real.post_norm.stream, made.post_norm.stream),
    ):
        assert torch.equal(whole, torch.cat([first, last]))
    assert both.post_norm.norm is norm


def test_what_the_real_rows_do_not_have_the_joined_ones_have_not_either():
    both = FitRows(draw(6, 5)).joined(FitRows(draw(4, 5), draw(4, 3)))
    assert both.targets is None
    assert both.post_norm.stream is None


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (FitRows(draw(6, 5), draw(5, 3)), "targets"),
        (FitRows(draw(6, 5), draw(6, 2)), "targets"),
        (FitRows(draw(6, 5), None, PostNormMap(draw(7, 3))), "stream"),
    ],
)
def test_rows_of_another_shape_are_refused(rows, name):
    with pytest.raises(ValueError, match=rf"{name} must have shape \(6, 3\), one row per input; got"):
        rows.completed(dense(20))
