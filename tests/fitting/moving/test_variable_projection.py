from dataclasses import replace

import pytest
import torch

from jlab_compress.fitting.held_out import relative_error
from jlab_compress.fitting.moving import variable_projection
from jlab_compress.fitting.moving.variable_projection import mixed_rows, move_by_projection
from jlab_compress.fitting.solvers.least_squares import least_squares
from tests.fitting.problems import clustered, dense, draw, gated, tensors

X = draw(200, 5, seed=9)


@pytest.mark.parametrize("layer", [dense(4, activation=torch.tanh), gated(4)], ids=["dense", "gated"])
def test_the_projected_gradient_is_the_gradient(layer, monkeypatch):
    """The outgoing weights are solved for again at every point, yet need no derivative."""
    seen = []

    def look(fun, origin, **_):
        for place in (0, 3, len(origin) - 1):
            step = 1e-5 * torch.eye(len(origin), dtype=torch.float64)[place].numpy()
            numeric = (fun(origin + step)[0] - fun(origin - step)[0]) / 2e-5
            seen.append((fun(origin)[1][place], numeric))
        return type("Found", (), {"x": origin})

    monkeypatch.setattr(variable_projection, "minimize", look)
    move_by_projection(layer, X, dense(40)(X), steps=1)
    assert [s[0] for s in seen] == pytest.approx([s[1] for s in seen], rel=1e-5)
    assert seen[0][0] != pytest.approx(seen[1][1], rel=1e-2)


def test_it_lowers_the_error_of_the_best_refit():
    start, wanted = dense(4, seed=20), dense(40)(X)
    refit = start.with_outgoing(*least_squares(start.hidden(X), wanted, intercept=True))
    moved = move_by_projection(start, X, wanted, steps=30)
    assert relative_error(moved(X), wanted) < 0.8 * relative_error(refit(X), wanted)
    assert moved.multiplicities.tolist() == [1.0] * 4


def test_a_layer_of_few_distinct_neurons_is_found_from_nearby():
    layer = clustered(groups=3, copies=5, activation=torch.tanh)
    start = layer.select(torch.tensor([0, 5, 10]))
    shaken = replace(start, incoming=(start.incoming[0] + 0.1 * draw(3, 5, seed=3),))
    moved = move_by_projection(shaken, X, layer(X), steps=150)
    assert relative_error(moved(X), layer(X)) < 1e-4
    fresh = draw(100, 5, seed=11)
    assert relative_error(moved(fresh), layer(fresh)) < 1e-3


def test_no_more_evaluations_than_steps_and_the_start_is_untouched():
    start, seen = dense(4, seed=20), []
    before = [t.clone() for t in tensors(start)]
    move_by_projection(start, X, dense(40)(X), steps=9, progress=lambda: seen.append(1))
    assert 5 <= len(seen) <= 12  # the line search ends what it has begun
    assert all(torch.equal(a, b) for a, b in zip(tensors(start), before, strict=True))


def test_mixed_rows_lie_between_two_rows_nearer_to_one():
    mixed = mixed_rows(torch.tensor([[0.0, 0.0], [1.0, 10.0]]), 1000)
    assert float(mixed.min()) >= 0
    torch.testing.assert_close(mixed[:, 1], 10 * mixed[:, 0])
    assert len(mixed[:, 0].unique()) > 100
    assert float(mixed[:, 0].mean()) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(mixed_rows(X, 50, seed=3), mixed_rows(X, 50, seed=3))
    assert not torch.equal(mixed_rows(X, 50, seed=3), mixed_rows(X, 50, seed=4))
