"""Which operand of a call is its weight, and whose weight that is."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from jlab_compress.execution.calls import Call
from jlab_compress.graph.recorder import record
from jlab_compress.graph.weights import axis_made, input_value, owner_of, values_read, weight_of
from tests.models import rows, seeded


class Written(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.a, self.w = nn.Linear(3, 5), nn.Parameter(torch.randn(3, 5))
        self.n, self._run = weight_norm(nn.Linear(3, 5)), forward

    def forward(self, x):
        return self._run(self, x)


PRODUCTS = {
    "layer": (lambda m, x: m.a(x), "linear", "a", -1),
    "functional": (lambda m, x: F.linear(x, m.a.weight, bias=m.a.bias), "linear", "a", -1),
    "addmm": (lambda m, x: torch.addmm(m.a.bias, x, m.w), "addmm", "w", -1),
    "on the right": (lambda m, x: x @ m.w, "matmul", "w", -1),
    "on the left": (lambda m, x: m.w.T @ x.T, "matmul", "w", -2),
    "einsum": (lambda m, x: torch.einsum("bi,io->bo", x, m.w), "einsum", "w", -1),
    "computed": (lambda m, x: m.n(x), "linear", "n", -1),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_weight_of_a_product_and_its_owner(name):
    run, operation, owner, axis = PRODUCTS[name]
    model = seeded(Written, run).double()
    trace = record(model, Call((rows(4, 3),)))
    index, found = next((i, o) for i, o in enumerate(trace.operations) if o.name.strip("_") == operation)
    assert owner_of(trace, index) == owner
    assert trace.shapes[weight_of(trace, found)].numel() == 15
    assert len(values_read(trace, found)) == 1
    assert axis_made(trace, found) == axis
    if operation in ("linear", "addmm"):
        assert trace.shapes[input_value(found)] == (4, 3)


def test_products_of_two_values_or_two_parameters_have_no_weight():
    model = seeded(Written, lambda m, x: (x @ x.T, m.w @ m.w.T, F.relu(x))).double()
    trace = record(model, Call((rows(4, 3),)))
    for index, operation in enumerate(trace.operations):
        assert weight_of(trace, operation) is None or operation.name == "__get__"
        assert values_read(trace, operation) == ()
        assert owner_of(trace, index) == ""
