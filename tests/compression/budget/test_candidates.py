import pytest
from torch import nn

from jlab_compress import compress_baseline, prepare
from jlab_compress.compression.budget.candidates import best_tried, clearly_best, scaled_to, tried_gap
from jlab_compress.compression.budget.cost_model import CostModel, read_cost_model
from jlab_compress.execution.calls import Call
from jlab_compress.execution.closeness import function_gap
from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.outputs import outputs_on
from tests.models import mlp, rows

X = rows(240, 6)
NET = mlp(6, 40, 30, 3, activation=nn.Tanh)
PREPARED = prepare(NET, X)
COST = read_cost_model(PREPARED, PREPARED.blocks, "parameters")


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("round_to", [1, 4])
def test_scaled_widths_cost_no_more_than_their_share_and_could_not_be_wider(share, round_to):
    widths = scaled_to(COST, {"0": 40, "2": 30}, share, round_to)
    assert COST(widths) <= share
    assert COST({"0": widths["0"] + round_to, "2": widths["2"] + round_to}) > share


def test_no_width_grows_beyond_the_present_one():
    cost = CostModel(0.0, ((1.0, ("a",)), (1.0, ("b",))), {"a": 8, "b": 8})
    assert scaled_to(cost, {"a": 1, "b": 100}, 0.75, 1) == {"a": 4, "b": 8}
    assert scaled_to(cost, {"a": 3, "b": 5}, 1.0, 1) == {"a": 8, "b": 8}


def test_a_bad_plan_gives_way_and_a_good_one_stays():
    prepared = prepare(NET, X)
    bad = {"0": 2, "2": 20}
    share = COST(bad)
    found = best_tried(prepared, bad, COST, share=share, round_to=1, seed=0)
    assert COST(found) <= share
    scratch = copy_model(NET)
    gaps = [tried_gap(prepared, scratch, plan, [], seed=0) for plan in (found, bad)]
    assert gaps[0] < 0.9 * gaps[1]
    good = scaled_to(COST, COST.present, share, 1)
    assert best_tried(prepared, good, COST, share=share, round_to=1, seed=0) == good


def test_a_plan_that_is_hardly_better_gives_way_to_the_usual_one():
    assert clearly_best([0.98, 1.0, 0.99], usual=1) == 1
    assert clearly_best([0.96, 1.0, 0.99], usual=1) == 0
    assert clearly_best([1.2, 1.0, 0.5], usual=1) == 2


def test_a_trial_leaves_the_copy_as_it_was_and_gives_the_gap_of_the_baseline():
    prepared, scratch = prepare(NET, X), copy_model(NET)
    before = list(scratch.parameters())
    gap = tried_gap(prepared, scratch, {"0": 9, "2": 7}, [], seed=0)
    assert all(new is old for new, old in zip(scratch.parameters(), before, strict=True))
    assert [scratch[0].out_features, scratch[2].in_features] == [40, 40]
    made = compress_baseline(prepared, {"0": 9, "2": 7}, method="greedy")
    assert made.report.facts["function_gap"] == gap
    others = [Call((rows(50, 6, seed=4),))]
    elsewhere = tried_gap(prepared, scratch, {"0": 9, "2": 7}, others, seed=0)
    assert elsewhere == function_gap(outputs_on(NET, others), outputs_on(made.model, others))
