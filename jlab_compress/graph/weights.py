"""Recorded calls that multiply a value by a parameter: by layers, and by hand with a bare parameter."""

from __future__ import annotations

from jlab_compress.graph.op_names import AFFINE, GROUPED_PRODUCTS, LEFT_PRODUCTS, PRODUCTS
from jlab_compress.graph.trace import Operation, Trace

PARAMETRIZED = ".parametrizations."


def input_value(operation: Operation) -> int:
    """Return the value that a linear or convolution call reads."""
    if operation.name == "addmm":
        return int(operation.args[1].value)
    slot = operation.args[0] if operation.args else operation.kwargs["input"]
    return int(slot.value)


def weight_value(operation: Operation) -> int:
    """Return the value that a linear or convolution call takes as its weight."""
    place = 2 if operation.name == "addmm" else 1
    slot = operation.args[place] if len(operation.args) > place else operation.kwargs["weight"]
    return int(slot.value)


def weight_of(trace: Trace, operation: Operation) -> int | None:
    """Return the value by which a call multiplies, where it does so by one; else None.

    For products written by hand that is the one operand which is a parameter of two or more axes, or a
    part of one.
    """
    if operation.name in AFFINE:
        return weight_value(operation)
    if operation.name not in PRODUCTS:
        return None
    own = [v for v in operation.inputs if v in trace.weights and len(trace.shapes[v]) > 1]
    return own[0] if len(own) == 1 else None


def values_read(trace: Trace, operation: Operation) -> tuple[int, ...]:
    """Return the values that a call multiplies by its weight; none for other calls."""
    if operation.name in AFFINE:
        return (input_value(operation),)
    if weight_of(trace, operation) is None:
        return ()
    read = [v for v in dict.fromkeys(operation.inputs) if v not in trace.weights]
    return tuple(read[:1] if operation.name in GROUPED_PRODUCTS else read)


def axis_made(trace: Trace, operation: Operation) -> int:
    """Return the axis on which a product written by hand puts one entry for each row of its weight."""
    left = operation.name in LEFT_PRODUCTS and operation.inputs[0] == weight_of(trace, operation)
    return -2 if left and len(trace.shapes[operation.outputs[0]]) > 1 else -1


def owner_of(trace: Trace, index: int) -> str:
    """Return the dotted path of the layer behind an operation, or of a parameter that is in no layer."""
    operation = trace.operations[index]
    weight = weight_of(trace, operation)
    if weight is None or weight not in trace.weights:
        return operation.module
    name = trace.weights[weight]
    if PARAMETRIZED in name:
        return name.split(PARAMETRIZED)[0]
    module, _, key = name.rpartition(".")
    return module if module and key == "weight" else name
