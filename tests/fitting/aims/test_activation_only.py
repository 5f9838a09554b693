import pytest
import torch
from torch.nn import functional as F

from jlab_compress.fitting.aims.activation_only import (
    UnitRows,
    fit_units_dynamics,
    fit_units_function,
    largest_units,
    output_matrix,
    random_units,
    unit_columns,
    with_output_matrix,
)
from jlab_compress.fitting.aims.moments import fit_units_moments
from jlab_compress.fitting.forecast.activation_only import predict_unit_errors
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.post_norm import PostNormMap
from jlab_compress.fitting.relative_errors import relative_error
from jlab_compress.fitting.row_split import split_rows
from jlab_compress.fitting.solvers.least_squares import least_squares
from jlab_compress.fitting.solvers.pursuit import greedy_columns, greedy_groups
from jlab_compress.slim.layers import no_activation

EACH, OUT = 3, 4


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def heads(n, *, bias=True, size=7, seed=0):
    outgoing, made = draw(n, OUT * EACH, seed=seed), draw(n, size, seed=seed + 1)
    offset = draw(OUT, seed=seed + 2) if bias else None
    return Layer((made,), (None,), outgoing, offset, torch.ones(n).double(), no_activation, biased=bias)


def kernels(n, rank, probes=20, seed=5):
    """Return symmetric, positive kernels of n heads that live in `rank` directions."""
    factors = draw(rank, probes, 4, seed=seed)
    basis = factors @ factors.transpose(1, 2)
    shares = draw(n, rank, seed=seed + 1).abs()
    return ((shares @ basis.flatten(1)).reshape(n, probes, probes),)


def test_output_weights_go_to_a_matrix_and_back():
    layer = heads(5)
    columns = output_matrix(layer, EACH)
    assert columns.shape == (5 * EACH, OUT)
    assert torch.equal(columns[EACH + 1], layer.outgoing[1].reshape(OUT, EACH)[:, 1])
    assert torch.equal(with_output_matrix(layer, columns, EACH, None).outgoing, layer.outgoing)


def test_groups_of_one_are_chosen_as_single_columns_are():
    features, targets = draw(60, 12), draw(60, 3, seed=1)
    assert torch.equal(greedy_groups(features, targets, 6, 1), greedy_columns(features, targets, 6))


def test_each_chosen_group_lowers_the_error_most():
    features, targets = draw(80, 8 * EACH), draw(80, 5, seed=1)

    def error(groups):
        columns = features[:, unit_columns(torch.tensor(groups), EACH)]
        outgoing, _ = least_squares(columns, targets, intercept=False, ridge=1e-14)
        return float((columns @ outgoing - targets).norm())

    chosen: list[int] = []
    for group in greedy_groups(features, targets, 5, EACH).tolist():
        others = [g for g in range(8) if g not in chosen]
        assert group == min(others, key=lambda g: error([*chosen, g]))
        chosen.append(group)


@pytest.mark.parametrize("bias", [True, False])
def test_heads_that_carry_nothing_of_their_own_are_dropped_without_loss(bias):
    """Three of six heads give combinations of the others, and a constant where a bias may hold it."""
    layer, values = heads(6, bias=bias), draw(200, 6 * EACH)
    for head, others in ((1, (0, 2)), (3, (2, 5)), (4, (0, 5))):
        first, second = (values[:, unit_columns(torch.tensor([o]), EACH)] for o in others)
        values[:, unit_columns(torch.tensor([head]), EACH)] = 0.1 * (
            first @ draw(EACH, EACH) + second
        ) + float(bias)
    rows = UnitRows(values)
    fit = fit_units_function(layer, rows, 3)
    assert fit.function_error < 1e-5
    assert (fit.layer.outgoing_bias is not None) == bias
    slim = rows.select(fit.indices, EACH).outputs_of(fit.layer)
    assert torch.allclose(slim, rows.outputs_of(layer), atol=1e-4)
    assert fit_units_function(layer, rows, 2).function_error > 0.05
    assert random_units(layer, rows, 3).function_error > 0.3
    assert largest_units(layer, rows, 3).function_error > 0.3


def test_a_readout_and_targets_are_what_a_fit_is_judged_by():
    layer, values, targets = heads(6), draw(200, 6 * EACH), draw(200, OUT, seed=3)
    behind = PostNormMap(10 * draw(200, OUT, seed=4), lambda x: F.layer_norm(x, (OUT,)))
    assert fit_units_function(layer, UnitRows(values, (), targets), 5).function_error > 0.5
    assert fit_units_function(layer, UnitRows(values, (), targets, behind), 5).function_error < 0.2


def test_copies_are_counted_and_followed():
    layer = heads(6).select(torch.tensor([0, 1, 2, 0, 1, 0]))
    values = draw(150, 6 * EACH)[:, unit_columns(torch.tensor([0, 1, 2, 0, 1, 0]), EACH)]
    wide = kernels(6, 3)[0][torch.tensor([0, 1, 2, 0, 1, 0])]
    fit = fit_units_dynamics(layer, UnitRows(values, (wide,)), 3)
    assert sorted(fit.layer.multiplicities.round(decimals=3).tolist()) == [1.0, 2.0, 3.0]
    assert fit.function_error < 1e-5
    assert fit.kernel_error < 1e-5
    assert fit.trains_alike
    assert "tangent kernel" in fit.notes[0]


def test_heads_that_differ_do_not_follow_and_never_lose_to_a_random_choice():
    layer, rows = heads(10), UnitRows(draw(150, 10 * EACH), kernels(10, 10))
    fit = fit_units_dynamics(layer, rows, 3)
    assert fit.trains_alike is False
    assert bool((fit.layer.multiplicities > 0).all())
    assert fit.function_error <= random_units(layer, rows, 3).function_error + fit.kernel_error
    assert torch.equal(fit_units_dynamics(layer, rows, 3).layer.outgoing, fit.layer.outgoing)


def test_moments_keep_the_number_of_heads_and_refuse_high_dimensions():
    layer = Layer(
        (draw(60, 2),), (None,), draw(60, OUT, seed=2), None, torch.ones(60).double(), no_activation, False
    )
    rows = UnitRows(draw(90, 60))
    fit = fit_units_moments(layer, rows, 20)
    assert float(fit.layer.multiplicities.sum()) == pytest.approx(60)
    assert fit.layer.width <= 20
    means = (fit.layer.multiplicities[:, None] * fit.layer.incoming[0]).sum(0)
    assert torch.allclose(means, layer.incoming[0].sum(0))
    with pytest.raises(ValueError, match=r"size 5 cannot keep the moments of degree 1.*N = 7"):
        fit_units_moments(layer, rows, 5)


def test_the_forecast_is_what_the_fits_reach():
    layer, rows = heads(8), UnitRows(draw(150, 8 * EACH), kernels(8, 8))
    found = predict_unit_errors(layer, rows, [2, 5, 8])
    assert found.widths == (2, 5, 8)
    assert found.function_errors[0] > found.function_errors[1] > found.function_errors[2] == 0.0
    assert found.function_errors[1] == fit_units_function(layer, rows, 5).function_error
    assert found.kernel_errors[1] == fit_units_dynamics(layer, rows, 5).kernel_error


def test_rows_that_are_made_up_teach_and_do_not_judge():
    layer, values, wanted = heads(4), draw(30, 4 * EACH), draw(30, OUT, seed=3)
    wanted[20:] *= 5.0
    fit = fit_units_function(layer, UnitRows(values, targets=wanted, synthetic=10), 4)
    split = split_rows(20)
    learn = torch.cat([split.fit, torch.arange(20, 30)])
    columns, bias = least_squares(values[learn], wanted[learn], intercept=True)
    expected = relative_error(values[split.held] @ columns + bias, wanted[split.held])
    assert fit.function_error == pytest.approx(expected)
    real = fit_units_function(layer, UnitRows(values[:20], targets=wanted[:20]), 4)
    assert real.function_error != pytest.approx(expected)
