"""What a model costs: multiply-adds, parameters and bytes."""

from __future__ import annotations

from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import copy_model, undisturbed
from jlab_compress.graph.recorder import AFFINE, Operation, Trace, record
from jlab_compress.graph.weights import weight_value


def count_macs(model: nn.Module, call: Call) -> int:
    """Return the multiply-adds of all linear and convolution layers for one row of a call.

    Attention products, norms and activations are not counted. The model runs once, on a copy.

    Examples
    --------
    >>> import torch
    >>> count_macs(nn.Linear(3, 5), Call((torch.zeros(2, 3),)))
    15
    """
    copied = copy_model(model)
    with undisturbed(copied):
        trace = record(copied, call)
    return sum(operation_macs(trace, o) for o in trace.operations if o.name in AFFINE) // call.rows


def operation_macs(trace: Trace, operation: Operation) -> int:
    """Return the multiply-adds of one recorded linear or convolution call."""
    made = trace.shapes[operation.outputs[0]].numel()
    weight = trace.shapes[weight_value(operation)]
    return made * (weight[0] if operation.name == "addmm" else weight[1:].numel())


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def count_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters and buffers, shared ones once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)
