"""Plans as JSON, of this version and of the first."""

import json

import pytest

from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.units import UnitAxis

FIRST = {
    "name": "0", "kind": "conv", "incoming": ["0"], "outgoing": "6", "width_before": 8, "width_after": 3,
    "method": "k-means", "gauge": "weighted", "indices": [0, 2, 5], "multiplicities": None, "norm": "1",
    "repeat": 4, "sections": [], "chain": [],
}  # fmt: skip


def read(**changes):
    text = json.dumps({"blocks": [FIRST | changes], "preserve": "function", "seed": 3})
    plan = Plan.from_json(text)
    assert Plan.from_json(plan.to_json()) == plan
    assert (plan.preserve, plan.seed) == ("function", 3)
    return plan.blocks[0]


def test_plan_survives_json_and_refuses_other_text():
    units = (UnitAxis("0", "weight", 0), UnitAxis("2", "weight", 1, "reads"))
    plan = Plan((BlockPlan("0", "mlp", units, 8, 3, "k-means", "weighted", (1, 2, 5)),), "function", 7)
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json(plan.to_json()) != Plan((), "function", 7)
    for text in ("", "[]", '{"blocks": [{"name": 1}], "preserve": "x", "seed": 0}'):
        with pytest.raises(ValueError, match=r"expected JSON written by Plan.to_json"):
            Plan.from_json(text)


def test_a_plan_of_the_first_version_names_the_same_layers():
    block = read()
    assert (block.incoming, block.outgoing, block.norm, block.entries_per_unit) == (("0",), "6", "1", 4)
    assert (block.channelwise, block.activation_only, block.indices) == ((), False, (0, 2, 5))
    assert "incoming" not in json.loads(Plan((block,)).to_json())["blocks"][0]


def test_heads_and_chains_of_the_first_version_are_known_by_a_run_only():
    chained = read(norm=None, chain=["1", "3", "4"], repeat=1)
    assert (chained.activation_only, chained.channelwise, chained.norm) == (True, ("1", "3", "4"), None)
    heads = read(kind="attention", incoming=["qk", "v"], sections=[2, 1], norm=None)
    assert heads.activation_only
    assert [(unit.module, unit.sections) for unit in heads.units] == [("qk", 2), ("v", 1), ("6", 1)]


def test_a_plan_from_before_heads_lacks_their_fields():
    short = {key: value for key, value in FIRST.items() if key not in ("norm", "repeat", "sections", "chain")}
    block = Plan.from_json(json.dumps({"blocks": [short], "preserve": "dynamics", "seed": 0})).blocks[0]
    assert (block.norm, block.entries_per_unit, block.activation_only) == (None, 1, False)


def test_other_fields_are_refused():
    with pytest.raises(ValueError, match=r"expected JSON written by Plan.to_json .*unexpected field"):
        read(temperature=1.0)
