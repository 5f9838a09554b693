"""What widths are said to cost is what is counted after the cut, products between layers included."""

import pytest
import torch
from torch import nn

from jlab_compress import compress_baseline, prepare
from jlab_compress.compression.budget.cost_model import read_cost_model
from jlab_compress.execution.calls import Call
from jlab_compress.graph.costs import count_macs, count_parameters
from tests.graph.test_costs import ByHand, Fused, Stock, convolutions
from tests.models import mlp
from tests.quick import X


@pytest.mark.parametrize(
    ("build", "shape"),
    [(Fused, (3, 7, 16)), (ByHand, (3, 7, 16)), (Stock, (3, 7, 16)), (convolutions, (2, 3, 5, 5))],
)
def test_multiply_adds_fall_as_counted(build, shape):
    model, x = build().eval(), torch.ones(shape)
    prepared = prepare(model, x)
    blocks = prepared.blocks.unlocked
    widths = {block.name: block.width // 2 for block in blocks}
    slim = compress_baseline(prepared, widths, method="magnitude").model
    cost = read_cost_model(prepared, blocks, "macs")
    assert cost(widths) == pytest.approx(count_macs(slim, Call((x,))) / count_macs(model, Call((x,))))
    assert cost({block.name: block.width for block in blocks}) == pytest.approx(1.0)


NET = mlp(6, 40, 30, 3, activation=nn.Tanh)


@pytest.mark.parametrize("kind", ["parameters", "macs"])
def test_a_cost_is_what_is_counted_after_the_cut(kind):
    prepared, call = prepare(NET, X), Call((X,))
    cost = read_cost_model(prepared, prepared.blocks, kind)
    count = count_parameters if kind == "parameters" else lambda net: count_macs(net, call)
    assert cost({"0": 11, "2": 7}) == pytest.approx(count(mlp(6, 11, 7, 3)) / count(NET))
    assert cost({"0": 40, "2": 30}) == pytest.approx(1.0)


def test_milliseconds_fall_with_both_blocks_of_the_layer_that_takes_them(slow_between):
    prepared = prepare(NET, X)
    cost = read_cost_model(prepared, prepared.blocks, "latency")
    assert cost({"0": 40, "2": 30}) == pytest.approx(1.0)
    assert cost({"0": 20, "2": 30}) == pytest.approx(0.5, abs=0.1)
    assert cost({"0": 20, "2": 15}) == pytest.approx(0.25, abs=0.1)
