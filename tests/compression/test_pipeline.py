"""The pipe: blocks in their order, what stays, what a plan says."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress import prepare
from jlab_compress.compression.fits.aims import AIMS, BASELINES
from jlab_compress.compression.pipeline import Settings, narrow, plan_block, shrink
from jlab_compress.compression.widths.request import Resolved
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.layer import Layer
from jlab_compress.slim.snapshot import Snapshot
from tests.models import mlp, seeded
from tests.quick import FAST, X

NET = mlp(6, 40, 30, 3)
PREPARED = prepare(NET, X)


def narrowed(widths, aim=BASELINES["greedy"], prepared=PREPARED, **settings):
    slim = copy.deepcopy(prepared.original)
    return narrow(prepared, slim, widths, aim, Settings(effort=FAST, **settings)), slim


def test_blocks_are_done_in_the_order_in_which_they_run():
    made, slim = narrowed({"2": 7, "0": 9})
    assert [(block.name, block.width_after) for block in made.plan.blocks] == [("0", 9), ("2", 7)]
    assert (slim[0].out_features, slim[2].in_features, slim[2].out_features) == (9, 9, 7)
    x, y = (call.args[0] for call in (*PREPARED.fit, *PREPARED.held))
    with torch.no_grad():
        assert made.evaluation.function_gap == pytest.approx(float((slim(y) - NET(y)).norm() / NET(y).norm()))
        alone = narrowed({"0": 9})[1]
        kept = torch.tensor(made.plan.blocks[1].indices)
        assert torch.equal(slim[0].weight, alone[0].weight)
        assert torch.equal(slim[2].weight, alone[2].weight[kept])
        assert not torch.allclose(slim(x), NET(x))


def test_the_prepared_copy_stays_as_it_was():
    before = {name: value.clone() for name, value in PREPARED.original.state_dict().items()}
    shrink(PREPARED, Resolved({"0": 9, "2": 7}), AIMS["function"], Settings(effort=FAST))
    assert all(torch.equal(value, before[name]) for name, value in PREPARED.original.state_dict().items())


def test_notes_on_the_widths_come_with_the_report():
    made = shrink(PREPARED, Resolved({"0": 9}, ("a word on widths",)), BASELINES["random"], Settings())
    assert made.report.notes[-1] == "a word on widths"
    assert made.plan.preserve == "random"


def test_a_scratch_copy_serves_several_narrowings_with_the_same_result():
    scratch = copy.deepcopy(NET)
    before, gaps = Snapshot.of(scratch), []
    for _ in range(2):
        gaps.append(
            narrow(PREPARED, scratch, {"0": 9}, BASELINES["k-means"], Settings()).evaluation.function_gap
        )
        before.put_back()
    other, _ = narrowed({"0": 9}, BASELINES["k-means"])
    assert gaps == [other.evaluation.function_gap] * 2


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("counts", [(1.0, 1.0), (3.0, 2.0)])
def test_a_plan_holds_multiplicities_that_no_layer_holds(plain, counts):
    layer = Layer((torch.ones(2, 6),), (None,), torch.ones(2, 3), None, torch.ones(2), torch.relu)
    fit = Fit(layer, torch.tensor([4, 1]), "some", 0.1)
    plan = plan_block(PREPARED.blocks[0], fit, counts, plain)
    assert (plan.indices, plan.width_after, plan.method) == ((4, 1), 2, "some")
    assert plan.multiplicities == (counts if plain and counts != (1.0, 1.0) else None)
    assert plan.gauge == ("plain" if plain and counts != (1.0, 1.0) else "weighted")


def test_norms_of_merged_neurons_get_the_statistics_of_what_reaches_them():
    net = (
        seeded(nn.Sequential, nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
        .double()
        .eval()
    )
    net[1].running_mean.uniform_(generator=torch.Generator().manual_seed(0))
    prepared = prepare(net, X)
    _, slim = narrowed({"0": 4}, BASELINES["k-means"], prepared)
    rows = torch.cat([call.args[0] for call in prepared.fit])
    with torch.no_grad():
        entering = slim[0](rows)
    assert torch.allclose(slim[1].running_mean, entering.mean(dim=0))
    assert torch.allclose(slim[1].running_var, entering.var(dim=0, unbiased=False))
