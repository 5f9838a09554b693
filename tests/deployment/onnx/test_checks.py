"""A file is held to its form and to its numbers; each fault that is planted is found."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from jlab_compress.deployment.onnx.checks import check_form, check_loads, measure_parity
from jlab_compress.deployment.program.signature import read_signature
from jlab_compress.errors import ExportMismatchError

DOUBLE = nn.Linear(2, 2)
DOUBLE.weight.data.copy_(2 * torch.eye(2))
DOUBLE.bias.data.zero_()
SIGNATURE = read_signature(DOUBLE, torch.ones(3, 2))
WIDER = read_signature(nn.Linear(3, 2), torch.ones(2, 3))


def file(path, *, factor=2.0, opset=18, nodes=(), kind=TensorProto.FLOAT, **names):
    """Write a graph by hand that multiplies its input."""
    ports = [
        helper.make_tensor_value_info(names.get(name, name), kind, ["batch", 2])
        for name in ("input", "output")
    ]
    last = helper.make_node("Mul", [ports[0].name, "factor"], [ports[1].name])
    weight = onnx.numpy_helper.from_array(np.array(factor, helper.tensor_dtype_to_np_dtype(kind)), "factor")
    graph = helper.make_graph([*nodes, last], "net", [ports[0]], [ports[1]], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def form(path, **changes):
    return check_form(path, **{"opset": 18, "signature": SIGNATURE, "reference": DOUBLE, **changes})


def test_a_sound_file_says_what_it_is(tmp_path):
    found = form(file(tmp_path / "m.onnx"))
    assert (found.opset, found.ir_version) == (18, 8)
    assert [(p.name, p.dtype, p.shape) for p in found.inputs] == [("input", "float32", ("batch", 2))]


@pytest.mark.parametrize(
    ("made", "asked", "words"),
    [
        ({"opset": 17}, {}, r"expected opset 18 .* got \[\('default', 17\)\]"),
        ({"input": "x"}, {}, r"expected inputs \['input'\], got \['x'\]"),
        ({"output": "y"}, {}, r"expected outputs \['output'\], got \['y'\]"),
        ({"nodes": [helper.make_node("Dropout", ["input"], ["dropped"])]}, {}, "holds a Dropout"),
        ({"nodes": [helper.make_node("Relu", ["input"], ["r"], doc_string="/a.py")]}, {}, "source paths"),
        (
            {},
            {"signature": WIDER, "reference": nn.Linear(3, 2)},
            r"expected shape \['batch', 3\]",
        ),
    ],
)
def test_each_fault_is_named(made, asked, words, tmp_path):
    with pytest.raises(ExportMismatchError, match=words):
        form(file(tmp_path / "m.onnx", **made), **asked)


def test_a_parameter_of_another_shape_is_named(tmp_path):
    """A parameter in a file has the shape that it has in the folded module."""

    class Scaled(nn.Module):
        def __init__(self, *shape):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(shape))

        def forward(self, input):
            return self.factor.sum() * input

    path = file(tmp_path / "m.onnx")
    assert form(path, reference=Scaled()).opset == 18
    with pytest.raises(ExportMismatchError, match=r"expected factor of shape \[2, 3\], got \[\]"):
        form(path, reference=Scaled(2, 3))


def test_operators_that_onnxruntime_lacks_are_named_with_their_type(tmp_path):
    wide = nn.Linear(2, 2).double()
    signature = read_signature(wide, torch.ones(3, 2).double())
    nodes = [helper.make_node("Erf", ["input"], ["e"])]
    with pytest.raises(
        ValueError,
        match=r"onnxruntime has no Erf for float64, in which this model computes; pass a copy in float32",
    ):
        measure_parity(file(tmp_path / "m.onnx", nodes=nodes, kind=TensorProto.DOUBLE), wide, signature)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="onnxruntime does not run it"):
        measure_parity(tmp_path / "bad.onnx", DOUBLE, SIGNATURE)


def test_an_operator_of_someone_else_is_named(tmp_path):
    path = file(tmp_path / "m.onnx", nodes=[helper.make_node("Own", ["input"], ["o"], domain="com.example")])
    with pytest.raises(ExportMismatchError, match=r"refuses it .*default domain \(com\.example::Own\)"):
        form(path)


def test_the_numbers_are_compared_at_every_size(tmp_path):
    same = measure_parity(file(tmp_path / "m.onnx"), DOUBLE, SIGNATURE)
    assert [(p.case, p.max_abs_diff) for p in same] == [(f"batch {n}", 0.0) for n in (1, 2, 7, 64)]
    off = measure_parity(file(tmp_path / "n.onnx", factor=2.5), DOUBLE, SIGNATURE)
    assert [p.gap for p in off] == pytest.approx([0.25] * 4)


def test_a_size_that_only_the_module_takes_is_a_fault(tmp_path):
    path = file(tmp_path / "m.onnx")
    graph = onnx.load(path)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(graph, path)
    with pytest.raises(ExportMismatchError, match="onnxruntime fails where the model runs"):
        measure_parity(path, DOUBLE, SIGNATURE)


def test_loading_is_tried_in_a_process_of_its_own(tmp_path):
    check_loads(file(tmp_path / "m.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ExportMismatchError, match=r"bad\.onnx: onnxruntime cannot load it \(.*as float32"):
        check_loads(tmp_path / "bad.onnx")
