"""What can be asked of a record: who reads a value, which are parts of parameters, which modules compute."""

import torch

from jlab_compress.graph.trace import Operation, Slot, Trace


def operation(name, inputs, outputs, module=""):
    return Operation(torch.add, name, module, tuple(map(Slot, inputs)), {}, inputs, outputs, False)


TRACE = Trace(
    operations=(
        operation("t", (1,), (2,)),
        operation("linear", (0, 2), (3,), "inner"),
        operation("add", (3, 3), (4,)),
        operation("relu", (4,), (5,), "inner"),
    ),
    shapes={},
    parameters={1: "inner.weight"},
    constants={},
    snapshots={},
    results=frozenset({5}),
    rows=1,
)


def test_every_reader_of_a_value_is_known_once():
    assert TRACE.consumers == {1: [0], 0: [1], 2: [1], 3: [2], 4: [3]}


def test_parts_of_a_parameter_carry_its_name():
    assert TRACE.weights == {1: "inner.weight", 2: "inner.weight"}


def test_modules_are_in_the_order_of_their_first_call():
    assert TRACE.modules == ("", "inner")
