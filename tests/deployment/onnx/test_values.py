"""Names in a graph: as asked for, also where other values have them already."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from jlab_compress.deployment.onnx.values import name_values


def graph(outputs):
    """x + w, and its relu; "w" is a parameter of the layer "model.a"."""
    nodes = [helper.make_node("Add", ["in", "model.a.w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    weight = onnx.numpy_helper.from_array(np.array([1.0, -9.0], np.float32), "model.a.w")
    shapes = {"in": ["batch", 2], "model.a.w": [2]}
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes.get(n, ["batch", 2])) for n in outputs
    ]
    given = helper.make_tensor_value_info("in", TensorProto.FLOAT, ["batch", 2])
    return helper.make_graph(nodes, "net", [given], ports, [weight])


def answers(made):
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [port.name for port in session.get_outputs()]
    x = {session.get_inputs()[0].name: np.array([[2.0, 3.0]], np.float32)}
    return {name: array.tolist() for name, array in zip(names, session.run(names, x), strict=True)}


def test_values_that_have_a_wanted_name_give_way():
    made = graph(["z"])
    name_values(made, ["y"], ["in"], prefix="model.")
    assert [tensor.name for tensor in made.initializer] == ["a.w"]
    assert answers(made) == {"in": [[3.0, 0.0]]}


def test_inputs_parameters_and_repeated_values_can_be_outputs():
    made = graph(["z", "in", "z", "model.a.w", "y"])
    name_values(made, ["x"], ["first", "same", "again", "weight", "sum"], prefix="model.")
    assert [tensor.name for tensor in made.initializer] == ["a.w"]
    assert answers(made) == {
        "first": [[3.0, 0.0]], "same": [[2.0, 3.0]], "again": [[3.0, 0.0]], "weight": [1.0, -9.0],
        "sum": [[3.0, -6.0]],
    }  # fmt: skip


def test_names_inside_branches_change_too():
    inner = helper.make_graph(
        [helper.make_node("Add", ["in", "model.a.w"], ["x"])], "then", [],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
    )  # fmt: skip
    made = graph(["z"])
    made.initializer.append(onnx.numpy_helper.from_array(np.array(True), "model.yes"))
    made.node[0].CopyFrom(helper.make_node("If", ["model.yes"], ["y"], then_branch=inner, else_branch=inner))
    name_values(made, ["x"], ["w"], prefix="model.")
    assert answers(made) == {"w": [[3.0, 0.0]]}
