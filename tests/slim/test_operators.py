"""The table of layers: each row says what torch's layers have for every unit."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from jlab_compress.slim.operators import OPERATORS, axes_of, operator_of, units_of
from jlab_compress.slim.units import Operator, tensor_of
from jlab_compress.slim.weighted import WeightedLinear

LAYERS = {
    "linear": (nn.Linear(4, 6), "makes", 6, {"weight": (0, 1), "bias": (0, 1)}),
    "no bias": (nn.Linear(4, 6, bias=False), "makes", 6, {"weight": (0, 1)}),
    "flattened channels": (nn.Linear(12, 2), "reads", 4, {"weight": (1, 3)}),
    "Conv1D makes": (Conv1D(6, 4), "makes", 6, {"weight": (1, 1), "bias": (0, 1)}),
    "Conv1D reads": (Conv1D(6, 4), "reads", 4, {"weight": (0, 1)}),
    "conv": (nn.Conv2d(4, 6, 3), "reads", 4, {"weight": (1, 1)}),
    "depthwise": (nn.Conv1d(4, 8, 3, groups=4), "treats", 4, {"weight": (0, 2), "bias": (0, 2)}),
    "norm": (
        nn.BatchNorm3d(5),
        "treats",
        5,
        {"weight": (0, 1), "bias": (0, 1), "running_mean": (0, 1), "running_var": (0, 1)},
    ),
    "attention": (
        nn.MultiheadAttention(8, 2),
        "makes",
        2,
        {"in_proj_weight": (0, 4), "in_proj_bias": (0, 4)},
    ),
    "keys of another size": (
        nn.MultiheadAttention(8, 2, kdim=3, vdim=3),
        "makes",
        2,
        {
            "q_proj_weight": (0, 4),
            "k_proj_weight": (0, 4),
            "v_proj_weight": (0, 4),
            "in_proj_bias": (0, 4),
        },
    ),
    "its output": (nn.MultiheadAttention(8, 2).out_proj, "reads", 2, {"weight": (1, 4)}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_axes_of_a_layer(name):
    layer, role, width, expected = LAYERS[name]
    net = nn.ModuleDict({"layer": layer})
    found = list(axes_of(net, "layer", role, width))
    assert {unit.tensor: (unit.axis, unit.each) for unit in found} == expected
    assert {unit.role for unit in found} == {role}
    for unit in found:
        assert unit.sections == (3 if unit.tensor.startswith("in_proj") else 1)
        assert unit.length(width) == tensor_of(net, unit).shape[unit.axis]


@pytest.mark.parametrize("name", LAYERS)
def test_sizes_are_those_that_the_layer_says_of_itself(name):
    layer = copy.deepcopy(LAYERS[name][0])
    operator = operator_of(layer)
    assert operator.sizes(layer)
    assert all(getattr(layer, key) == size for key, size in operator.sizes(layer).items())


def test_sizes_follow_the_tensors():
    deep = nn.Conv2d(4, 8, 3, groups=4)
    deep.weight = nn.Parameter(torch.zeros(6, 1, 3, 3))
    assert operator_of(deep).sizes(deep) == {"out_channels": 6, "in_channels": 3, "groups": 3}
    attention = nn.MultiheadAttention(8, 2)
    attention.out_proj.weight = nn.Parameter(torch.zeros(8, 4))
    assert operator_of(attention).sizes(attention) == {"num_heads": 1}


def test_a_fused_projection_has_its_parts_where_it_is_told():
    net = nn.ModuleDict({"qkv": nn.Linear(4, 24), "out": nn.Linear(8, 4)})
    units = units_of(net, ("qkv",), "out", 2, sections=(3,))
    assert [(unit.name, unit.sections, unit.each) for unit in units] == [
        ("qkv.weight", 3, 4),
        ("qkv.bias", 3, 4),
        ("out.weight", 1, 4),
    ]


def test_what_is_not_known_is_refused():
    net = nn.ModuleDict({"a": nn.LayerNorm(4), "b": nn.Linear(4, 6), "c": nn.Linear(6, 2)})
    with pytest.raises(ValueError, match="by its Operator, a Linear treats no units"):
        units_of(net, ("b",), "c", 6, treating=("c",))
    with pytest.raises(
        ValueError, match="a: where a LayerNorm keeps its units is not known; pass an Operator"
    ):
        units_of(net, ("b",), "c", 6, treating=("a",))
    with pytest.raises(ValueError, match=r"b.weight: its 6 entries do not fall into 1 x 4 equal parts"):
        units_of(net, ("b",), "c", 4)
    with pytest.raises(AttributeError, match="gone"):
        units_of(net, ("gone",), "c", 6)


def test_a_subclass_is_not_taken_for_its_base_and_rows_of_a_caller_come_first():
    class Mine(nn.Linear):
        pass

    assert operator_of(Mine(2, 3)) is None
    row = Operator(Mine, WeightedLinear, makes={"weight": 0})
    assert operator_of(Mine(2, 3), (row,)) is row
    other = Operator(nn.Linear, WeightedLinear, makes={"weight": 0})
    assert operator_of(nn.Linear(2, 3), (other,)) is other
    assert operator_of(nn.Linear(2, 3)) is operator_of(WeightedLinear(2, 3))
    assert operator_of(nn.ReLU()) is None


def test_each_row_is_about_one_class_and_names_tensors_by_one_axis_each():
    stock = [row.stock for row in OPERATORS if row.stock is not None]
    assert len(set(stock)) == len(stock)
    for row in OPERATORS:
        assert row.makes or row.treats
        assert set(row.counts) >= {role for role in ("makes", "treats", "reads") if row.tensors(role)}
