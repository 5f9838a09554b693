"""What widths are said to cost is what is counted after the cut, products between layers included."""

import pytest
import torch

from jlab_compress.compression.budget.cost_model import read_prices
from jlab_compress.compression.compress import compress_baseline
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import copy_model
from jlab_compress.graph.costs import count_macs
from jlab_compress.inspection.find import find_blocks
from tests.graph.test_costs import ByHand, Fused, Stock, convolutions


@pytest.mark.parametrize(
    ("build", "shape"),
    [(Fused, (3, 7, 16)), (ByHand, (3, 7, 16)), (Stock, (3, 7, 16)), (convolutions, (2, 3, 5, 5))],
)
def test_multiply_adds_fall_as_counted(build, shape):
    model, x = build().eval(), torch.ones(shape)
    blocks = find_blocks(model, x).unlocked
    widths = {block.name: block.width // 2 for block in blocks}
    slim = compress_baseline(model, widths, calibration=x, method="magnitude").model
    prices = read_prices(copy_model(model), blocks, Call((x,)), "macs")
    assert prices(widths) == pytest.approx(count_macs(slim, Call((x,))) / count_macs(model, Call((x,))))
    assert prices({block.name: block.width for block in blocks}) == pytest.approx(1.0)
