import functools

import pytest
import torch
from torch.nn.functional import layer_norm

from jlab_compress.fitting.aims import function
from jlab_compress.fitting.aims.baselines import greedy_refit
from jlab_compress.fitting.aims.function import fit_function as fit_with_effort
from jlab_compress.fitting.aims.function import fit_subset, fit_weighted_subset, with_shared_mass
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.held_out import relative_error
from jlab_compress.fitting.post_norm import PostNormMap
from tests.fitting.problems import clustered, dense, draw, gated, same_bits, tensors

X = draw(200, 5, seed=9)
ROWS = FitRows(X)
FEW = Effort(projection_evaluations=40, output_steps=80, mixed_rows=300)
fit_function = functools.partial(fit_with_effort, effort=FEW)


@pytest.mark.parametrize(
    "layer", [dense(40), dense(40, activation=torch.tanh), gated(40)], ids=["relu", "tanh", "gated"]
)
def test_moved_nodes_beat_greedy_and_refit(layer):
    fit, bar = fit_function(layer, ROWS, 8), greedy_refit(layer, X, 8)
    assert fit.method == "moved nodes"
    assert fit.indices is None
    assert fit.function_error < 0.9 * bar.function_error


def test_the_guard_keeps_greedy_where_moving_overfits(monkeypatch):
    monkeypatch.setattr(
        function, "move_by_projection", lambda start, *_, **__: start.select(torch.zeros(8).long())
    )
    fit = fit_function(dense(40), ROWS, 8)
    assert fit.method == "greedy + refit"
    assert torch.equal(fit.layer.incoming[0], dense(40).incoming[0][fit.indices])
    assert same_bits(fit.layer, fit_subset(dense(40), ROWS, 8).layer)


def test_a_subset_is_chosen_and_refitted_as_the_baseline_does():
    subset, bar = fit_subset(dense(40), ROWS, 8), greedy_refit(dense(40), X, 8)
    assert torch.equal(subset.indices, bar.indices)
    assert subset.function_error == pytest.approx(bar.function_error)
    assert not same_bits(subset.layer, bar.layer)  # the last refit sees the held-out rows too


@pytest.mark.parametrize("fit", [fit_subset, fit_weighted_subset])
def test_copies_are_represented_exactly(fit):
    assert fit(clustered(groups=6, copies=8), ROWS, 6).function_error < 1e-6
    assert fit(clustered(groups=6, copies=8), ROWS, 5).function_error > 1e-2


def test_targets_stream_and_norm_change_what_is_fitted():
    layer, stream = dense(40), draw(200, 3, seed=4)
    targets = layer(X) + 0.3 * X[:, :3]

    def norm(values):
        return layer_norm(values, (3,))

    fit = fit_function(layer, FitRows(X, targets, PostNormMap(stream, norm)), 12, seed=1)
    plain = fit_function(layer, ROWS, 12, seed=1)

    def gap(slim):
        return relative_error(norm(stream + slim(X)), norm(stream + targets))

    assert gap(fit.layer) < 0.5 * gap(plain.layer)


def test_synthetic_rows_are_fitted_but_neither_choose_nor_measure():
    layer, wrong = dense(40), 100 * draw(50, 3, seed=5)
    inputs, targets = torch.cat([X, X[:50]]), torch.cat([layer(X), wrong])
    with_them = fit_function(layer, FitRows(inputs, targets, synthetic=50), 8)
    without = fit_function(layer, FitRows(X, layer(X)), 8)
    chosen = greedy_refit(layer, X, 8)
    assert with_them.method == "greedy + refit"
    assert torch.equal(with_them.indices, chosen.indices)
    assert with_them.function_error == pytest.approx(chosen.function_error)
    assert without.method == "moved nodes"


def test_a_layer_without_a_bias_gets_none():
    layer = dense(40)
    bare = type(layer)(
        layer.incoming, layer.biases, layer.outgoing, None, layer.multiplicities, torch.relu, False
    )
    for fit in (fit_function, fit_subset, fit_weighted_subset):
        assert fit(bare, ROWS, 8).layer.outgoing_bias is None


@pytest.mark.parametrize("effort", [Effort(projection_flops=1.0), Effort(projection_evaluations=20)])
def test_what_projection_cannot_afford_is_moved_by_adam(effort, monkeypatch):
    used = []
    for name in ("move_by_adam", "move_by_projection"):
        monkeypatch.setattr(
            function, name, lambda start, *_, name=name, **how: used.append((name, how["steps"])) or start
        )
    fit_with_effort(dense(40), ROWS, 8, effort=effort)
    affordable = effort.projection_flops > 1
    assert used[0] == (("move_by_projection", 12) if affordable else ("move_by_adam", 240))


def test_bad_targets_and_widths_are_refused():
    with pytest.raises(ValueError, match=r"targets must have shape \(200, 3\)"):
        fit_function(dense(40), FitRows(X, draw(200, 2)), 8)
    with pytest.raises(ValueError, match=r"stream must have shape \(200, 3\)"):
        fit_function(dense(40), FitRows(X, None, PostNormMap(draw(3, 3))), 8)
    for fit in (fit_function, fit_subset, fit_weighted_subset):
        with pytest.raises(ValueError, match="size must be between 1 and the layer's width 40"):
            fit(dense(40), ROWS, 41)


def test_same_seed_same_bits_and_the_layer_is_untouched():
    layer, state = dense(40), torch.get_rng_state()
    before = [t.clone() for t in tensors(layer)]
    first, second = (fit_function(layer, ROWS, 6, seed=2).layer for _ in range(2))
    assert same_bits(first, second)
    assert not same_bits(first, fit_function(layer, ROWS, 6, seed=3).layer)
    assert all(torch.equal(a, b) for a, b in zip(tensors(layer), before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_ends_at_the_total():
    seen = []
    fit_function(dense(40), ROWS, 8, progress=lambda *at: seen.append(at))
    assert seen == sorted(seen)
    assert all(done <= total == 40 for done, total in seen)


def test_a_weighted_subset_has_the_function_of_a_refit_and_no_criteria():
    layer = dense(16, activation=torch.tanh)
    counted, plain = fit_weighted_subset(layer, ROWS, 6), fit_subset(layer, ROWS, 6)
    torch.testing.assert_close(counted.layer(X), plain.layer(X))
    assert counted.layer.multiplicities.tolist() == pytest.approx([16 / 6] * 6)
    assert counted.trains_alike is None


def test_sharing_the_mass_keeps_the_function_and_the_mass():
    wide = dense(12, activation=torch.tanh)
    slim = wide.select(torch.arange(4), torch.tensor([1.0, 2.0, 3.0, 6.0]).double())
    shared = with_shared_mass(slim, wide)
    torch.testing.assert_close(shared(X), slim(X))
    assert shared.multiplicities.tolist() == [3.0] * 4
    assert not torch.allclose(
        slim.select(torch.arange(4), torch.full((4,), 3.0).double())(X), slim(X), atol=1e-2
    )
