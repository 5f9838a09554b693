import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.budget.allocation import allocate_widths, shrink_to
from jlab_compress.compression.budget.cost_model import CostModel
from jlab_compress.compression.compress import compress_baseline
from jlab_compress.execution.calls import Call
from jlab_compress.graph.costs import count_macs, count_parameters
from tests.models import mlp, repeat_units, rows

X = rows(240, 6)
NET = mlp(6, 40, 30, 3, activation=nn.Tanh)


def narrowed(widths):
    return compress_baseline(NET, widths, calibration=X, method="random").model


@pytest.mark.parametrize("budget", [{"parameters": 0.3}, {"macs": 0.5}])
def test_the_budget_is_met_and_the_model_stays(budget):
    before, state = copy.deepcopy(NET.state_dict()), torch.get_rng_state()
    widths = allocate_widths(NET, calibration=X, **budget)
    assert set(widths) == {"0", "2"}
    assert all(torch.equal(v, before[k]) for k, v in NET.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    slim = narrowed(widths)
    if "parameters" in budget:
        left = count_parameters(slim) / count_parameters(NET)
        assert 0.25 < left <= 0.3
    if "macs" in budget:
        left = count_macs(slim, Call((X[:2],))) / count_macs(NET, Call((X[:2],)))
        assert 0.42 < left <= 0.5


@pytest.mark.usefixtures("slow_between")
def test_time_is_saved_where_the_layers_take_most_of_it():
    widths = allocate_widths(NET, calibration=X, latency=0.3)
    assert 0.2 < widths["0"] * widths["2"] / (40 * 30) < 0.35


def test_a_block_of_few_distinct_neurons_gives_way_to_one_of_many():
    net = mlp(6, 10, 40, 3, activation=nn.Tanh)
    repeat_units([net[0]], net[2], 4)
    widths = allocate_widths(net, calibration=X, macs=0.35)
    assert widths["0"] < 20
    assert widths["2"] > 30


def test_widths_are_multiples_and_only_of_named_blocks():
    widths = allocate_widths(NET, calibration=X, parameters=0.4, round_to=8)
    assert all(w % 8 == 0 or w == n for w, n in zip(widths.values(), (40, 30), strict=True))
    assert set(allocate_widths(NET, calibration=X, parameters=0.8, blocks=["2"])) == {"2"}


def test_shrinking_is_the_best_of_all_plans_on_convex_curves():
    cost = CostModel(1.0, ((1.0, ("a",)), (1.0, ("b",))), {"a": 4, "b": 4})
    curves = {"a": {1: 6.0, 2: 3.0, 3: 1.0, 4: 0.0}, "b": {1: 2.5, 2: 1.2, 3: 0.5, 4: 0.0}}
    for share in (0.9, 0.75, 0.6):
        plans = [
            (curves["a"][a] + curves["b"][b], {"a": a, "b": b}) for a in curves["a"] for b in curves["b"]
        ]
        best = min(error for error, plan in plans if cost(plan) <= share)
        found = shrink_to(cost, curves, share, "macs", 1)
        assert cost(found) <= share
        assert curves["a"][found["a"]] + curves["b"][found["b"]] == pytest.approx(best)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({}, ValueError, "give exactly one budget; got 0"),
        ({"macs": 0.5, "latency": 0.5}, ValueError, "give exactly one budget; got 2"),
        ({"macs": 1.5}, ValueError, "macs: expected a share of the present cost between 0 and 1"),
        ({"parameters": "half"}, TypeError, "parameters: expected a share of the present cost such as"),
        (
            {"parameters": 0.005},
            ValueError,
            "parameters: expected a share of at least 0.0.*, got 0.005; so much of",
        ),
        ({"macs": 0.5, "blocks": "0"}, ValueError, "blocks: expected a list of block names"),
        ({"macs": 0.5, "blocks": ["9"]}, ValueError, "there is no block '9'"),
        ({"macs": 0.5, "round_to": 0}, ValueError, "round_to: expected a positive"),
    ],
)
def test_bad_budgets_are_refused_in_one_sentence(options, kind, words):
    with pytest.raises(kind, match=words):
        allocate_widths(NET, calibration=X, **options)
