import pytest
import torch
from torch.nn.functional import layer_norm

from jlab_compress.fitting.aims import function
from jlab_compress.fitting.aims.baselines import greedy_refit
from jlab_compress.fitting.aims.function import fit_function as fit_to_rows
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.moving.variable_projection import mixed_rows, move_by_projection
from jlab_compress.fitting.post_norm import PostNormMap
from jlab_compress.fitting.relative_errors import relative_error
from jlab_compress.fitting.solvers.least_squares import least_squares
from tests.fitting.problems import dense, draw, gated, same_bits

X = draw(200, 5, seed=9)


def fit_function(layer, inputs, size, *, targets=None, stream=None, norm=None, synthetic=0, **how):
    return fit_to_rows(layer, FitRows(inputs, targets, PostNormMap(stream, norm), synthetic), size, **how)


@pytest.mark.parametrize(
    "layer", [dense(40), dense(40, activation=torch.tanh), gated(40)], ids=["relu", "tanh", "gated"]
)
def test_moved_nodes_beat_greedy_and_refit(layer):
    fit, bar = fit_function(layer, X, 8, effort=Effort(mixed_rows=300)), greedy_refit(layer, X, 8)
    assert fit.method == "moved nodes"
    assert fit.function_error < 0.9 * bar.function_error


def test_the_guard_keeps_greedy_where_moving_overfits(monkeypatch):
    monkeypatch.setattr(
        function, "move_by_projection", lambda start, *_, **__: start.select(torch.arange(8).flip(0) * 0)
    )
    fit = fit_function(dense(40), X, 8)
    assert fit.method == "greedy + refit"
    assert fit.indices is not None
    assert torch.equal(fit.layer.incoming[0], dense(40).incoming[0][fit.indices])


def test_targets_stream_and_readout_change_what_is_fitted():
    layer, stream = dense(40), draw(200, 3, seed=4)
    targets = layer(X) + 0.3 * X[:, :3]
    fit = fit_function(
        layer, X, 12, targets=targets, stream=stream, norm=lambda z: layer_norm(z, (3,)), seed=1
    )
    plain = fit_function(layer, X, 12, seed=1)

    def gap(slim):
        return relative_error(layer_norm(stream + slim(X), (3,)), layer_norm(stream + targets, (3,)))

    assert gap(fit.layer) < 0.5 * gap(plain.layer)


def test_made_up_rows_are_fitted_but_neither_choose_nor_judge():
    layer, wrong = dense(40), 100 * draw(50, 3, seed=5)
    inputs, targets = torch.cat([X, X[:50]]), torch.cat([layer(X), wrong])
    with_them = fit_function(layer, inputs, 8, targets=targets, synthetic=50)
    without = fit_function(layer, X, 8, targets=layer(X))
    chosen = greedy_refit(layer, X, 8)
    assert with_them.method == "greedy + refit"
    assert torch.equal(with_them.indices, chosen.indices)
    assert with_them.function_error == pytest.approx(chosen.function_error)
    assert without.method == "moved nodes"


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"targets must have shape \(200, 3\)"):
        fit_function(dense(40), X, 8, targets=draw(200, 2))
    with pytest.raises(ValueError, match=r"stream must have shape \(200, 3\)"):
        fit_function(dense(40), X, 8, stream=draw(3, 3))


def test_same_seed_same_bits():
    first, second = (fit_function(dense(40), X, 6, seed=2).layer for _ in range(2))
    assert same_bits(first, second)
    assert not same_bits(first, fit_function(dense(40), X, 6, seed=3).layer)


def test_the_projected_gradient_is_the_gradient(monkeypatch):
    layer, wide = dense(4, activation=torch.tanh), dense(40)
    seen = {}

    def look(fun, origin, **_):
        gradient = fun(origin)[1]
        step = torch.zeros(len(origin), dtype=torch.float64).numpy()
        step[3] = 1e-5
        seen["numeric"] = (fun(origin + step)[0] - fun(origin - step)[0]) / 2e-5
        seen["analytic"] = gradient[3]
        return type("Found", (), {"x": origin})

    monkeypatch.setattr("jlab_compress.fitting.moving.variable_projection.minimize", look)
    move_by_projection(layer, X, wide(X), steps=1)
    assert seen["analytic"] == pytest.approx(seen["numeric"], rel=1e-5)


def test_projection_lowers_the_error_of_the_best_refit():
    start, wanted = dense(4, seed=20), dense(40)(X)
    refit = start.with_outgoing(*least_squares(start.hidden(X), wanted, intercept=True))
    moved = move_by_projection(start, X, wanted, steps=30)
    assert relative_error(moved(X), wanted) < 0.8 * relative_error(refit(X), wanted)


def test_mixed_rows_lie_between_rows():
    mixed = mixed_rows(torch.tensor([[0.0], [1.0]]), 100)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert len(mixed.unique()) > 10
