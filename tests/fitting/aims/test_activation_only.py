import pytest
import torch
from torch.nn import functional as F

from jlab_compress.fitting.aims.activation_only import (
    UnitRows,
    fit_units_dynamics,
    fit_units_function,
    largest_units,
    output_matrix,
    output_products,
    random_units,
    unit_columns,
    weighted_units,
    with_output_matrix,
)
from jlab_compress.fitting.held_out import relative_error, split_rows
from jlab_compress.fitting.post_norm import PostNormMap
from jlab_compress.fitting.solvers.least_squares import least_squares
from tests.fitting.problems import EACH, UNIT_OUTPUTS, draw, unit_kernels, units


def test_output_weights_go_to_a_matrix_and_back():
    layer = units(5)
    columns = output_matrix(layer, EACH)
    assert columns.shape == (5 * EACH, UNIT_OUTPUTS)
    assert torch.equal(columns[EACH + 1], layer.outgoing[1].reshape(UNIT_OUTPUTS, EACH)[:, 1])
    assert torch.equal(with_output_matrix(layer, columns, EACH, None).outgoing, layer.outgoing)


@pytest.mark.parametrize("bias", [True, False])
def test_units_that_carry_nothing_of_their_own_are_dropped_without_loss(bias):
    """Three of six units give combinations of the others, and a constant where a bias may hold it."""
    layer, values = units(6, bias=bias), draw(200, 6 * EACH)
    for unit, others in ((1, (0, 2)), (3, (2, 5)), (4, (0, 5))):
        first, second = (values[:, unit_columns(torch.tensor([o]), EACH)] for o in others)
        values[:, unit_columns(torch.tensor([unit]), EACH)] = 0.1 * (
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


def test_the_error_is_that_of_the_targets_behind_the_norm():
    layer, values, targets = units(6), draw(200, 6 * EACH), draw(200, UNIT_OUTPUTS, seed=3)
    behind = PostNormMap(10 * draw(200, UNIT_OUTPUTS, seed=4), lambda x: F.layer_norm(x, (UNIT_OUTPUTS,)))
    assert fit_units_function(layer, UnitRows(values, (), targets), 5).function_error > 0.5
    assert fit_units_function(layer, UnitRows(values, (), targets, behind), 5).function_error < 0.2


def test_copies_are_counted_and_train_alike():
    layer = units(6).select(torch.tensor([0, 1, 2, 0, 1, 0]))
    values = draw(150, 6 * EACH)[:, unit_columns(torch.tensor([0, 1, 2, 0, 1, 0]), EACH)]
    wide = unit_kernels(6, 3)[0][torch.tensor([0, 1, 2, 0, 1, 0])]
    fit = fit_units_dynamics(layer, UnitRows(values, (wide,)), 3)
    assert sorted(fit.layer.multiplicities.round(decimals=3).tolist()) == [1.0, 2.0, 3.0]
    assert fit.function_error < 1e-5
    assert fit.kernel_error < 1e-5
    assert fit.trains_alike
    assert "tangent kernel" in fit.notes[0]


def test_units_that_differ_do_not_train_alike_and_never_lose_to_a_random_choice():
    layer, rows = units(10), UnitRows(draw(150, 10 * EACH), unit_kernels(10, 10))
    fit = fit_units_dynamics(layer, rows, 3)
    assert fit.trains_alike is False
    assert bool((fit.layer.multiplicities > 0).all())
    assert fit.function_error <= random_units(layer, rows, 3).function_error + fit.kernel_error
    assert torch.equal(fit_units_dynamics(layer, rows, 3).layer.outgoing, fit.layer.outgoing)


def test_synthetic_rows_are_learned_from_and_not_measured_on():
    layer, values, wanted = units(4), draw(30, 4 * EACH), draw(30, UNIT_OUTPUTS, seed=3)
    wanted[20:] *= 5.0
    fit = fit_units_function(layer, UnitRows(values, targets=wanted, synthetic=10), 4)
    split = split_rows(20)
    learn = torch.cat([split.fit, torch.arange(20, 30)])
    columns, bias = least_squares(values[learn], wanted[learn], intercept=True)
    expected = relative_error(values[split.held] @ columns + bias, wanted[split.held])
    assert fit.function_error == pytest.approx(expected)
    real = fit_units_function(layer, UnitRows(values[:20], targets=wanted[:20]), 4)
    assert real.function_error != pytest.approx(expected)


def test_products_of_outputs_are_those_of_what_each_unit_adds():
    layer, rows = units(5), UnitRows(draw(30, 5 * EACH))
    added = []
    for unit in torch.arange(5).split(1):
        matrix = output_matrix(layer.select(unit), EACH)
        added.append(rows.values[:, unit_columns(unit, EACH)] @ matrix)
    by_hand = torch.stack([torch.stack([(a * b).sum() for b in added]) for a in added])
    torch.testing.assert_close(output_products(layer, rows, torch.arange(30)), by_hand)
    torch.testing.assert_close(sum(added) + layer.outgoing_bias, rows.outputs_of(layer))


def test_nonnegative_counts_beat_a_random_choice_and_large_norms_do_not_matter_to_it():
    layer, rows = units(10), UnitRows(draw(150, 10 * EACH))
    weighted = weighted_units(layer, rows, 5)
    assert weighted.function_error < random_units(layer, rows, 5).function_error
    assert bool((weighted.layer.multiplicities > 0).all())
    norms = torch.stack([p.square().sum(dim=1) for p in (*layer.incoming, layer.outgoing)]).sum(dim=0)
    largest = largest_units(layer, rows, 5)
    assert set(largest.indices.tolist()) == set(norms.topk(5).indices.tolist())
    assert largest.kernel_error is None
    assert largest.trains_alike is None
