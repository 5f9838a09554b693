"""What is recorded of one run: assignments in order, each in its module, constants and snapshots."""

import torch
from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.graph.recorder import record
from tests.models import rows

X = rows(5, 3)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).double()


def test_operations_are_in_order_with_their_modules():
    model = net()
    trace = record(model, Call((X,)))
    found = [(op.name, op.module) for op in trace.operations]
    assert found == [("linear", "0"), ("relu", "1"), ("linear", "2")]
    assert trace.modules == ("0", "1", "2")
    assert trace.rows == 5
    assert set(trace.parameters.values()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_tensor_changed_in_place_is_a_new_value():
    trace = record(net(), Call((X,)))
    first, changed, last = trace.operations
    assert changed.in_place
    assert changed.outputs != changed.inputs
    assert changed.inputs == first.outputs
    assert last.inputs[0] == changed.outputs[0]
    assert trace.results == set(last.outputs)
    assert trace.consumers[changed.outputs[0]] == [2]


@torch.no_grad()
def test_snapshots_are_what_enters_and_leaves_linear_layers():
    model = net()
    trace = record(model, Call((X,)))
    first, _, last = trace.operations
    assert torch.equal(trace.snapshots[first.inputs[0]], X)
    assert torch.equal(trace.snapshots[first.outputs[0]], model[0](X))
    assert torch.equal(trace.snapshots[last.inputs[0]], model[:2](X))


class Parts(nn.Module):
    """Uses a part of a parameter, a constant, and a layer's weight without running it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        half = self.inner.weight.t()[:, :2]
        return x @ half * self.scale + torch.tensor(2.0)


def test_parts_of_parameters_and_constants_are_known():
    trace = record(Parts(), Call((X.float(),)))
    assert trace.modules == ("",)
    product = next(op for op in trace.operations if op.name == "matmul")
    assert trace.weights[product.inputs[1]] == "inner.weight"
    assert product.inputs[0] not in trace.weights
    assert sorted(float(t) for t in trace.constants.values()) == [1.0, 2.0]
