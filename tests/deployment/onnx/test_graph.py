"""A traced graph: the opset that was asked for, axes by their names, and no trace of the maker's files."""

import pytest
import torch
from torch import nn

from jlab_compress.deployment.onnx.graph import trace
from jlab_compress.deployment.program.signature import read_signature
from tests.deployment.networks import mlp


class Mean(nn.Module):
    def forward(self, image):
        return image.mean((2, 3)), image


IMAGE = torch.ones(2, 3, 8, 6)
AXES = {"image": {0: "batch", 2: "height", 3: "width"}}


def shapes(values):
    return [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values]


def test_axes_have_the_names_of_the_signature_also_in_outputs():
    graph = trace(Mean(), read_signature(Mean(), IMAGE, AXES), 18).graph
    assert shapes(graph.input) == [["batch", 3, "height", "width"]]
    assert shapes(graph.output) == [["batch", 3], ["batch", 3, "height", "width"]]
    assert [value.name for value in graph.output] == ["output_0", "output_1"]


def test_nothing_tells_where_it_was_made():
    model = trace(mlp().eval(), read_signature(mlp(), torch.ones(2, 8)), 18)
    assert not model.doc_string
    assert not model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert b".py" not in model.SerializeToString()


def test_axes_that_the_model_ties_must_have_one_name():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    example = (torch.ones(2, 4), torch.ones(2, 4))
    axes = {"a": {0: "batch", 1: "rows"}, "b": {0: "batch", 1: "columns"}}
    with pytest.raises(ValueError, match="it ties axis 'columns' of input 'b' to 'rows'; give"):
        trace(Sum(), read_signature(Sum(), example, axes), 18)
