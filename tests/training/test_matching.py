"""Which slim unit stands for which original ones."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from jlab_compress.slim.conversion import attach_plan, fold, plan_of
from jlab_compress.slim.plan import Plan
from jlab_compress.training.matching import axes_by_parameter, match_neurons
from tests.slim.coupled import COUNTS, KEPT, STREAM, WIDE, repeated
from tests.training.test_optimizer_transfer import COUNTS as COPIES
from tests.training.test_optimizer_transfer import make_slim, make_wide


def without_indices(slim):
    plan = plan_of(slim)
    attach_plan(slim, replace(plan, blocks=tuple(replace(block, indices=None) for block in plan.blocks)))
    return slim


def test_kept_units_stand_for_themselves():
    wide = make_wide()
    (match,) = match_neurons(wide, make_slim(wide))
    first = [sum(COPIES[:j]) for j in range(len(COPIES))]
    assert torch.equal(match.shares, torch.eye(sum(COPIES)).double()[first])
    assert torch.equal(match.wide[first], match.narrow)
    assert match.root is None


def test_units_that_moved_stand_for_their_nearest():
    wide = make_wide()
    (match,) = match_neurons(wide, without_indices(make_slim(wide)))
    expected = torch.block_diag(*(torch.full((1, c), 1 / c) for c in COPIES)).double()
    assert torch.allclose(match.shares, expected)


@pytest.mark.parametrize("zero", [0.0, 1e-12])
def test_a_tensor_of_zeros_in_the_original_is_measured_by_the_slim_one(zero):
    wide = make_wide()
    with torch.no_grad():
        wide[0].bias.fill_(zero)
    slim = without_indices(make_slim(wide))
    with torch.no_grad():
        slim[0].bias.copy_(torch.tensor([3.0, 0.0, -3.0, 3.0, 0.0]))
    (match,) = match_neurons(wide, slim)
    size = (27 / 5) ** 0.5
    assert torch.allclose(match.narrow[:, 4], torch.tensor([3.0, 0.0, -3.0, 3.0, 0.0]).double() / size)
    assert float(match.wide[:, 4].abs().max()) < 1e-11
    with torch.no_grad():
        slim[0].bias.fill_(zero)
    assert bool(torch.isfinite(match_neurons(wide, slim)[0].narrow).all())


def test_the_plain_gauge_is_taken_off():
    wide = make_wide(activation=nn.ReLU)
    (plain,) = match_neurons(wide, make_slim(wide, plain=True))
    (weighted,) = match_neurons(wide, make_slim(wide))
    assert torch.allclose(plain.narrow, weighted.narrow)
    assert torch.allclose(plain.root, torch.tensor(COPIES).double().sqrt())


def test_a_shared_width_is_matched_by_all_its_axes():
    wide, slim = repeated()
    axes = axes_by_parameter(slim)
    assert [(name, unit.role) for name, unit in axes["mix.weight"]] == [
        ("stream", "reads"),
        ("stream", "makes"),
    ]
    assert "norm.running_mean" not in axes
    (kept,) = match_neurons(wide, slim)
    parameters = dict(slim.named_parameters())
    sizes = [unit.rows(parameters[unit.name]).shape[1] for unit in STREAM if unit.name in axes]
    assert kept.wide.shape == (7, sum(sizes))
    assert torch.allclose(kept.wide[KEPT], kept.narrow)
    (moved,) = match_neurons(wide, without_indices(slim))
    expected = (torch.arange(3)[:, None] == WIDE).double()
    assert torch.allclose(moved.shares, expected / COUNTS[:, None])


def test_a_folded_or_foreign_model_is_refused():
    wide = make_wide()
    with pytest.raises(ValueError, match="block '0' is folded; pass the slim model before fold"):
        match_neurons(wide, fold(make_slim(wide)))
    with pytest.raises(ValueError, match="has no compression plan"):
        match_neurons(wide, wide)
    attach_plan(wide, Plan(()))
    assert match_neurons(wide, wide) == ()
